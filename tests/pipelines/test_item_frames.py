"""Decoding frames again: those that the encoders saw, under the settings of that run."""

from __future__ import annotations

import numpy as np
import pytest

from fuseid.core.errors import NotReady
from fuseid.pipelines.explain import explain
from fuseid.pipelines.item_frames import frames_again


def test_frames_and_time_stamps_equal_those_of_the_run(workspace, tmp_path, monkeypatch):
    config = workspace.settings(decode={"sampling": {"method": "uniform", "frames": 3}})
    workspace.ingest([{"content_id": "film", "uri": workspace.video("film.mp4")}], config=config)
    monkeypatch.chdir(tmp_path)  # relative uris start at the manifest, not where the command is run
    decoded = frames_again(workspace.uri(), "film")
    media = explain(workspace.uri(), "film")["media"]
    assert decoded.timestamps.tolist() == media["timestamps"] == pytest.approx([2 / 12, 6 / 12, 10 / 12])
    assert (media["sampling"]["method"], media["decoder"]) == ("uniform", decoded.decoder)
    assert decoded.frames.shape == (3, 48, 64, 3)
    assert len({frame.tobytes() for frame in decoded.frames}) == 3


def test_an_item_without_media_has_no_frames(workspace):
    workspace.ingest(workspace.captions(1))
    assert frames_again(workspace.uri(), "t000") is None


def test_a_missing_changed_or_disallowed_medium_is_not_shown(workspace, tmp_path):
    names = ("gone", "changed", "moved")
    workspace.ingest([{"content_id": n, "uri": workspace.picture(f"{n}.png", i)} for i, n in enumerate(names)])
    (workspace.media / "gone.png").unlink()
    workspace.picture("changed.png", 9)
    (workspace.media / "moved.png").rename(tmp_path / "moved.png")
    (workspace.media / "moved.png").symlink_to(tmp_path / "moved.png")
    for name, reason in zip(names, ("No such file", "has changed", "outside the manifest's folder"), strict=True):
        with pytest.raises(NotReady, match=reason):
            frames_again(workspace.uri(), name)


@pytest.mark.parametrize("name", ["nobody", "' OR '1'='1"])
def test_an_unknown_item_is_named(fitted, name):
    with pytest.raises(NotReady, match="no item") as caught:
        frames_again(fitted.uri(), name)
    assert repr(name) in str(caught.value)


def test_an_explanation_names_the_models_and_their_settings(workspace):
    workspace.ingest([{"content_id": "a", "uri": workspace.picture("a.png", 1)}])
    assert explain(workspace.uri(), "a")["models"] == {
        "clip": {"model": "builtin:mini-clip", "revision": None, "precision": "fp32"},
        "vlm": None,
    }
    assert np.isfinite(explain(workspace.uri(), "a")["media"]["duration"])
