"""Churn in the report: counted in the ledger, by slice, with examples, beside a cold fit."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.config import Config
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.reports.findings import measure
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.alignment import kept, permutations, renumbered

ITEMS, LATER = 150, 9
SETTINGS: dict[str, Any] = {
    "clip": None, "tokenizer": {"codebook_sizes": [6, 3], "iterations": 5}, "fusion": {"dim": 8}
}  # fmt: skip
CONFIG = Config.model_validate(SETTINGS)
OTHER = Config.model_validate({**SETTINGS, "tokenizer": {**SETTINGS["tokenizer"], "seed": 3}})


def vectors_file(path: Path, numbers: range) -> Vectors:
    generator = np.random.default_rng(numbers.start)
    centres = np.random.default_rng(9).normal(size=(5, 8))
    rows = {
        "content_id": [f"v{n:03d}" for n in numbers],
        "vector": list((centres[np.array(numbers) % 5] + 0.5 * generator.normal(size=(len(numbers), 8))).astype("f4")),
        "kind": [("image", "text")[n % 2] for n in numbers],
        "caption": [f"thing {n}" for n in numbers],
        "attributes": [json.dumps({"style": ("photo", "drawing")[n % 3 % 2], "views": n}) for n in numbers],
    }
    pq.write_table(pa.table(rows), path)
    return Vectors(path)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A champion and a candidate; some items came later, and have an ID of the champion alone."""
    folder = tmp_path_factory.mktemp("churn")
    ingest(str(folder / "db"), vectors_file(folder / "all.parquet", range(ITEMS)), CONFIG, LocalRunner())
    fit(str(folder / "db"), CONFIG)
    fit(str(folder / "db"), OTHER, cold=True)
    later = range(ITEMS, ITEMS + LATER)
    ingest(str(folder / "db"), vectors_file(folder / "later.parquet", later), CONFIG, LocalRunner())
    return folder / "db"


@pytest.fixture(scope="module")
def ids(db: Path) -> tuple[str, str]:
    store = Store.open(db)
    champion = store.setting("champion")
    (candidate,) = set(store.tokenizers()) - {champion}
    return champion, candidate


@pytest.fixture(scope="module")
def churn(db: Path, ids: tuple[str, str]) -> dict[str, Any]:
    found = report(db, compare=ids[1], attributes=["style"], popularity="views", sample=120)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found["churn"]


@pytest.fixture(scope="module")
def rows(db: Path, ids: tuple[str, str]) -> list[dict[str, Any]]:
    """The items with an ID of both, with `old` and `new` rows of the ledger."""
    store = Store.open(db)
    given = {
        (row["tokenizer_id"], row["content_id"]): row for row in store.dataset("assignments").to_table().to_pylist()
    }
    contents = store.dataset("contents").to_table(columns=["content_id", "kind", "attributes"]).to_pylist()
    both = ({**row, "old": given[ids[0], row["content_id"]], "new": given.get((ids[1], row["content_id"]))}
            for row in contents)  # fmt: skip
    return [row for row in both if row["new"]]


def share(rows: list[dict[str, Any]], depth: int) -> float:
    return float(np.mean([row["old"]["codes"][:depth] != row["new"]["codes"][:depth] for row in rows]))


def test_figures_are_those_of_the_ledger(churn, rows, ids):
    assert (churn["from"], churn["to"]) == ids
    assert (churn["items"], churn["only_from"], churn["only_to"]) == (ITEMS, LATER, 0)
    for depth in (1, 2):
        assert measure(churn["measures"], "churn", depth)["value"] == pytest.approx(share(rows, depth))
    changed = np.mean([row["old"]["sid"] != row["new"]["sid"] for row in rows])
    assert measure(churn["measures"], "churn_id")["value"] == pytest.approx(changed)


def test_slices_are_partitions_with_the_churn_of_their_items(churn, rows):
    sizes = Counter(row["old"]["codes"][0] for row in rows)
    for row in rows:
        attributes = json.loads(row["attributes"])
        row["keys"] = {"kind": row["kind"], "attributes.style": attributes["style"]}
    by_way: dict[str, list[dict[str, Any]]] = {}
    for part in churn["slices"]:
        by_way.setdefault(part["by"], []).append(part)
    assert list(by_way) == ["kind", "attributes.style", "popularity", "prefix size"]
    for by, parts in by_way.items():
        assert sum(part["items"] for part in parts) == ITEMS
        for part in parts:
            if by in ("kind", "attributes.style"):
                here = [row for row in rows if row["keys"][by] == part["value"]]
            elif by == "prefix size":
                heads: set[int] = set()
                for code in sorted(sizes, key=lambda one: (-sizes[one], one)):
                    if sum(sizes[head] for head in heads) < ITEMS / 5:
                        heads.add(code)
                here = [row for row in rows if (row["old"]["codes"][0] in heads) == (part["value"] == "head")]
            else:
                continue
            assert part["items"] == len(here)
            assert measure(part["measures"], "churn", 1)["value"] == pytest.approx(share(here, 1))


def test_codes_that_split_and_merge_are_listed_with_their_items(churn, rows):
    sids = {row["content_id"]: row["new"]["sid"] for row in rows}
    for name, here, other in (("split", "old", "new"), ("merged", "new", "old")):
        assert churn[name]
        for code in churn[name]:
            inside = [row for row in rows if row[here]["codes"][0] == code["code"]]
            parts = Counter(row[other]["codes"][0] for row in inside)
            assert (code["items"], code["codes"]) == (len(inside), len(parts))
            shares = np.array([*parts.values()]) / len(inside)
            assert code["entropy"] == pytest.approx(-(shares * np.log2(shares)).sum())
            assert [part["items"] for part in code["parts"]] == sorted(parts.values(), reverse=True)[:4]
            for part in code["parts"]:
                assert part["items"] == parts[part["code"]]
                theirs = {row["content_id"] for row in inside if row[other]["codes"][0] == part["code"]}
                assert {example["content_id"] for example in part["examples"]} <= theirs
                assert all(example["sid"] == sids[example["content_id"]] for example in part["examples"])
        assert any(part["examples"] for code in churn[name] for part in code["parts"])


def test_a_cold_fit_is_beside_it_unless_it_cannot_be_made(churn, db, ids):
    by_name = {one["name"]: one for one in churn["references"]}
    cold = by_name["cold"]
    assert [one["level"] for one in cold["measures"]] == [1, 2]
    assert 0 < cold["measures"][0]["value"] <= 1
    few = report(db, compare=ids[1], sample=4, queries=1)["churn"]["references"]
    assert {one["name"] for one in few if one["reason"]} >= {"cold"}
    assert "4 distinct" in str(few)
    assert not [one for one in report(db, compare=ids[1], sample=30, cold=False)["churn"]["references"]
                if one["name"].startswith("cold")]  # fmt: skip


def test_permuted_codes_are_those_that_the_alignment_gives(churn, rows):
    by_name = {one["name"]: one for one in churn["references"]}
    old, new = (np.array([row[which]["codes"] for row in rows]) for which in ("old", "new"))
    shares = kept(old, renumbered(new, permutations(old, new, (6, 3))))
    assert [one["value"] for one in by_name["permuted"]["measures"]] == pytest.approx([1 - share for share in shares])
    assert by_name["permuted"]["measures"][0]["value"] <= measure(churn["measures"], "churn", 1)["value"]
    cold, permuted = (by_name[name]["measures"] for name in ("cold", "cold, permuted"))
    assert permuted[0]["value"] < cold[0]["value"]


def test_the_report_of_one_tokenizer_has_no_churn(db):
    assert report(db)["churn"] is None
