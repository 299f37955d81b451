"""Tar shards as img2dataset and video2dataset write them: one item per key, and a bad shard is rejected as one row."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput, BadShard, BadSidecar, CorruptMedia, MissingFile, NotAllowed
from fuseid.pipelines.files.access import AccessPolicy
from fuseid.pipelines.files.fetcher import Fetcher
from fuseid.pipelines.sources.item import SourceItem
from fuseid.pipelines.sources.listing import Listing
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.patterns import braces
from fuseid.pipelines.sources.webdataset import WebDataset

Files = dict[str, bytes | str | dict[str, Any]]


def shard(path: Path, files: Files) -> Path:
    """Writes a tar as the `webdataset` library does: pax headers for the fractions of the time."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            data = json.dumps(content).encode() if isinstance(content, dict) else content
            data = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), time.time()
            tar.addfile(info, io.BytesIO(data))
    return path


def downloaded(key: str, caption: str, **more: Any) -> Files:
    """One sample of img2dataset."""
    facts = {"key": key, "caption": caption, "url": f"https://e.org/{key}", "status": "success", "error_message": None}
    return {f"{key}.jpg": f"jpg of {key}", f"{key}.json": {**facts, "width": 64, **more}, f"{key}.txt": caption}


def listed(source: Any, config: SourceConfig | None = None) -> list[SourceItem]:
    return list(open_source(source, config))


def medium(source: Any, item: SourceItem) -> bytes:
    """The bytes at the uri of an item, read as an ingest reads them."""
    place = AccessPolicy(open_source(source).base, SourceConfig()).locate(item.uri or "")
    with Fetcher(SourceConfig(), 1 << 20) as fetcher, fetcher.files([str(place)]) as files:
        (file,) = files
        return Path(file.path).read_bytes()  # type: ignore[union-attr]


def test_samples_of_img2dataset_are_read(tmp_path):
    path = shard(tmp_path / "00000.tar", downloaded("000000000", "a cat") | downloaded("000000001", "a dog", exif="{}"))
    cat, dog = listed(path)
    assert (cat.content_id, cat.caption, cat.kind) == ("000000000", "a cat", "image")
    assert json.loads(cat.attributes) == {"url": "https://e.org/000000000", "width": 64}
    assert json.loads(dog.attributes)["exif"] == "{}"
    assert (cat.uri or "").startswith("00000.tar#000000000.jpg@")
    assert medium(path, cat) == b"jpg of 000000000"
    assert medium(path, dog) == b"jpg of 000000001"


def test_samples_of_video2dataset_are_read_with_captions_of_the_json_alone(tmp_path):
    path = shard(
        tmp_path / "0.tar",
        {"a.mp4": b"film", "a.json": {"caption": "of json", "clips": [[0.0, 1.5]]}, "b.mp4": b"film", "b.txt": "of txt",
         "c.webm": b"film"},
    )  # fmt: skip
    a, b, c = listed(path)
    assert [item.kind for item in (a, b, c)] == ["video"] * 3
    assert [item.caption for item in (a, b, c)] == ["of json", "of txt", None]
    assert json.loads(a.attributes) == {"clips": [[0.0, 1.5]]}


def test_the_key_ends_at_the_first_dot_of_the_name(tmp_path):
    path = shard(
        tmp_path / "0.tar",
        {"./d.e/a.png": b"1", "./d.e/a.txt": "in a folder", "b.mask.png": b"2", "b.png": b"3", "c.PNG": b"4",
         "c.cls": "5", ".hidden.png": b"6", "none": b"7", "w.txt": "words alone", "poster.jpg": b"8",
         "poster.mp4": b"9"},
    )  # fmt: skip
    items = {item.content_id: item for item in listed(path)}
    assert list(items) == ["d.e/a", "b", "c", "w", "poster"]
    assert items["d.e/a"].caption == "in a folder"
    assert medium(path, items["b"]) == b"3"
    assert items["c"].kind == "image"
    assert (items["w"].uri, items["w"].caption) == (None, "words alone")
    assert (items["poster"].kind, medium(path, items["poster"])) == ("video", b"9")


def test_failed_downloads_are_counted_and_no_items(tmp_path):
    failed = {"key": "b", "caption": "a bird", "status": "failed_to_download", "error_message": "HTTP 404"}
    path = shard(tmp_path / "0.tar", downloaded("a", "a cat") | {"b.json": failed, "b.txt": "a bird"})
    source = open_source(path)
    for _ in range(2):
        assert [item.content_id for item in source] == ["a"]
        assert source.notes == ["1 samples of the shards are left out: their download had failed"]


