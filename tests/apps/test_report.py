"""The report on the terminal and as a page: whole, self-contained, and one line where it cannot be made."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fuseid.apps.charts import Axis, Dot, Panel, Plot, Point, Series, dots, linear, logarithmic
from fuseid.apps.figures import figure, interval
from fuseid.apps.report_page import write_report_page
from fuseid.core.config import Config
from fuseid.pipelines.fit import fit
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.store.store import Store

HOSTILE = '</title></svg><script>alert("x")</script>'
CONFIG = Config.model_validate(
    {
        "clip": {"model": "fake:16"},
        "decode": {"workers": 1},
        "tokenizer": {"codebook_sizes": [4, 3], "iterations": 5},
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_pictures, ingest_and_fit) -> Path:
    """Pictures and captions in `db`, an id, a caption and an attribute hostile; a champion and a candidate."""
    folder = tmp_path_factory.mktemp("report-page")
    rows = write_pictures(folder, 20)
    rows += [
        {"content_id": f"t{number:02d}", "caption": f"words of kind {number % 9}, {number}"} for number in range(35)
    ]
    rows.append({"content_id": HOSTILE, "caption": HOSTILE})
    for number, row in enumerate(rows):
        row["attributes"] = {"style": HOSTILE if number % 2 else "plain", "views": number}
    ingest_and_fit(folder, rows, CONFIG)
    fit(str(folder / "db"), CONFIG.model_copy(update={"tokenizer": CONFIG.tokenizer.model_copy(update={"seed": 5})}))
    return folder


@pytest.fixture(scope="module")
def candidate(folder: Path) -> str:
    store = Store.open(folder / "db")
    names = store.dataset("assignments").to_table(columns=["tokenizer_id"])["tokenizer_id"].unique().to_pylist()
    return next(name for name in names if name != store.setting("champion"))


@pytest.fixture
def directory(folder: Path) -> Path:
    return folder


class Balanced(HTMLParser):
    """Collects what is opened and closed; `attributes` are (tag, name, value)."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser


# The page


@pytest.fixture(scope="module", params=["one", "two"])
def page(request, folder, candidate, tmp_path_factory) -> tuple[dict, str]:
    compare = candidate if request.param == "two" else None
    document = report(folder / "db", compare=compare, attributes=["style"], popularity="views")
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report_page(document, path)
    return document, path.read_text(encoding="utf-8")


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(page):
    found = parsed(page[1])
    assert found.tags.count("html") == found.tags.count("body") == 1
    assert "script" not in found.tags
    assert "link" not in found.tags
    for _, name, value in found.attributes:
        if name in ("src", "href", "srcset", "poster", "data"):
            assert value.startswith("data:image/")
        assert not name.startswith("on")
    assert "://" not in page[1]
    assert "url(" not in page[1]
    assert "@import" not in page[1]


def test_what_is_from_outside_stays_text(page):
    assert HOSTILE not in page[1]
    assert "<script" not in page[1]
    assert "&lt;script&gt;alert" in page[1]


def test_the_page_shows_every_measure_with_its_formula_and_the_plots(page):
    document, text = page
    for column in document["tokenizers"]:
        assert column["id"] in text
        for one in column["measures"]:
            assert f'<span class="dim">{one["name"]}, ' in text
    assert text.count("<svg viewBox") >= 7
    assert text.count('class="name"') >= 4 + 2
    numbers = re.findall(r'(?:x|y|x1|x2|y1|y2|cx|cy|width|height|points)="([^"]*)"', text)
    assert all(np.isfinite([float(part) for part in re.split("[ ,]+", value)]).all() for value in numbers)
    shown = {e["content_id"] for p in document["tokenizers"][0]["prefixes"] for d in p["depths"] for e in d["examples"]}
    pictures = {name for name in shown if name.startswith("p")}
    assert pictures
    assert len(set(re.findall('src="(data:image/[^"]*)"', text))) == len(pictures)
    for prefix in document["tokenizers"][0]["prefixes"]:
        assert f'<span class="code">{prefix["depths"][-1]["prefix"]}' in text
    assert ("Side by side" in text) == (len(document["tokenizers"]) == 2)


