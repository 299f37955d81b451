"""The page about one item: its frames with their time stamps, its neighbours, and all text escaped."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from fuseid.apps.item_page import write_item_page
from fuseid.core.config import Config
from fuseid.core.errors import NotReady
from fuseid.pipelines.explain import explain

HOSTILE = '<script>alert("x")</script>'
CONFIG = Config.model_validate(
    {
        "clip": {"model": "fake:16"},
        "decode": {"workers": 1, "sampling": {"method": "uniform", "frames": 3}},
        "tokenizer": {"codebook_sizes": [3, 2], "iterations": 5},
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_pictures, ingest_and_fit) -> Path:
    """Nine pictures, a video of a second with a hostile caption, and a file that is no picture; with IDs."""
    folder = tmp_path_factory.mktemp("item-page")
    rows = write_pictures(folder, 9)
    with av.open(str(folder / "film.mp4"), "w") as output:
        stream = output.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8), "rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    rows.append({"content_id": HOSTILE, "uri": "film.mp4", "caption": HOSTILE, "attributes": {HOSTILE: HOSTILE}})
    (folder / "bad.png").write_bytes(b"no picture")
    rows.append({"content_id": "bad", "uri": "bad.png"})
    ingest_and_fit(folder, rows, CONFIG)
    return folder


def test_frames_are_shown_with_time_stamps_and_neighbours_by_prefix(folder, tmp_path):
    db = folder / "db"
    assert write_item_page(db, HOSTILE, tmp_path / "item.html") == 3
    page = (tmp_path / "item.html").read_text(encoding="utf-8")
    facts = explain(db, HOSTILE)
    for seconds in facts["media"]["timestamps"]:
        assert f"{seconds:.2f} s</figcaption>" in page
    assert page.count('alt="frame at') == 3
    assert f'<span class="code">{facts["sid"]}</span>' in page
    for prefix in facts["prefixes"]:
        for other in prefix["examples"]:
            assert f"· {other['content_id']}" in page
    assert facts["pinned"]["champion"] in page
    assert facts["fingerprints"]["clip_fp"] in page


def test_hostile_text_is_escaped_and_nothing_is_loaded_from_elsewhere(folder, tmp_path):
    write_item_page(folder / "db", HOSTILE, tmp_path / "item.html")
    page = (tmp_path / "item.html").read_text(encoding="utf-8")
    assert HOSTILE not in page
    assert "&lt;script&gt;alert" in page
    assert "http" not in page.replace("http-equiv", "")


def test_an_unreachable_medium_is_reported_and_the_rest_is_shown(folder, tmp_path):
    (folder / "8.png").rename(folder / "elsewhere.png")
    try:
        assert write_item_page(folder / "db", "p8", tmp_path / "item.html") == 0
    finally:
        (folder / "elsewhere.png").rename(folder / "8.png")
    page = (tmp_path / "item.html").read_text(encoding="utf-8")
    assert "cannot be shown" in page
    assert "IDs in the ledger" in page


def test_a_rejected_item_is_refused_with_its_reason(folder, tmp_path):
    with pytest.raises(NotReady, match=r"was rejected \(.*bad\.png"):
        write_item_page(folder / "db", "bad", tmp_path / "item.html")