def test_attributes_are_bounded(tmp_path):
    huge = {"subtitles": "x" * 5000, "blob": [0] * 5000, "small": 1} | {f"n{i:03}": "y" * 3000 for i in range(100)}
    (item,) = listed(shard(tmp_path / "0.tar", {"a.png": b"x", "a.json": huge}))
    kept = json.loads(item.attributes)
    assert not {"subtitles", "blob"} & kept.keys()
    assert "n000" in kept
    assert len(item.attributes) < 70_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("b.json", "{"),
        ("b.json", "[1]"),
        ("b.json", '{"caption": 5}'),
        ("b.json", "[" * 100_000),
        ("b.json", b"\xff"),
        ("b.txt", b"\xff\xfe"),
        ("b.txt", b"x" * ((16 << 20) + 1)),
        ("b.json", b"{" + b" " * (17 << 20)),
    ],
)
def test_a_text_that_cannot_be_read_costs_its_item_alone(tmp_path, name, content):
    first, bad, last = listed(shard(tmp_path / "0.tar", {"a.png": b"x", "b.png": b"x", name: content, "c.png": b"x"}))
    assert isinstance(bad.problem, BadSidecar)
    assert bad.content_id == "b"
    assert (first.problem, last.problem) == (None, None)


def test_a_name_that_leads_out_or_comes_twice_costs_its_item_alone(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name in ("a.png", "../../up.png", "/etc/passwd.png", "d/../e.png", "twice.png", "twice.png", "z.png"):
            tar.addfile(tarfile.TarInfo(name))
    items = {item.content_id: item.problem for item in listed(tmp_path / "0.tar")}
    assert {name: type(problem) for name, problem in items.items() if problem} == {
        "../../up": NotAllowed, "/etc/passwd": NotAllowed, "d/../e": NotAllowed, "twice": BadShard,
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == [tmp_path / "0.tar"]


def test_a_bad_shard_is_one_row_and_all_others_are_read(tmp_path):
    for number in range(7):
        shard(tmp_path / f"{number}.tar", {f"{number}{key}.png": b"x" * 3000 for key in "abc"})
    whole = (tmp_path / "1.tar").read_bytes()
    (tmp_path / "1.tar").write_bytes(b"no tar at all" * 1000)
    (tmp_path / "2.tar").write_bytes(whole[:12_000])
    (tmp_path / "3.tar").write_bytes(b"")
    (tmp_path / "4.tar").unlink()
    (tmp_path / "4.tar").mkdir()
    (tmp_path / "5.tar").unlink()
    (tmp_path / "5.tar").symlink_to("/etc/passwd")
    items = {item.content_id: item.problem for item in listed(str(tmp_path / "{0..7}.tar"))}
    good = [name for name, problem in items.items() if problem is None]
    assert good == ["0a", "0b", "0c", "1a", "6a", "6b", "6c"]  # 1a and 1b are whole, but more of 1b might have come
    assert {name: type(problem) for name, problem in items.items() if problem} == {
        "1.tar": BadShard, "2.tar": BadShard, "3.tar": CorruptMedia, "4.tar": MissingFile, "5.tar": NotAllowed,
        "7.tar": MissingFile,
    }  # fmt: skip
    assert "ends within" in str(items["2.tar"])


def test_a_sample_cut_off_by_damage_is_not_taken_for_a_caption_alone(tmp_path):
    path = shard(tmp_path / "0.tar", {"a.png": b"x", "b.txt": "a caption", "b.png": b"x" * 5000})
    path.write_bytes(path.read_bytes()[:-12_000])
    assert [item.content_id for item in listed(path) if item.problem is None] == ["a"]


# Which shards


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    (folder / "sub").mkdir(parents=True)
    for name in ("00000", "00001", "00010", "sub/x"):
        shard(folder / f"{name}.tar", {f"k{Path(name).name}.png": b"x"})
    (folder / "00000_stats.json").write_text("{}")
    (folder / "00000.parquet").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("", ["k00000", "k00001", "k00010"]),
        ("/00001.tar", ["k00001"]),
        ("/{00000..00001}.tar", ["k00000", "k00001"]),
        ("/{00010..00010}.tar", ["k00010"]),
        ("/000{00,10}.tar", ["k00000", "k00010"]),
        ("/*.tar", ["k00000", "k00001", "k00010"]),
        ("/{00001,sub/x}.tar", ["k00001", "kx"]),
        ("/{0000?,sub/*}.tar", ["k00000", "k00001", "kx"]),
    ],
)
def test_a_tar_a_folder_and_a_pattern_name_shards(shards, pattern, keys):
    source = open_source(f"{shards}{pattern}")
    assert isinstance(source, WebDataset)
    assert [item.content_id for item in source] == keys
    for item in source:
        assert AccessPolicy(source.base, SourceConfig()).locate(item.uri or "").member


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("/{00002..00003}.tar", "no such shards"),
        ("/x*.tar", "no such shards"),
        ("/{0..99999999}.tar", "more than 1000000 files"),
        ("/{0..999}{0..9999}.tar", "more than 1000000 files"),
        ("/00002.tar", "no such manifest or folder"),
    ],
)
def test_a_pattern_that_names_no_shards_is_one_line(shards, pattern, said):
    with pytest.raises(BadInput, match=said):
        open_source(f"{shards}{pattern}")