def test_a_sample_too_small_for_vectors_still_gives_a_page(folder, tmp_path):
    write_report_page(report(folder / "db", sample=2), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    parsed(text)
    assert "recall@10" not in text


# The command


def test_json_is_one_document(told, candidate):
    found = told("report", "--db", "db", "--by", "style", "--compare", candidate)
    expected = report("db", compare=candidate, attributes=["style"])
    assert found | {"made_at": ""} == expected | {"made_at": ""}


def test_a_table_for_people_with_what_stands_out(shown, candidate):
    out = shown("report", "--db", "db", "--by", "style", "--popularity", "views")
    for said in ("collision_b", "normalised_entropy", "recall@10", "95% interval", "by chance", "what stands out"):
        assert said in out
    assert "popularity: head" in out
    assert f"candidate {candidate}" in shown("report", "--db", "db", "--tokenizer", candidate)


def test_two_side_by_side(shown, candidate):
    out = shown("report", "--db", "db", "--compare", candidate)
    assert "side by side" in out
    assert "what stands out of the candidate" in out


def test_the_page_is_written(shown, tmp_path):
    out = shown("report", "--db", "db", "--page", tmp_path / "report.html", "--sample", 50)
    assert f"open {tmp_path / 'report.html'}" in out
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--db", "nowhere"], "no database at nowhere"),
        (["--db", "db", "--tokenizer", "rq-kmeans-0"], "holds no rq-kmeans-0"),
        (["--db", "db", "--by", "nope"], "has an attribute 'nope'; they have style, views"),
        (["--db", "db", "--popularity", "style"], "popularity 'style' must be a number"),
        (["--db", "empty"], "is empty"),
        (["--db", "db", "--sample", "0"], "got sample 0"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_1(refused, folder, arguments, said):
    Store.create(folder / "empty")
    assert said in refused("report", *arguments)


# Figures and plots


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0984, "share", "9.84%"), (1.0, "share", "100%"), (0.99996, "share", "100%"), (4.1e-6, "share", "0.00041%"),
        (0, "share", "0%"), (39.0, "count", "39"), (2.4, "count", "2.40"), (1_234_567.0, "count", "1,234,567"),
        (-0.235, "number", "-0.235"), (96.87, "number", "96.9"), (None, "share", ""),
    ],
)  # fmt: skip
def test_figures_have_three_digits_and_their_unit(value, unit, text):
    assert figure(value, unit) == text


def test_an_interval_names_its_unit_once():
    assert interval({"low": 0.0942, "high": 0.103}, "share") == "9.42 to 10.3%"
    assert interval({"low": None, "high": None}, "share") == ""


def test_axes_hold_their_data_and_have_round_ticks():
    axis = linear("x", 0.0, 0.47, "{:g}".format)
    assert (axis.low, axis.high) == (0.0, 0.5)
    assert [text for _, text in axis.ticks] == ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]
    assert [text for _, text in logarithmic("x", 0.3, 3.0, "{:g}".format).ticks] == ["0.2", "0.5", "1", "2", "5"]
    wide = logarithmic("x", 0.001, 900.0, "{:g}".format)
    assert (wide.low, wide.high) == (0.001, 1000.0)
    assert len(wide.ticks) == 7
    for low, high in ((0.0, 0.0), (5.0, 5.0), (-0.3, 0.1)):
        axis = linear("x", low, high, str)
        assert axis.low <= low < axis.high
        assert high <= axis.high


def test_points_lie_where_the_axes_say_and_text_is_escaped():
    x, y = Axis("<x>", 0.0, 10.0, [(0.0, "0")]), Axis("y", 0.0, 1.0, [(0.0, "0")])
    svg = str(
        Plot("<label>", x, y, 200, 100).lines([Series("s", "s1", [Point(0, 0), Point(10, 1, tooltip=HOSTILE)])]).svg()
    )
    assert '<circle class="dot s1" cx="62.0" cy="54.0" r="4"></circle>' in svg
    assert 'cx="184.0" cy="12.0"' in svg
    assert "&lt;x&gt;" in svg
    assert HOSTILE not in svg
    parsed(svg)


def test_a_dot_without_an_interval_has_no_whisker():
    axis = Axis("x", 0.0, 1.0, [(0.0, "0")])
    svg = str(dots("l", ["a"], [Panel(axis, [[Dot(0.5, None, None, "s1", ""), Dot(0.5, 0.4, 0.6, "s2", "")]])]))
    assert svg.count("whisker") == 1
    parsed(svg)
