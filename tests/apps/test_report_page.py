"""The report on the terminal and as a page: complete, self-contained, and one line for an error."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fuseid.apps.report_page import write_report_page
from fuseid.apps.report_text import print_report
from fuseid.core.config import Config
from fuseid.pipelines.fit import fit
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.store.store import Store

from .markup import HOSTILE, parsed

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
    fit(
        str(folder / "db"),
        CONFIG.model_copy(update={"tokenizer": CONFIG.tokenizer.model_copy(update={"seed": 5})}),
        cold=True,
    )
    return folder


@pytest.fixture(scope="module")
def candidate(folder: Path) -> str:
    store = Store.open(folder / "db")
    names = store.dataset("assignments").to_table(columns=["tokenizer_id"])["tokenizer_id"].unique().to_pylist()
    return next(name for name in names if name != store.setting("champion"))


@pytest.fixture(scope="module")
def pairs(folder: Path) -> Path:
    """Of words, and one of an unknown item."""
    ends = [(f"t{n:02d}", f"t{(n + step) % 35:02d}") for n in range(35) for step in (1, 9)]
    rows = "".join(f"{one},{other}\n" for one, other in [*ends, ("t00", "nobody")])
    (folder / "pairs.csv").write_text(f"content_id,partner_id\n{rows}")
    return folder / "pairs.csv"


@pytest.fixture
def directory(folder: Path) -> Path:
    return folder


# The page


@pytest.fixture(scope="module", params=["one", "two"])
def page(request, folder, candidate, pairs, tmp_path_factory) -> tuple[dict, str]:
    compare = candidate if request.param == "two" else None
    document = report(folder / "db", compare=compare, attributes=["style"], popularity="views", pairs=pairs)
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


def test_hostile_text_is_escaped(page):
    assert HOSTILE not in page[1]
    assert "<script" not in page[1]
    assert "&lt;script&gt;alert" in page[1]


def test_the_page_shows_every_measure_with_its_formula_and_the_plots(page):
    document, text = page
    for column in document["tokenizers"]:
        assert column["id"] in text
        for one in column["measures"]:
            assert f'<span class="dim">{one["name"]}, ' in text
    assert text.count('class="chart"') >= 7
    assert text.count('class="name"') >= 4 + 2
    numbers = re.findall(r'(?:x|y|x1|x2|y1|y2|cx|cy|width|height|points)="([^"]*)"', text)
    assert all(np.isfinite([float(part.rstrip("%")) for part in re.split("[ ,]+", value)]).all() for value in numbers)
    shown = {e["content_id"] for p in document["tokenizers"][0]["prefixes"] for d in p["depths"] for e in d["examples"]}
    if document["churn"]:
        parts = [part for name in ("split", "merged") for one in document["churn"][name] for part in one["parts"]]
        shown |= {example["content_id"] for part in parts for example in part["examples"]}
        assert all(f'{part["code"]}<span class="dim">' in text for part in parts)
    assert ("What changes" in text) == (document["churn"] is not None)
    pictures = {name for name in shown if name.startswith("p")}
    assert pictures
    assert len(set(re.findall('src="(data:image/[^"]*)"', text))) == len(pictures)
    for prefix in document["tokenizers"][0]["prefixes"]:
        assert f'<span class="code">{prefix["depths"][-1]["prefix"]}' in text
    assert ("Side by side" in text) == (len(document["tokenizers"]) == 2)


def test_the_page_shows_what_partners_were_found_by(page):
    partners, text = page[0]["partners"], page[1]
    section = text[text.index("What people use together") : text.index("What the codes mean")]
    titles = ["same style", "clip_text alone", "random order", "linear fusion, permuted partners"]
    for title in (*titles, *(["IDs of champion", "IDs of candidate"][: len(page[0]["tokenizers"])])):
        assert section.count(f"<tr><td>{title}</td>") == 1
    assert section.count("<tr><td>") == len(partners["rows"])
    assert f"7 of 70 pairs, held out as a fit would: partners of {partners['anchors']} items among 56" in section
    assert "1 ids of pairs are of no item with a vector" in section
    assert section.count('class="chart"') == 1


def test_a_sample_too_small_for_vectors_still_gives_a_page(folder, tmp_path):
    write_report_page(report(folder / "db", sample=2), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    parsed(text)
    assert "recall@10" not in text


# The command


def test_json_is_one_document(as_json, candidate):
    found = as_json("report", "--db", "db", "--by", "style", "--compare", candidate)
    expected = report("db", compare=candidate, attributes=["style"])
    assert found | {"made_at": ""} == expected | {"made_at": ""}


def test_the_text_report_has_a_table_and_its_findings(as_text, candidate):
    out = as_text("report", "--db", "db", "--by", "style", "--popularity", "views")
    for said in ("collision_b", "normalised_entropy", "recall@10", "95% interval", "by chance", "what stands out"):
        assert said in out
    assert "popularity: head" in out
    assert f"candidate {candidate}" in as_text("report", "--db", "db", "--tokenizer", candidate)


def test_the_text_report_of_pairs_has_one_table(as_text, folder, pairs):
    out = as_text("report", "--db", "db", "--by", "style", "--pairs", "pairs.csv")
    lines = out.splitlines()
    (start,) = (place for place, line in enumerate(lines) if line.startswith("partners in the 10"))
    assert [cell.strip() for cell in lines[start + 1].split("┃")][:3] == ["ranked by", "hit@10", "95% interval"]
    found = {line.partition("│")[0].strip() for line in lines[start + 3 :]}
    assert found >= {"IDs of champion", "linear fusion", "same style", "clip_image alone", "random order"}


def test_what_was_learned_is_compared_with_the_linear_fusion_and_what_was_not_computed_says_why(folder, pairs, capsys):
    document = report(folder / "db", pairs=pairs)
    ids, vectors, *rest = (row for row in document["partners"]["rows"] if not row["permuted"])
    times = {"value": 1.68, "low": 1.42, "high": 1.99}
    learned = {**vectors, "kind": "learned", "of": "fusion-2", "times": times}
    without = {**vectors, "by": "id", "like": "one", "figures": [], "reason": "a fit takes minutes"}
    document["partners"]["rows"] = [{**ids, "times": times}, learned, vectors, without, *rest]
    print_report(document)
    lines = [line for line in capsys.readouterr().out.splitlines() if "1.68 (1.42 to 1.99)" in line]
    assert [line.partition("│")[0].strip() for line in lines] == ["IDs of champion", "learned fusion"]
    write_report_page(document, folder / "learned.html")
    text = (folder / "learned.html").read_text(encoding="utf-8")
    assert text.count("1.68 (1.42 to 1.99)") == 2
    assert "IDs of the linear fusion: not computed, a fit takes minutes" in text


def test_two_tokenizers_are_shown_side_by_side(as_text, candidate):
    out = as_text("report", "--db", "db", "--compare", candidate)
    assert "side by side" in out
    for said in ("churn from rq-kmeans-", "churn by slice", "prefix size: tail", "first codes that split"):
        assert said in out
    assert "what stands out of the candidate" in out


def test_the_page_is_written(as_text, tmp_path):
    out = as_text("report", "--db", "db", "--page", tmp_path / "report.html", "--sample", 50)
    assert f"open {tmp_path / 'report.html'}" in out
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--db", "nowhere"], "no database at nowhere"),
        (["--db", "db", "--tokenizer", "rq-kmeans-0"], "has no tokenizer 'rq-kmeans-0'"),
        (["--db", "db", "--by", "nope"], "has an attribute 'nope'; there are style, views"),
        (["--db", "db", "--popularity", "style"], "popularity 'style' must be a number"),
        (["--db", "db", "--sample", "0"], "got sample 0"),
    ],
)
def test_invalid_options_are_one_line_and_status_2(refused, folder, arguments, said):
    assert said in refused("report", *arguments)


def test_an_empty_database_is_one_line_and_status_1(refused, folder):
    Store.create(folder / "empty")
    assert "is empty" in refused("report", "--db", "empty", status=1)


def test_items_that_lack_a_vector_are_counted_with_the_remedy(folder, tmp_path, capsys):
    document = report(str(folder / "db"), sample=20, queries=2)
    assert document["incomplete"] == {"items": 0, "by_vector": {}, "where": ""}
    print_report(document)
    assert "lack a vector" not in capsys.readouterr().out
    where = "(media_hash IS NOT NULL AND vlm_fp IS NOT NULL)"
    print_report(document | {"incomplete": {"items": 1234, "by_vector": {"vlm": 1234}, "where": where}})
    text = " ".join(capsys.readouterr().out.split())
    assert "1,234 items lack a vector that its encoder could not compute (vlm 1,234)" in text
    assert f"the filter {where} lists them" in text
    page = tmp_path / "report.html"
    write_report_page(document | {"incomplete": {"items": 1, "by_vector": {"vlm": 1}, "where": where}}, page)
    assert f"the filter {where} lists them" in page.read_text(encoding="utf-8")
