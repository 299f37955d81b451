"""What a folder or a shard does not read is counted by its ending, and named."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.errors import BadInput, NotReady
from fuseid.pipelines.sources.item import MEDIA_SUFFIXES
from fuseid.pipelines.sources.listing import Listing
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.passed_over import PassedOver


def filled(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"{}" if name.endswith(".json") else b"x")
    return folder


def shard(path: Path, *names: str, **links: str) -> Path:
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            data = b"{}" if name.endswith(".json") else b"x"
            info.size = len(data) * (not name.endswith("/"))
            tar.addfile(info, io.BytesIO(data))
        for name, target in links.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.type, info.linkname = tarfile.LNKTYPE, target
            tar.addfile(info)
    return path


def test_a_folder_counts_what_it_does_not_read(tmp_path):
    filled(
        tmp_path, "a.JPG", "a.txt", "b.MP4", "b.json", "b.txt", "lone.txt", "lone.json", "c.psd", "d/c.PSD", "README",
        ".DS_Store", "clip.mp4/frame.png", "m.jsonl", "x.123456789012345678",
    )  # fmt: skip
    os.symlink(tmp_path / "nothing", tmp_path / "broken")
    source = open_source(tmp_path)
    for _ in range(2):
        assert [item.content_id for item in source] == ["a.JPG", "b.MP4", "clip.mp4/frame.png"]
        assert source.passed_over.counts == {
            ".psd": 2, ".txt": 1, ".json": 1, ".jsonl": 1, "without an ending": 2, "hidden": 1,
            "folders named like media": 1,
        }  # fmt: skip
    assert "1 linked folders were not entered" in (source.incomplete or "")
    assert source.passed_over.note == (
        "passed over: 2 .psd, 2 without an ending, 1 .json, 1 .jsonl, 1 .txt, 1 folders named like media, 1 hidden "
        "('c.psd' for one)"
    )


def test_a_shard_counts_what_it_does_not_read(tmp_path):
    path = shard(
        tmp_path / "0.tar", "d/", "film.mp4/", "a.jpg", "a.txt", "a.cls", "a.mask.png", "b.mp4", "b.png", "t.txt",
        "t.npy", "README", ".hidden.png", c_jpg="a.jpg",
    )  # fmt: skip
    source = open_source(path)
    for _ in range(2):
        assert [item.content_id for item in source] == ["a", "b", "t"]
        assert source.passed_over.counts == {
            ".cls": 1, ".mask.png": 1, ".png": 1, ".npy": 1, "without an ending": 1, "hidden": 1, "links": 1,
            "folders named like media": 1,
        }  # fmt: skip


@pytest.mark.parametrize("names", [("k.left.jpg", "k.right.jpg", "k.txt", "k.json"), ("k.psd", "k.txt"), ("k.flac",)])
def test_the_caption_of_what_a_shard_does_not_read_is_no_text_item(tmp_path, names):
    source = open_source(shard(tmp_path / "0.tar", *names, "w.txt"))
    assert [item.content_id for item in source] == ["w"]
    assert source.passed_over.counts == {name[1:]: 1 for name in names}
    assert "'k." in (source.passed_over.note or "")
    assert ("KEY.jpg is the medium of KEY" in (source.passed_over.note or "")) == ("k.left.jpg" in names)


def test_what_lies_beside_shards_is_counted_too(tmp_path):
    shard(tmp_path / "00000.tar", "a.jpg")
    filled(tmp_path, "00000.parquet", "00000_stats.json", "00001.tar.gz")
    source = open_source(tmp_path)
    assert len(list(source)) == 1
    assert source.passed_over.counts == {".parquet": 1, ".json": 1, ".gz": 1}


def test_a_source_in_which_nothing_is_read_says_what_was_passed_over(tmp_path):
    filled(tmp_path / "media", "a.psd", "b.psd")
    with pytest.raises(BadInput, match=r"lists no items; passed over: 2 \.psd \('a\.psd' for one\)"):
        Listing(open_source(tmp_path / "media"), tmp_path)
    filled(tmp_path / "media", "c.jpg")
    with pytest.raises(NotReady, match=r"lists 1 items, not the 3 .*; passed over: 2 \.psd"):
        Listing(open_source(tmp_path / "media"), tmp_path, expect_rows=3)


def test_a_run_reports_what_its_source_passed_over(workspace):
    workspace.picture("a.png", 1)
    filled(workspace.media, "b.psd", "c.psd", "notes")
    run = workspace.ingest(workspace.media)
    assert run.passed_over == {".psd": 2, "without an ending": 1}
    assert "passed over: 2 .psd, 1 without an ending ('b.psd' for one)" in run.notes
    assert json.loads(json.dumps(run.summary()))["passed_over"] == run.passed_over
    (row,) = workspace.store().dataset("runs").to_table().to_pylist()
    assert json.loads(row["counts"])["passed_over"] == 3


@given(st.lists(st.text("ab.J/ é\n", min_size=1, max_size=30), max_size=200))
def test_counts_are_complete_and_their_kinds_are_few(names):
    whole, halves = PassedOver(), [PassedOver(), PassedOver()]
    for number, name in enumerate(names):
        whole.add(name)
        halves[number % 2].add(name)
    total = PassedOver()
    for half in halves:
        total += half
    assert sum(whole.counts.values()) == sum(total.counts.values()) == len(names)
    assert len(whole.counts) <= 41
    assert (whole.note is None) == (not names)
    assert "\n" not in (whole.note or "")
    assert not MEDIA_SUFFIXES & {kind for kind in whole.counts if not kind.startswith(".")}
