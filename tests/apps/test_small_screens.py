"""Every page in a real browser, on screens from a small phone to a desktop, with the longest text that a catalogue may
bring: text is large enough, none overlaps or is cut off, no page scrolls sideways, and pictures fill their tile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fuseid.apps.item_page import write_item_page
from fuseid.apps.page import render, tile, write_page
from fuseid.apps.report_page import write_report_page
from fuseid.core.config import Config
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.store import Store

from .browser import problems, screenshot

UNBROKEN = "sku_" + "0123456789abcdef" * 12
SENTENCE = "Donaudampfschifffahrtsgesellschaftskapitän " * 6 + "寿司と刺身の盛り合わせ" * 9
# Eight levels: the most that labels of a depth have to share a phone with.
CONFIG = Config.model_validate(
    {
        "clip": {"model": "fake:16"},
        "decode": {"workers": 1},
        "tokenizer": {"codebook_sizes": [4, 3, 3, 2, 2, 2, 2, 2], "iterations": 5},
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_pictures, ingest_and_fit) -> Path:
    """A database `db` of pictures, transparent ones of all shapes, texts, and a video without a picture."""
    folder = tmp_path_factory.mktemp("small-screens")
    rows = write_pictures(folder, 12)
    for name, size in {"wide": (200, 20), "tall": (20, 200), "tiny": (6, 6), UNBROKEN: (64, 64)}.items():
        Image.new("RGBA", size, (0, 0, 0, 0)).save(folder / f"{name}.png")
        rows.append({"content_id": name, "uri": f"{name}.png", "caption": f"{name} {SENTENCE}"})
    rows += [{"content_id": f"{UNBROKEN}{n}", "caption": f"{'word' * 50}{n}"} for n in range(20)]
    rows += [{"content_id": f"t{n}", "caption": f"{n} {SENTENCE}"} for n in range(40)]
    for number, row in enumerate(rows):
        style = f"style {number % 7} {UNBROKEN if number % 2 else SENTENCE}"
        row["attributes"] = {"style": style, "views": number, UNBROKEN: {UNBROKEN: [UNBROKEN, SENTENCE]}}
    ingest_and_fit(folder, rows, CONFIG)
    vectors = np.random.default_rng(5).standard_normal((2, 8)).astype(np.float32)
    film = {"content_id": ["film", "film2"], "kind": ["video"] * 2, "caption": [SENTENCE, "short"]}
    pq.write_table(pa.table({**film, "vector": list(vectors)}), folder / "film.parquet")
    ingest(str(folder / "db"), Vectors(folder / "film.parquet"), CONFIG, LocalRunner())
    fit(str(folder / "db"), CONFIG.model_copy(update={"tokenizer": CONFIG.tokenizer.model_copy(update={"seed": 5})}))
    return folder


@pytest.fixture(scope="module")
def documents(folder: Path) -> dict[str, dict[str, Any]]:
    """Reports: of one tokenizer, with pairs, and of two side by side as after years: 60 runs, 18 sizes of buckets."""
    store = Store.open(folder / "db")
    names = store.dataset("assignments").to_table(columns=["tokenizer_id"])["tokenizer_id"].unique().to_pylist()
    other = next(name for name in names if name != store.setting("champion"))
    ends = [f"t{n}" for n in range(40)]
    pq.write_table(pa.table({"content_id": ends, "partner_id": ends[3:] + ends[:3]}), folder / "pairs.parquet")
    one = report(folder / "db", attributes=["style"], pairs=folder / "pairs.parquet")
    old = report(folder / "db", compare=other, attributes=["style"], popularity="views")
    for column in old["tokenizers"]:
        column["drift"] = [
            {"run_id": f"run-{n}", "started_at": f"2026-{n // 28 + 1:02d}-{n % 28 + 1:02d}T02:30:00+00:00",
             "figures": {"error_ratio": 1 + n / 9, "error_low": 1.0, "error_high": 2 + n / 5, "items": 12345}}
            for n in range(60)
        ]  # fmt: skip
        levels = len(column["codebook_sizes"])
        column["history"] = [
            {"epoch": n, "r2": 0.4 + n / 1000}
            | {name: [1 - n / 40] * levels for name in ("entropy", "residual")}
            | {"dead": [n] * levels}
            for n in range(35)
        ]
        column["fit"]["best_epoch"] = 34
        column["bucket_sizes"] = [
            {"from": 2**n + 1, "to": 2 ** (n + 1), "items": column["items"] // (n + 1), "buckets": 7} for n in range(18)
        ]
        for use in column["code_use"]:
            use["counts"] = [1_000_000 // (rank + 1) ** 2 for rank in range(len(use["counts"]))]
    return {"report": one, "report of two after years": old}


@pytest.fixture(scope="module")
def pages(folder: Path, documents: dict[str, dict[str, Any]], tmp_path_factory) -> dict[str, Path]:
    out, db = tmp_path_factory.mktemp("pages"), folder / "db"
    paths = {name: out / f"{name}.html" for name in (*documents, "item", "transparent", "text", "prefixes")}
    for name, document in documents.items():
        write_report_page(document, paths[name])
    write_item_page(db, UNBROKEN, paths["item"])
    write_item_page(db, "tiny", paths["transparent"])
    write_item_page(db, f"{UNBROKEN}3", paths["text"])
    searches = [{"command": f"fuseid lookup --text {UNBROKEN}", "ids": [UNBROKEN, "film", "t1"]}]
    write_page(db, paths["prefixes"], f"IDs of {UNBROKEN}", SENTENCE, searches)
    return paths


@pytest.mark.parametrize(
    "widths",
    [
        pytest.param((320, 390), id="phones"),
        pytest.param((480, 540, 600, 768, 960, 1280), id="large", marks=pytest.mark.slow),
    ],
)
def test_text_can_be_read_on_every_screen(pages, tmp_path, widths):
    assert problems(tmp_path, pages, widths) == []


def test_transparent_pictures_are_white_to_the_edge_of_their_tile(folder, tmp_path):
    """In a dark room, where a tile of any other colour would show a picture within it."""
    dataset = Store.open(folder / "db").dataset("contents")
    columns = ["content_id", "kind", "sid", "caption", "thumbnail"]
    clear = "content_id IN ('wide', 'tall', 'tiny')"
    rows = dataset.to_table(columns=columns, filter=clear).to_pylist()
    group = {"code": 1, "count": 3, "words": "", "rows": [{"code": 2, "tiles": [tile(row) for row in rows]}]}
    values = {"title": "t", "subtitle": "", "facts": [], "searches": [], "groups": [group]}
    page = tmp_path / "page.html"
    styled = "<style>main > :not(.group), header, .sub > .code { display: none } main { padding: 0 }</style></head>"
    page.write_text(render("prefixes.html.j2", **values).replace("</head>", styled), encoding="utf-8")
    pixels = np.asarray(screenshot(tmp_path, page, 390, 200, dark=True))
    white = (pixels >= 254).all(2)
    assert pixels[-1, -1].max() < 60  # the page itself is dark
    across = np.flatnonzero(white.any(0))
    # Three tiles of 90 pixels within their borders, which are round at the corners, and nothing else.
    assert len(across) == 3 * 90
    assert (np.sort(white[:, across].sum(0))[3 * 2 * 7 :] == 90).all()


FAULTS = {
    '<svg viewBox="0 0 1000 90" width="100%"><text y="50" font-size="20">small</text></svg>': "7.8 pixels: small",
    '<p style="font-size: 10px">small</p>': "10.0 pixels: small",
    '<div style="width: 500px">wide</div>': "the page is 500 pixels wide in a window of 390",
    '<svg width="300"><text y="20">first</text><text y="20" x="9">second</text></svg>': "overlap: first | second",
    '<p style="margin-bottom: -20px">first</p><p>second</p>': "overlap: first | second",
    '<div style="width: 50px; overflow: hidden; white-space: nowrap">much too long</div>': "cut off: much too long",
    '<svg width="50"><text y="20">much too long</text></svg>': "cut off: much too long",
    '<div style="position: fixed; left: -90px">outside</div>': "outside of the window: outside",
    '<figure style="margin: 0; width: 92px"><img alt="a" width="40" height="40" src="'
    "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    '"></figure>': "a picture of 40 pixels in a tile of 92: a",
    "<p>good</p>": None,
}


def test_each_fault_is_found(tmp_path):
    """Otherwise a page that has faults could pass."""
    pages = {f"page {number}": tmp_path / f"{number}.html" for number in range(len(FAULTS))}
    for page, markup in zip(pages.values(), FAULTS, strict=True):
        page.write_text(f"<!doctype html><html><body style='margin: 0'>{markup}</body></html>")
    expected = [f"page {number} at 390: {what}" for number, what in enumerate(FAULTS.values()) if what]
    assert problems(tmp_path, pages, [390]) == expected
