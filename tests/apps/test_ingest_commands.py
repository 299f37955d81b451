"""The commands ingest and plan: they take the same options, and what they print is the same."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fuseid.apps.cli import app

SETTINGS = "clip: {model: 'fake:16'}\ndecode: {workers: 1}\n"


def test_a_plan_takes_the_options_of_an_ingest(surface_of):
    assert surface_of("plan") == surface_of("ingest")


@pytest.fixture
def surface_of():
    import typer

    group = typer.main.get_command(app)

    def options(name):
        return {param.name: (param.opts, str(param.default), param.required) for param in group.commands[name].params}

    return options


def test_a_plan_says_what_why_and_how_long(as_text, as_json, folder, manifest, write_pictures):
    (folder / "fuseid.yaml").write_text(SETTINGS)
    rows = write_pictures(folder, 4)
    path = manifest(folder, *rows)
    text = " ".join(as_text("plan", path, "--db", "new").split())
    assert "which does not exist yet" in text
    assert "no earlier ingest with these models can be compared" in text
    assert not (folder / "new").exists()
    as_text("ingest", path, "--db", "new", "--runner", "local")
    assert "there is nothing to do" in as_text("plan", path, "--db", "new")

    rows[0]["caption"] = "other words"
    manifest(
        folder, *rows[:3], {"content_id": "x", "uri": "https://nowhere/x.png"}, {"content_id": "p3", "deleted": True}
    )
    text = " ".join(as_text("plan", path, "--db", "new", "--prune").split())
    assert "caption │ 1" in text.replace("┃", "│")
    for part in ("1 NotAllowed", "removed │ 1", "time, by the last run that can be compared", "from start to end"):
        assert part in text
    document = as_json("plan", path, "--db", "new", "--vlm", "fake:8")
    assert {each["reason"]: each["items"] for each in document["reasons"]} == {"encoder": 3, "unusable": 1}
    (cause,) = document["causes"]
    assert cause["changes"] == [{"key": "vlm.model", "before": None, "now": "fake:8"}]
    assert cause["text"].endswith("vlm.model was not set and is fake:8")
    assert document["fetch"]["bytes"] == sum((folder / f"{n}.png").stat().st_size for n in range(3))
    assert as_json("plan", path, "--db", "new", "--vlm", "none")["computed"] == {"clip_text": 1}


def test_a_plan_names_who_gives_ids_and_the_indexes_that_are_due(as_text, as_json, folder):
    vectors = np.load(folder / "vectors.npy")
    np.save(folder / "more.npy", np.concatenate([vectors, vectors[:3] + 1]))
    (folder / "more.ids.txt").write_text("".join(f"v{i:02d}\n" for i in range(43)))
    text = as_text("plan", "--db", "db", "--vectors", "more.npy")
    assert "gives them to up to 3 items" in text
    assert "content_id_idx: extend" in text
    indexes = as_json("plan", "--db", "db", "--vectors", "more.npy")["afterwards"]["indexes"]
    assert {each["due"] for each in indexes} == {"extend"}


def test_what_a_plan_prints_cannot_steer_a_terminal(as_text, folder, manifest):
    (folder / "fuseid.yaml").write_text(SETTINGS)
    path = manifest(folder, {"content_id": "a\x1b[31m[bold]b", "caption": "x"})
    text = as_text("plan", path, "--db", "new")
    assert "\x1b" not in text
    assert "[bold]" in text
    assert json.loads(path.read_text())["content_id"][1] == "\x1b"