def test_a_folder_of_shards_and_loose_media_is_not_guessed_at(shards):
    (shards / "sub" / "a.jpg").touch()
    with pytest.raises(BadInput, match=r"00000\.tar.*sub/a\.jpg"):
        open_source(shards)


def test_braces_are_expanded_as_in_a_shell():
    assert list(braces("a{08..11}b{x,y}")) == [f"a{n}b{x}" for n in ("08", "09", "10", "11") for x in "xy"]
    assert list(braces("{3..1}")) == ["3", "2", "1"]
    assert list(braces("{7..10}")) == ["7", "8", "9", "10"]
    assert list(braces("a{b}c")) == ["a{b}c"]
    assert list(braces("plain")) == ["plain"]


def test_a_key_in_two_shards_is_refused_unless_the_shard_is_part_of_the_id(tmp_path, tmp_path_factory):
    for name in ("0", "1"):
        shard(tmp_path / f"{name}.tar", downloaded("a", "a cat"))
    with pytest.raises(
        BadInput,
        match=r"1 content_id occurs more than once in .*: 'a' in .*0\.tar.* and 1\.tar.*; set source\.shard_in_id",
    ):
        Listing(open_source(tmp_path), tmp_path_factory.mktemp("keys"))
    source = open_source(tmp_path, SourceConfig(shard_in_id=True))
    assert [item.content_id for item in source] == ["0/a", "1/a"]
    assert Listing(source, tmp_path).keys.count == 2


# Through an ingest


def test_shards_are_ingested_and_an_unchanged_one_is_not_read_again(workspace):
    media = workspace.media
    files: Files = {}
    for number in range(4):
        name = workspace.picture(f"{number}.png", number)
        files |= {f"{number}.png": (media / name).read_bytes(), f"{number}.txt": f"picture {number}"}
    workspace.video("f.mp4")
    files |= {"film.mp4": (media / "f.mp4").read_bytes(), "film.json": {"caption": "a film", "fps": 12}}
    files |= {"bad.png": b"no picture", "bad.txt": "fine words"}
    (workspace.root / "shards").mkdir()
    path = shard(workspace.root / "shards" / "00000.tar", files)
    (path.parent / "00001.tar").write_bytes(b"no tar" * 200)

    run = workspace.ingest(path.parent)
    assert (run.counts["committed"], run.counts["rejected"]) == (5, 2)
    contents, rejected = workspace.rows(), workspace.rows("rejected")
    assert contents.keys() == {"0", "1", "2", "3", "film"}
    assert (contents["film"]["kind"], contents["film"]["attributes"]) == ("video", '{"fps":12}')
    assert {name: (row["stage"], row["error_class"]) for name, row in rejected.items()} == {
        "bad": ("decode", "Unrecognised"), "00001.tar": ("source", "BadShard"),
    }  # fmt: skip
    assert "fuseid-media" not in rejected["bad"]["message"]
    assert "00000.tar#bad.png@" in rejected["bad"]["message"]

    again = workspace.ingest(path.parent, load=workspace.no_model)
    assert (again.counts["unchanged"], again.counts["rejected_before"], again.counts["planned"]) == (5, 2, 0)

    # The shard is rewritten with a longer caption first: the other members are known by their bytes, at new offsets.
    vectors = {name: row["clip_image"] for name, row in contents.items()}
    shard(
        path,
        {"0.txt": "a longer caption " * 99, "0.png": files["0.png"]} | {k: v for k, v in files.items() if k[0] != "0"},
    )
    workspace.ingest(path.parent)
    after = workspace.rows()
    assert {name: row["clip_image"] for name, row in after.items()} == vectors
    assert after["1"]["uri"] != contents["1"]["uri"]
    assert after["0"]["caption"].startswith("a longer")

    # A manifest may name a member too, and an ingest opens it alone.
    workspace.manifest([{"content_id": "alone", "uri": f"shards/{after['film']['uri']}"}])
    (workspace.media / "manifest.jsonl").rename(workspace.root / "manifest.jsonl")
    workspace.ingest(workspace.root / "manifest.jsonl", db="other")
    assert workspace.rows(db="other")["alone"]["media_hash"] == after["film"]["media_hash"]


def test_members_of_a_key_that_lie_apart_are_refused_with_what_helps(tmp_path):
    files = {"a.jpg": b"1", "b.jpg": b"2", "a.txt": "of a", "b.txt": "of b", "c.jpg": b"3"}
    path = shard(tmp_path / "it's.tar", files)
    with pytest.raises(BadInput, match=r"the members of a key lie apart \('a' for one\); pack it again") as refused:
        Listing(open_source(path), tmp_path)
    command = str(refused.value).partition("sorted: ")[2].replace("NEW.tar", "new.tar")
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert [(item.content_id, item.caption) for item in listed(tmp_path / "new.tar")] == [
        ("a", "of a"), ("b", "of b"), ("c", None),
    ]  # fmt: skip
