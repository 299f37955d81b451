"""A database takes one model: another one is refused before anything is made, the same one under a new path is not."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from fuseid.core.config import ClipConfig, Config, VlmConfig, load_config
from fuseid.core.errors import FingerprintMismatch, ModelError
from fuseid.encoders.models import load_clip
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.fingerprints import as_known_by
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.store.store import Store

DATA = Path(__file__).parents[2] / "data"


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


def ids_of(db: Path, column: str = "sid") -> dict[str, str | None]:
    rows = Store.open(db).dataset("contents").to_table(columns=["content_id", column])
    return dict(zip(rows["content_id"].to_pylist(), rows[column].to_pylist(), strict=True))


@pytest.mark.parametrize("name", ["fake", "fake:64"])
def test_a_database_that_holds_the_former_fingerprints_of_fake_goes_on_with_them(tmp_path: Path, name: str) -> None:
    # A database of 23 items with IDs, as the release before wrote it with `clip.model: fake` and `vlm.model: fake`.
    with tarfile.open(DATA / "former_fake.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    db, manifest = tmp_path / "db", tmp_path / "items.jsonl"
    config = load_config(tmp_path / "fuseid.yaml", {"clip.model": name, "vlm.model": name})
    before = ids_of(db)
    assert load_clip(config.clip).fingerprint not in ids_of(db, "clip_fp").values()
    with manifest.open("a", encoding="utf-8") as rows:
        rows.write('{"content_id": "new", "caption": "a wooden chair"}\n')
    run = ingest(str(db), open_source(manifest, config.source), config, LocalRunner())
    # The three pictures are files of another time, and are written again.
    assert (run.counts["unchanged"], run.counts["committed"], run.counts["assigned"]) == (20, 3 + 1, 1)
    assert ids_of(db).items() > before.items()
    for column in ("clip_fp", "vlm_fp", "describe_fp"):
        assert len(set(ids_of(db, column).values())) == 1
    for queries in (None, config, Config(clip=ClipConfig(model="fake:64"))):
        found = Catalog.open(db, queries).search(text="a wooden chair", k=1)
        assert found["content_id"].to_pylist() == ["new"]
    assert fit(str(db), config).counts["assigned"] == 24


@pytest.mark.parametrize("name", ["fake", "fake:64"])
def test_what_fake_has_encoded_can_be_looked_up_under_both_its_names(tmp_path: Path, name: str) -> None:
    manifest = tmp_path / "items.jsonl"
    manifest.write_text('{"content_id": "a", "caption": "an apple"}\n{"content_id": "b", "caption": "two boats"}\n')
    config = Config(clip=ClipConfig(model=name), vlm=VlmConfig(model=name))
    for again, other in enumerate([name, "fake", "fake:64"]):
        config = Config(clip=ClipConfig(model=other), vlm=VlmConfig(model=other))
        run = ingest(str(tmp_path / "db"), open_source(manifest, config.source), config, LocalRunner())
        assert run.counts["unchanged"] == (2 if again else 0)
    for queries in (None, Config(clip=ClipConfig(model="fake")), Config(clip=ClipConfig(model="fake:64"))):
        found = Catalog.open(tmp_path / "db", queries).search(text="two boats", k=1)
        assert found["content_id"].to_pylist() == ["b"]


def test_a_name_on_the_hub_in_another_case_is_the_stored_model(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "db")
    store.put_settings({"clip": {"model": "hf-hub:ORG/Clip"}, "vlm": "ORG/Repo"}, store.settings())
    config = Config(clip=ClipConfig(model="hf-hub:org/clip"), vlm=VlmConfig(model="org/REPO"))
    known = as_known_by(store, config)
    assert (known.clip.model, known.vlm.model) == ("hf-hub:ORG/Clip", "ORG/Repo")
