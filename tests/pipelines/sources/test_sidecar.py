"""The files of img2dataset and video2dataset are read alike from a folder and from tar shards."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.sidecar import sidecar_attributes

FACTS = {
    "caption": "a cat", "url": "https://e.org/1", "key": "000000001", "status": "success", "error_message": None,
    "width": 64, "height": 48, "original_width": 640, "original_height": 480, "exif": "{}", "sha256": "ab",
}  # fmt: skip


def downloaded(folder: Path) -> Path:
    """img2dataset with --output_format files: a folder a shard, a table and figures beside it."""
    for shard in ("00000", "00001"):
        (folder / shard).mkdir(parents=True)
        for number in range(2):
            stem = folder / shard / f"{shard}{number:04}"
            stem.with_suffix(".jpg").write_bytes(b"x")
            stem.with_suffix(".txt").write_text("a cat")
            stem.with_suffix(".json").write_text(json.dumps({**FACTS, "key": stem.name}))
        (folder / f"{shard}.parquet").write_bytes(b"x")
        (folder / f"{shard}_stats.json").write_text("{}")
    return folder


def test_a_folder_and_shards_of_img2dataset_have_the_same_captions_and_attributes(tmp_path):
    folder = downloaded(tmp_path / "files")
    (tmp_path / "tars").mkdir()
    for shard in ("00000", "00001"):
        with tarfile.open(tmp_path / "tars" / f"{shard}.tar", "w") as tar:
            for path in sorted((folder / shard).iterdir()):
                tar.add(path, path.name)
    of_folder, of_shards = open_source(folder), open_source(tmp_path / "tars")
    files, members = list(of_folder), list(of_shards)
    assert [item.content_id for item in files] == [
        f"{shard}/{shard}{number:04}.jpg" for shard in ("00000", "00001") for number in range(2)
    ]
    assert [item.content_id for item in members] == [Path(item.content_id).stem for item in files]
    facts = {(item.caption, item.kind, item.attributes, str(item.problem)) for item in [*files, *members]}
    (fact,) = facts
    assert fact[0] == "a cat"
    assert json.loads(fact[2]).keys() == FACTS.keys() - {"caption", "key", "status", "error_message"}
    assert of_folder.passed_over.counts == {".parquet": 2, ".json": 2}
    assert of_shards.passed_over.counts == {}


def test_attributes_of_a_folders_sidecar_are_its_own_and_its_other_fields(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    fields = {"kind": "image", "attributes": {"n": 2, "m": 3}, "n": 1, "url": "u"}
    (tmp_path / "a.json").write_text(json.dumps(fields))
    (tmp_path / "a.txt").write_text("of the text")
    (item,) = open_source(tmp_path)
    assert json.loads(item.attributes) == {"n": 2, "m": 3, "url": "u"}
    assert item.caption == "of the text"
    (tmp_path / "a.json").write_text(json.dumps({**fields, "caption": "of the json"}))
    (item,) = open_source(tmp_path)
    assert item.caption == "of the json"


def test_very_large_values_are_left_out():
    kept = sidecar_attributes({"long": "x" * 5000, "n": 1} | {f"n{i:03}": "y" * 3000 for i in range(100)})
    assert "long" not in kept
    assert kept["n"] == 1
    assert 60_000 < len(json.dumps(kept)) < 70_000
