"""A field of the wrong type rejects its own row alone, in every kind of source."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import BadField, BadSidecar, Unrecognised
from fuseid.encoders.media import decode
from fuseid.pipelines.sources.item import IMAGE_SUFFIXES, VIDEO_SUFFIXES, SourceItem
from fuseid.pipelines.sources.listing import Listing
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.vectors import Vectors

from ...data.heic_files import heic  # noqa: TID252  (the tests are no package)

FIELDS = st.sampled_from(["uri", "caption", "kind", "attributes"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
DEEP, HUGE = "[" * 5000 + "]" * 5000, "9" * 5000


def bad_of(source: Any, names: tuple[str, str, str], scratch: Path) -> SourceItem:
    """The second of three items; the others must be as if it were not there."""
    scratch.mkdir()
    first, bad, last = Listing(source, scratch)
    assert [item.content_id for item in (first, bad, last)] == list(names)
    assert (first.problem, last.problem) == (None, None)
    return bad


def row(value: str, field: str) -> str:
    """JSON of a row `b`; value: JSON too."""
    return f'{{"content_id": "b", "{field}": {value}, "{"caption" if field == "uri" else "uri"}": "x"}}'


@settings(max_examples=20)
@given(field=FIELDS, value=VALUES.map(json.dumps))
@example(field="attributes", value=DEEP)
@example(field="caption", value=f'{{"a": {DEEP}}}')
@example(field="attributes", value=json.dumps(DEEP))
@example(field="attributes", value='{"a": ' * 400 + "1" + "}" * 400)
@example(field="attributes", value=f'{{"n": {HUGE}}}')
@example(field="uri", value=HUGE)
def test_any_jsonl_row_is_an_item_or_a_bad_field(field, value):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.jsonl")
        good = '{{"content_id": "{}", "uri": "x"}}\n'
        path.write_text(good.format("a") + row(value, field) + "\n" + good.format("c"))
        bad = bad_of(open_source(path), ("a", "b", "c"), Path(folder, "scratch"))
    assert bad.problem is None or (isinstance(bad.problem, BadField) and "\n" not in str(bad.problem))


@settings(max_examples=20)
@given(field=FIELDS, value=VALUES)
def test_any_parquet_row_is_an_item_or_a_bad_field(field, value):
    columns = {"content_id": ["a", "b", "c"], "uri": ["x"] * 3}
    try:
        columns[field] = pa.array([None, value, None])
        table = pa.table(columns)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        assume(False)
    with tempfile.TemporaryDirectory() as folder:
        try:
            pq.write_table(table, Path(folder, "m.parquet"))
        except pa.ArrowException:  # a struct without fields, say
            assume(False)
        bad_of(open_source(Path(folder, "m.parquet")), ("a", "b", "c"), Path(folder, "scratch"))


@settings(max_examples=20)
@given(value=VALUES.map(json.dumps))
@example(value=DEEP)
@example(value=HUGE)
@example(value="{")
def test_any_attributes_of_a_csv_row_are_read_or_a_bad_field(value):
    with tempfile.TemporaryDirectory() as folder:
        quoted = value.replace('"', '""')
        path = Path(folder, "m.csv")
        path.write_text(f'content_id,uri,attributes\na,x,\nb,x,"{quoted}"\nc,x,{{}}\n')
        bad_of(open_source(path), ("a", "b", "c"), Path(folder, "scratch"))


@settings(max_examples=30)
@given(field=FIELDS, value=VALUES.map(json.dumps), in_tar=st.booleans())
@example(field="attributes", value=DEEP, in_tar=True)
@example(field="attributes", value=DEEP, in_tar=False)
@example(field="caption", value=HUGE, in_tar=True)
@example(field="caption", value=HUGE, in_tar=False)
def test_any_sidecar_is_read_or_a_bad_sidecar(field, value, in_tar):
    sidecar = f'{{"{field}": {value}}}'.encode()
    with tempfile.TemporaryDirectory() as folder:
        files = {"a.png": b"x", "b.png": b"x", "b.json": sidecar, "c.png": b"x"}
        if in_tar:
            with tarfile.open(Path(folder, "0.tar"), "w") as tar:
                for name, data in files.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        else:
            for name, data in files.items():
                Path(folder, name).write_bytes(data)
        names = ("a", "b", "c") if in_tar else ("a.png", "b.png", "c.png")
        bad = bad_of(open_source(folder), names, Path(folder, "scratch"))
    assert bad.problem is None or isinstance(bad.problem, BadSidecar)


@pytest.mark.parametrize("missing", ["NaN", "null", '""'])
def test_a_missing_text_is_null_however_it_is_written(tmp_path, missing):
    path = tmp_path / "m.jsonl"
    fields = ", ".join(f'"{name}": {missing}' for name in ("caption", "kind", "attributes"))
    path.write_text(f'{{"content_id": "a", "uri": "x", {fields}}}')
    assert list(open_source(path)) == [SourceItem("a", "x")]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").touch()
    (tmp_path / "in" / "a.json").write_text(f"{{{fields}}}")
    assert list(open_source(tmp_path / "in")) == [SourceItem("a.png", "a.png", kind="image")]


def test_columns_of_nan_alone_are_null(tmp_path):
    nothing = np.full(2, np.nan)
    columns = {"content_id": ["a", "b"], "uri": ["x", "y"], "caption": nothing, "kind": nothing, "attributes": nothing}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    assert list(open_source(tmp_path / "m.parquet")) == [SourceItem("a", "x"), SourceItem("b", "y")]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["x"], ["y"]]),
        pa.array([1, 2]),
        pa.array([b"\xff", b"\xfe"]),
        pa.array([True, False]),
        pa.array([10**15, 10**15], pa.int64()).cast(pa.timestamp("s")),  # beyond the years of Python's datetime
        pa.array([b"\xff", b"\xfe"]).view(pa.string()),  # no UTF-8
    ],
    ids=["list", "int", "bytes", "bool", "date", "no-utf8"],
)
def test_a_parquet_column_of_another_type_costs_each_of_its_rows(tmp_path, column):
    pq.write_table(pa.table({"content_id": ["a", "b"], "uri": ["x", "y"], "caption": column}), tmp_path / "m.parquet")
    a, b = open_source(tmp_path / "m.parquet")
    assert [type(item.problem) for item in (a, b)] == [BadField, BadField]
    assert "caption must be text, got" in str(a.problem)
    assert (a.content_id, a.uri) == ("a", "x")


def test_a_vector_that_is_null_or_of_another_length_costs_its_row(bare):
    vectors = [[9.0], [1.0, 2.0], None, [1.0, None], [3.0, 4.0], [], [0.5, 0.5], [1.0, 2.0, 3.0], [0.0, 0.0]]
    names = [f"v{i}" for i in range(len(vectors))]
    captions = ["x", "x", "x", "x", "x", "x", "x", "x", "x"]
    pq.write_table(pa.table({"content_id": names, "vector": vectors, "caption": captions}), bare.media / "v.parquet")
    from fuseid.pipelines.ingest import ingest
    from fuseid.pipelines.ingestion.runners import LocalRunner

    ingest(bare.uri(), Vectors(bare.media / "v.parquet"), bare.settings(clip=None), LocalRunner())
    assert bare.rows().keys() == {"v1", "v4", "v6"}
    assert {name: row["error_class"] for name, row in bare.rows("rejected").items()} == dict.fromkeys(
        ["v0", "v2", "v3", "v5", "v7", "v8"], "BadVector"
    )


def test_a_manifest_column_beside_vectors_costs_its_row(bare):
    table = {"content_id": ["a", "b"], "vector": [[1.0, 2.0], [3.0, 4.0]], "attributes": ["{}", "[1]"]}
    pq.write_table(pa.table(table), bare.media / "v.parquet")
    bare.ingest_vectors(bare.media / "v.parquet")
    assert bare.rows().keys() == {"a"}
    assert bare.rows("rejected")["b"]["error_class"] == "BadField"


NASTY: dict[str, Any] = {
    "list": {"caption": ["x", "y"]}, "number": {"caption": 5}, "object": {"uri": {"a": 1}}, "true": {"kind": True},
    "kind": {"caption": "x", "kind": "sound"}, "pairs": {"caption": "x", "attributes": [["a", 1]]},
    "word": {"caption": "x", "attributes": "word"}, "zero": {"caption": "x", "attributes": 0},
}  # fmt: skip
FINE: dict[str, Any] = {
    "nan": {"caption": "words", "kind": float("nan"), "attributes": float("nan")},
    "deep": {"caption": "words", "attributes": {"a": json.loads("[" * 300 + "]" * 300)}},
    "big": {"caption": "words", "attributes": {"n": 10**400, "f": 1e-320}},
    "nul\0": {"caption": "wo\0rds", "attributes": {"n\0": "\0"}},
    "half \ud83d": {"caption": "half \ud83d", "attributes": {"\ud83d": "\ud83d"}},
    "empty": {"caption": "words", "attributes": []},
}


def in_manifest(media: Path, rows: dict[str, Any]) -> Path:
    path = media / "m.jsonl"
    path.write_text("".join(json.dumps({"content_id": name, **fields}) + "\n" for name, fields in rows.items()))
    return path


def in_shard(media: Path, rows: dict[str, Any]) -> Path:
    with tarfile.open(media / "0.tar", "w") as tar:
        for name, fields in rows.items():
            data = json.dumps(fields).encode()
            info = tarfile.TarInfo(f"{name}.json")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return media / "0.tar"


@pytest.mark.parametrize("written", [in_manifest, in_shard])
def test_hostile_fields_cost_only_their_own_items(workspace, written: Callable[..., Path]):
    if written is in_manifest:
        rows, bad = {**FINE, **NASTY}, set(NASTY)
    else:  # the whole .json of a shard is attributes, and its caption is the only text
        rows, bad = {name: row for name, row in {**FINE, **NASTY}.items() if "\0" not in name}, {"list", "number"}
        rows.pop("object"), rows.pop("true"), rows.pop("half \ud83d")
    path = written(workspace.media, {"before": {"caption": "good words"}, **rows, "after": {"caption": "good too"}})
    run = workspace.ingest(path)
    contents, rejected = workspace.rows(), workspace.rows("rejected")
    assert rejected.keys() == bad
    assert {"before", "after"} <= contents.keys()
    assert len(contents) + len(rejected) == run.counts["listed"] == len(rows) + 2
    again = workspace.ingest(path, load=workspace.no_model)
    assert (again.counts["planned"], again.counts["rejected_before"]) == (0, len(bad))


def test_a_bad_field_that_is_put_right_is_tried_again(workspace):
    rows = [*workspace.captions(3), {"content_id": "a", "caption": "x", "attributes": "{"}]
    workspace.ingest(rows)
    assert workspace.rows("rejected")["a"]["error_class"] == "BadField"
    rows[-1]["attributes"] = {"price": 3}
    workspace.ingest(rows)
    assert workspace.rows()["a"]["attributes"] == '{"price":3}'
    assert workspace.rows("rejected") == {}


# What makes a real file for each ending that is not Pillow's or FFmpeg's own name of the format.
PICTURES = {"jpe": "JPEG", "jfif": "JPEG", "jif": "JPEG", "jfi": "JPEG", "apng": "PNG", "avifs": "AVIF"}
FILMS = {
    "wmv": ("asf", "wmv2"), "asf": ("asf", "msmpeg4v3"), "3gp": ("3gp", "mpeg4"), "3g2": ("3g2", "mpeg4"),
    "flv": ("flv", "flv"), "webm": ("webm", "libvpx"), "ogv": ("ogg", "libvpx"), "qt": ("mov", "mpeg4"),
    "mk3d": ("matroska", "mpeg4"), "divx": ("avi", "mpeg4"), "vob": ("vob", "mpeg2video"), "f4v": ("f4v", "h264"),
    "mpg": ("mpeg", "mpeg1video"), "mpeg": ("mpeg", "mpeg1video"), "mpe": ("mpeg", "mpeg1video"),
    "ts": ("mpegts", "mpeg2video"), "m2t": ("mpegts", "mpeg2video"), "mts": ("mpegts", "mpeg2video"),
    "m2ts": ("mpegts", "mpeg2video"), "m4v": ("mp4", "mpeg4"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_pictures_of_every_listed_ending_decode(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    picture = Image.new("RGB", (48, 32), "teal")
    if suffix == ".svg":
        path.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
        with pytest.raises(Unrecognised, match=r"a drawing \(SVG\)"):
            decode(str(path), "image", DecodeConfig())
        return
    if suffix == ".jxl":
        path.write_bytes(imagecodecs.jpegxl_encode(np.asarray(picture)))
    elif suffix in (".heic", ".heif", ".hif"):
        path.write_bytes(heic(np.asarray(picture)))
    else:
        picture.save(path, PICTURES.get(suffix[1:]))
    assert decode(str(path), "image", DecodeConfig()).frames.shape == (1, 32, 48, 3)


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_videos_of_every_listed_ending_decode(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    container, codec = FILMS.get(suffix[1:], (None, "mpeg4"))
    options = {"mpegts_m2ts_mode": "1"} if suffix in (".mts", ".m2ts") else {}
    with av.open(str(path), "w", format=container, options=options) as film:
        stream = film.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((144, 176, 3), 40 * number, np.uint8), "rgb24")
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    assert decode(str(path), "video", DecodeConfig()).frames.shape[1:] == (144, 176, 3)
