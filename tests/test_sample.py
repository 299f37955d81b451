"""The sample corpus holds what its README promises: kinds, counts, codecs, unusual videos, sources and licences."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import av
import pytest
from PIL import Image

SAMPLE = Path(__file__).resolve().parent.parent / "assets" / "sample"
ROWS = [json.loads(line) for line in (SAMPLE / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
VIDEOS = {row["content_id"]: row for row in ROWS if row["kind"] == "video"}
CODECS = {"h264": "h264", "hevc": "hevc", "vp9": "vp9", "av1": "libdav1d"}


def frames(row: dict) -> list[av.VideoFrame]:
    """All frames of a video item."""
    with av.open(str(SAMPLE / row["uri"])) as container:
        return list(container.decode(container.streams.video[0]))


def with_trait(trait: str) -> list[dict]:
    return [row for row in VIDEOS.values() if trait in row["attributes"].get("traits", "")]


def test_the_sample_has_the_stated_counts_of_every_kind() -> None:
    kinds = Counter(row["kind"] for row in ROWS)
    assert set(kinds) == {"image", "video", "text"}
    assert kinds["image"] >= 250
    assert kinds["video"] >= 15
    assert kinds["text"] >= 55


def test_ids_are_unique() -> None:
    assert [key for key, count in Counter(row["content_id"] for row in ROWS).items() if count > 1] == []


def test_every_file_is_there_and_every_file_is_listed() -> None:
    listed = {row["uri"] for row in ROWS if row["uri"] is not None}
    for uri in listed:
        path = (SAMPLE / uri).resolve()
        assert path.is_relative_to(SAMPLE), uri
        assert path.is_file(), uri
    assert {f"{path.parent.name}/{path.name}" for path in SAMPLE.glob("*/*")} == listed


def test_texts_have_no_media_and_some_images_no_caption() -> None:
    assert all(row["uri"] is None and row["caption"] for row in ROWS if row["kind"] == "text")
    assert all(row["caption"] for row in VIDEOS.values())
    images = [row for row in ROWS if row["kind"] == "image"]
    silent = sum(row["caption"] is None for row in images)
    assert 0.08 <= silent / len(images) <= 0.25


def test_attributes_are_flat_strings_that_name_source_and_licence() -> None:
    for row in ROWS:
        assert all(isinstance(value, str) and value for value in row["attributes"].values()), row["content_id"]
        assert {"source", "licence", "author", "style", "group"} <= set(row["attributes"]), row["content_id"]


def test_images_open_in_many_forms() -> None:
    formats, modes = set(), set()
    for row in ROWS:
        if row["kind"] != "image":
            continue
        with Image.open(SAMPLE / row["uri"]) as image:
            image.load()
            assert 190 <= max(image.size) <= 512, row["uri"]
            formats.add(image.format)
            modes.add(image.mode)
    assert {"WEBP", "PNG", "JPEG", "GIF", "AVIF"} <= formats
    assert {"RGB", "RGBA", "P", "CMYK"} <= modes


@pytest.mark.parametrize("content_id", sorted(VIDEOS))
def test_video_has_the_codec_it_says_and_decodes(content_id: str) -> None:
    row = VIDEOS[content_id]
    with av.open(str(SAMPLE / row["uri"])) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == CODECS[row["attributes"]["codec"]]
        count = sum(1 for _ in container.decode(stream))
        seconds = container.duration / av.time_base
    assert count >= 48
    assert 2 <= seconds <= 12


def test_all_codecs_and_containers_are_there() -> None:
    codecs = Counter(row["attributes"]["codec"] for row in VIDEOS.values())
    assert set(codecs) == set(CODECS)
    assert codecs["h264"] >= 4
    assert {Path(row["uri"]).suffix for row in VIDEOS.values()} == {".mp4", ".webm", ".mkv", ".mov"}


def test_at_least_three_excerpts_of_film() -> None:
    assert sum(row["attributes"]["style"] == "film" for row in VIDEOS.values()) >= 3


def test_some_videos_have_sound() -> None:
    sounding = 0
    for row in VIDEOS.values():
        with av.open(str(SAMPLE / row["uri"])) as container:
            sounding += bool(container.streams.audio)
    assert sounding >= 3


def test_rotated_video_is_turned_by_its_display_matrix() -> None:
    (row,) = with_trait("rotated")
    first = frames(row)[0]
    assert abs(first.rotation) == 90
    # Stored rotated: a reader that ignores the matrix shows a landscape picture.
    assert first.width > first.height


def test_variable_frame_rate_is_truly_variable() -> None:
    (row,) = with_trait("variable frame rate")
    times = [frame.time for frame in frames(row)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps) > 0
    assert max(gaps) > 4 * min(gaps)
    assert len({round(gap, 3) for gap in gaps}) >= 5


def test_long_gop_has_one_key_frame() -> None:
    (row,) = with_trait("long GOP")
    decoded = frames(row)
    assert len(decoded) >= 250
    assert sum(frame.key_frame for frame in decoded) == 1


def test_the_sample_is_within_its_size_limit() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) <= 8_000_000
