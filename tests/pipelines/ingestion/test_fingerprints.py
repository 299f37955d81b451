"""A database takes one model: another one is refused before anything is made, the same one under a new path is not."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from fuseid.core.errors import FingerprintMismatch, ModelError
from fuseid.pipelines.lookup import Catalog


def test_an_unknown_model_is_refused_before_anything_is_made(workspace):
    with pytest.raises(ModelError, match="mini-clip"):
        workspace.ingest(workspace.captions(2), config=workspace.settings(clip={"model": "builtin:nope"}))
    assert not (workspace.root / "db").exists()


def test_another_precision_is_refused_and_both_are_named(workspace):
    rows = workspace.captions(8)
    workspace.ingest(rows)
    with pytest.raises(FingerprintMismatch, match=r"fp32.*bf16") as caught:
        workspace.ingest(rows, config=workspace.settings(clip={"precision": "bf16"}), load=workspace.no_model)
    assert "\n" not in str(caught.value)


def test_after_the_fit_another_model_is_refused_and_look_up_goes_on(workspace):
    rows = workspace.captions(8)
    workspace.ingest(rows)
    workspace.fit()
    other = shutil.copytree(_mini_clip(), workspace.root / "other")
    (other / "extra.json").write_text("{}")
    config = workspace.settings(clip={"model": f"local-dir:{other}"})
    with pytest.raises(
        FingerprintMismatch, match=r"fusion-\w+ was fitted on clip_text .*encoder \w+, these are of \w+"
    ):
        workspace.ingest([*rows, {"content_id": "new", "caption": "x"}], config=config, load=workspace.no_model)
    assert "new" not in workspace.rows()
    # Queries are still encoded by the model that the catalogue was encoded with.
    assert Catalog.open(workspace.uri()).search(text="a dog", k=2).num_rows == 2


def _mini_clip() -> Any:
    from fuseid.encoders.model_files import builtin_directory

    return builtin_directory("builtin:mini-clip")


def test_a_relative_model_path_or_another_batch_size_is_no_other_model(workspace):
    workspace.ingest(workspace.captions(4))
    copy = shutil.copytree(_mini_clip(), workspace.root / "copy")
    config = workspace.settings(clip={"model": f"local-dir:{copy}", "batch_size": 3})
    assert workspace.ingest(workspace.captions(4), config=config, load=workspace.no_model).counts["unchanged"] == 4
