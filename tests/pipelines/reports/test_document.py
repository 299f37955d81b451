"""The report: its figures equal those computed directly from the store, in total and by slice."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.config import Config
from fuseid.core.errors import ArtifactError, BadInput, StoreError
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.reports.findings import comparison, findings, measure
from fuseid.pipelines.reports.keywords import telling_words, words_of
from fuseid.pipelines.reports.slices import popularity_border
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.code_use import code_measures
from fuseid.tokenizers.drift import held_out_r2
from fuseid.tokenizers.fidelity import vector_measures
from fuseid.tokenizers.measures import in_order
from fuseid.tokenizers.neighbours import neighbour_measures
from fuseid.tokenizers.rq_kmeans import RQKMeans

ITEMS, COPIES = 150, 12
HEAD = ITEMS // 5
CONFIG = Config.model_validate(
    {"clip": None, "tokenizer": {"codebook_sizes": [4, 3], "iterations": 5}, "fusion": {"dim": 8}}
)
OTHER = CONFIG.model_copy(update={"tokenizer": CONFIG.tokenizer.model_copy(update={"codebook_sizes": (6, 5)})})


def attributes(number: int) -> dict:
    """Styles, a third of them missing, a tag for each item, decreasing views, and values that are no numbers."""
    found = {"views": 1000 // (number + 1), "tag": f"tag {number}", "wrong": "many"}
    return found | ({"style": ("photo", "drawing", 7)[number % 4]} if number % 4 < 3 else {})


def write_vectors(path: Path, ids: list[str], vectors: np.ndarray) -> Vectors:
    numbers = [int(name.removeprefix("v")) for name in ids]
    rows = {
        "content_id": ids,
        "vector": list(vectors.astype(np.float32)),
        "kind": [("image", "video", "text")[n % 7 % 3] for n in numbers],
        "caption": [f"a {('red', 'green', 'blue', 'grey', 'white')[n % 5]} thing, number {n}" for n in numbers],
        "attributes": [json.dumps(attributes(n)) for n in numbers],
    }
    pq.write_table(pa.table(rows), path)
    return Vectors(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `db`: items around five centres, the last ones copies; a champion and a candidate."""
    folder = tmp_path_factory.mktemp("report")
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(5, 8))
    vectors = centres[np.arange(ITEMS) % 5] + 0.3 * generator.normal(size=(ITEMS, 8))
    vectors[-COPIES:] = vectors[:COPIES]
    source = write_vectors(folder / "all.parquet", [f"v{n:03d}" for n in range(ITEMS)], vectors)
    ingest(str(folder / "db"), source, CONFIG, LocalRunner())
    fit(str(folder / "db"), CONFIG)
    fit(str(folder / "db"), OTHER)
    return folder


@pytest.fixture
def db(made: Path, tmp_path: Path) -> str:
    """A copy that the test may change."""
    return str(shutil.copytree(made / "db", tmp_path / "db"))


@pytest.fixture(scope="module")
def tokenizers(made: Path) -> tuple[str, str]:
    """Champion and candidate."""
    store = Store.open(made / "db")
    champion = store.setting("champion")
    names = store.dataset("assignments").to_table(columns=["tokenizer_id"])["tokenizer_id"].unique().to_pylist()
    (candidate,) = set(names) - {champion}
    return champion, candidate


def held(uri: str | Path, tokenizer_id: str) -> list[dict]:
    """The catalogue's rows in its own order, with the codes, suffix and sid that the ledger has for them."""
    store = Store.open(uri)
    ledger = store.dataset("assignments").to_table(filter=f"tokenizer_id = '{tokenizer_id}'").to_pylist()
    ids = {row["content_id"]: row for row in ledger}
    rows = store.dataset("contents").to_table().to_pylist()
    named = ("codes", "suffix", "sid")
    return [row | {name: ids[row["content_id"]][name] for name in named} for row in rows if row["content_id"] in ids]


def matrix(rows: list[dict]) -> np.ndarray:
    return np.array([row["codes"] for row in rows])


def drawn(rows: list[dict], count: int) -> list[dict]:
    return sorted(rows, key=lambda row: hashlib.blake2b(row["content_id"].encode(), digest_size=8).digest())[:count]


# The whole


def test_figures_are_those_of_a_direct_computation(made, tokenizers):
    found = report(made / "db", sample=100, queries=30, seed=3)
    (column,) = found["tokenizers"]
    rows = held(made / "db", tokenizers[0])
    tokenizer = Store.open(made / "db").get_artifact(RQKMeans, tokenizers[0])
    some = drawn(rows, 100)
    vectors, codes = np.array([row["fused"] for row in some], np.float32), matrix(some)
    own = np.arange(30)
    expected = code_measures(matrix(rows), (4, 3), shared_with=np.array([row["fused_fp"] for row in rows]), seed=3)
    expected += vector_measures(vectors, tokenizer.decode, codes, seed=3)
    expected += neighbour_measures(vectors[own], codes[own], vectors, codes, ks=(10,), own_rows=own, seed=3)
    expected.append(held_out_r2(tokenizer.meta["metrics"]))
    assert column["measures"] == [asdict(one) for one in in_order(expected)]
    assert (column["id"], column["champion"]) == (tokenizers[0], True)
    assert (column["items"], column["without_id"], column["edited"]) == (ITEMS, 0, 0)
    assert column["suffixed"] == sum(row["suffix"] is not None for row in rows) > 0
    assert (column["sampled"], column["queries"]) == (100, 30)
    assert column["fit"]["r2_per_level"] == tokenizer.meta["metrics"]["r2_per_level"]
    assert column["config"]["codebook_sizes"] == [4, 3]


def test_buckets_codes_and_prefixes_are_those_of_the_ledger(made, tokenizers):
    (column,) = report(made / "db")["tokenizers"]
    rows = held(made / "db", tokenizers[0])
    buckets = Counter(tuple(row["codes"]) for row in rows)
    for part in column["bucket_sizes"]:
        inside = [count for count in buckets.values() if part["from"] <= count <= part["to"]]
        assert (part["buckets"], part["items"]) == (len(inside), sum(inside))
    assert sum(part["items"] for part in column["bucket_sizes"]) == ITEMS
    top = column["largest_ids"][0]
    codes, count = tuple(map(int, top["codes"].split("-"))), top["items"]
    assert count == max(buckets.values()) == buckets[codes]
    assert top["vectors"] == len({tuple(row["fused"]) for row in rows if tuple(row["codes"]) == codes}) < count
    for use in column["code_use"]:
        counts = Counter(row["codes"][use["level"] - 1] for row in rows)
        assert use["counts"] == sorted(counts.values(), reverse=True)
    first = column["prefixes"][0]
    counts = Counter(row["codes"][0] for row in rows)
    assert counts[first["code"]] == first["depths"][0]["items"] == max(counts.values())
    assert {"red", "green", "blue", "grey", "white"} & set(first["words"])
    sids = {row["content_id"]: row["sid"] for row in rows}
    assert len({prefix["code"] for prefix in column["prefixes"]}) == len(column["prefixes"])
    for prefix in column["prefixes"]:
        for depth in prefix["depths"]:
            assert depth["items"] == sum(
                (row["sid"] + "-").replace(".", "-").startswith(depth["prefix"] + "-") for row in rows
            )
            assert depth["examples"]
            for example in depth["examples"]:
                assert example["sid"] == sids[example["content_id"]]
                assert example["sid"].startswith(depth["prefix"])


def test_deleted_items_leave_the_report_though_the_ledger_keeps_them(db, tokenizers):
    gone = [f"v{n:03d}" for n in range(0, ITEMS, 3)]
    Store.open(db).delete("contents", gone)
    (column,) = report(db)["tokenizers"]
    rows = held(db, tokenizers[0])
    assert Store.open(db).dataset("assignments").count_rows() == 2 * ITEMS
    assert column["items"] == len(rows) == ITEMS - len(gone)
    assert column["suffixed"] == sum(row["suffix"] is not None for row in rows)
    expected = [asdict(one) for one in code_measures(matrix(rows), (4, 3))]
    assert [one for one in column["measures"] if one["name"] in ("collision_a", "collision_b")] == expected[:2]
    shown = {e["content_id"] for prefix in column["prefixes"] for depth in prefix["depths"] for e in depth["examples"]}
    assert not shown & set(gone)


def test_an_edited_item_keeps_its_id_and_is_counted(db, tmp_path):
    source = write_vectors(tmp_path / "edit.parquet", ["v003"], np.arange(1.0, 9.0)[None])
    ingest(db, source, CONFIG, LocalRunner())
    (column,) = report(db)["tokenizers"]
    assert (column["items"], column["edited"]) == (ITEMS, 1)
    assert "edited" in {row["rule"] for row in column["stands_out"]}


def test_the_same_versions_give_the_same_document_and_it_is_json(made):
    asked = {"attributes": ["style"], "popularity": "views", "queries": 40}
    first, second = report(made / "db", **asked), report(made / "db", **asked)
    assert first.pop("made_at") <= second.pop("made_at")
    text = json.dumps(first, allow_nan=False)
    assert text == json.dumps(second, allow_nan=False)
    assert json.loads(text) == first
    store = Store.open(made / "db")
    assert first["versions"] == {name: store.versions()[name] for name in ("contents", "assignments")}


@pytest.mark.slow
def test_a_candidate_beside_the_champion(db, tokenizers, tmp_path):
    champion, candidate = tokenizers
    # New items have IDs of the champion alone.
    new = [f"v{n:03d}" for n in range(ITEMS, ITEMS + 9)]
    ingest(db, write_vectors(tmp_path / "new.parquet", new, np.eye(9, 8) + 0.5), CONFIG, LocalRunner())
    found = report(db, compare=candidate, queries=50)
    one, other = found["tokenizers"]
    assert [(c["id"], c["champion"], c["items"], c["without_id"]) for c in (one, other)] == [
        (champion, True, ITEMS + 9, 0),
        (candidate, False, ITEMS, 9),
    ]
    assert other["codebook_sizes"] == [6, 5]
    assert [other[name] for name in other] == [
        report(db, candidate, queries=50)["tokenizers"][0][name] for name in other
    ]
    by_name = {(row["name"], row["second"]["level"]): row for row in found["comparison"]}
    r2 = by_name["r2", 2]
    assert r2["first"] == measure(one["measures"], "r2", 2)
    assert r2["second"]["low"] > r2["first"]["high"]
    assert r2["better"] == candidate
    assert by_name["largest_bucket", None]["better"] is None


# Slices


def test_every_slicing_is_a_partition_with_the_figures_of_its_items(made, tokenizers):
    (column,) = report(made / "db", attributes=["style", "tag"], popularity="views", sample=90, queries=25)[
        "tokenizers"
    ]
    rows = held(made / "db", tokenizers[0])
    buckets = Counter(tuple(row["codes"]) for row in rows)
    by_way: dict[str, list[dict]] = {}
    for part in column["slices"]:
        by_way.setdefault(part["by"], []).append(part)
    assert list(by_way) == ["kind", "attributes.style", "attributes.tag", "popularity"]
    for parts in by_way.values():
        assert sum(part["items"] for part in parts) == ITEMS
        assert sum(part["sampled"] for part in parts) == 90
    *styles, without = by_way["attributes.style"]
    counts = Counter(json.loads(row["attributes"]).get("style") for row in rows)
    assert {part["value"]: part["items"] for part in styles} == {str(k): n for k, n in counts.items() if k is not None}
    assert (without["value"], without["rest"], without["items"]) == (None, "without", counts[None])
    assert [p["rest"] for p in by_way["attributes.tag"]] == [None] * 10 + ["others"]
    assert [(p["value"], p["items"]) for p in by_way["popularity"]] == [("head", HEAD), ("tail", ITEMS - HEAD)]
    assert all(part["small"] == (part["items"] < 50) for part in column["slices"])

    of_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in ("image", "video", "text")}
    tokenizer = Store.open(made / "db").get_artifact(RQKMeans, tokenizers[0])
    for part in by_way["kind"]:
        here = of_kind[part["value"]]
        assert part["items"] == len(here)
        expected = {(one.name, one.level): asdict(one) for one in code_measures(matrix(here), (4, 3), permutations=0)}
        for name, level in (("collision_a", None), ("collision_b", None), ("prefix_collision", 1), ("prefix_pairs", 1)):
            assert measure(part["measures"], name, level) == expected[name, level]
        shared = sum(buckets[tuple(row["codes"])] > 1 for row in here)
        shares = measure(part["measures"], "shares_id")
        assert shares["value"] == shared / len(here)
        assert shares["low"] <= shares["value"] <= shares["high"]
        some = [row for row in drawn(rows, 90) if row["kind"] == part["value"]]
        vectors = np.array([row["fused"] for row in some], np.float32)
        left = vectors - tokenizer.decode(matrix(some))
        r2 = 1 - np.square(left).sum() / np.square(vectors - vectors.mean(0)).sum()
        assert measure(part["measures"], "r2", 2)["value"] == pytest.approx(r2, abs=1e-5)
        assert 0 <= measure(part["measures"], "recall@10")["value"] <= 1


@pytest.mark.parametrize(
    ("numbers", "head"),
    [
        (range(10), [8, 9]),
        ([5.0] * 10, []),
        ([0.0] * 8 + [1.0, 2.0], [8, 9]),
        ([0.0] * 7 + [1.0, 1.0, 1.0], []),
        ([np.nan, np.nan, 1.0, 2.0, 3.0, 4.0, 5.0], [6]),
        ([1.0, 2.0], []),
    ],
)
def test_the_head_is_at_most_the_most_popular_fifth_of_items_with_a_popularity(numbers, head):
    values = np.array(numbers, float)
    assert np.flatnonzero(values > popularity_border(values)).tolist() == head


def test_without_any_popularity_there_is_no_head():
    assert popularity_border(np.full(3, np.nan)) == np.inf


# What stands out


def column_of(**measures: float) -> dict:
    """A column without findings, with some measures of another value; `name_1` is at level 1."""
    values = {"utilisation_1": 1.0, "normalised_entropy_1": 0.99, "collision_b": 0.05, "collision_b_distinct": 0.05}
    values |= {"r2_1": 0.4, "r2_2": 0.6, "recall@10": 0.3} | measures
    rows = []
    for name, value in values.items():
        base, _, level = name.rpartition("_") if name[-1].isdigit() and "_" in name else (name, "", "")
        around = {"low": value - 0.01, "high": value + 0.01, "null": 0.1, "null_low": 0.09, "null_high": 0.11}
        rows.append({"name": base, "level": int(level) if level else None, "value": value} | around)
    return {
        "id": "rq-kmeans-a", "items": 10_000, "codebook_sizes": [256], "config": {}, "measures": rows,
        "fit": {"r2_per_level": [0.4, 0.6]}, "drift": [], "slices": [], "largest_ids": [], "without_id": 0, "edited": 0,
    }  # fmt: skip


def test_figures_without_outliers_give_no_findings():
    assert findings(column_of(), "db") == []


@pytest.mark.parametrize(
    ("changes", "rule", "said"),
    [
        (
            {"utilisation_1": 48 / 256},
            "collapsed",
            "level 1 uses 48 of 256 codes: collapsed; fit with tokenizer.balanced: true",
        ),
        ({"normalised_entropy_1": 0.8}, "uneven", "as good as 84 even ones"),
        ({"collision_b": 0.3, "collision_b_distinct": 0.25}, "collisions", "30.0% of the items share their ID"),
        ({"collision_b": 0.3, "collision_b_distinct": 0.1}, "copies", "mostly copies"),
        ({"r2_1": 0.1, "r2_2": 0.2}, "coarse", "keep 20.0% of the vectors' variance"),
        ({"r2_1": 0.595}, "idle level", "level 2 adds 0.005 to R²"),
        ({"r2_2": 0.5}, "stale", "0.50 on the catalogue of now, was 0.60"),
        ({"recall@10": 0.11}, "neighbours", "recall@10 0.11, by chance 0.10"),
    ],
)
def test_measures_beyond_their_limits_are_findings(changes, rule, said):
    found = {row["rule"]: row["text"] for row in findings(column_of(**changes), "db")}
    assert said in found[rule]


def test_unusual_items_and_slices_are_findings():
    part = {"by": "attributes.style", "value": "photo", "rest": None, "small": False}
    part["measures"] = column_of(shares_id=0.2, **{"recall@10": 0.2})["measures"]
    few = column_of() | {"items": 2_000}
    big = {"codes": "1-2", "items": 400, "vectors": 1}
    column = column_of() | {"slices": [part], "largest_ids": [big], "without_id": 3, "edited": 1_000}
    assert [row["rule"] for row in findings(few, "db")] == ["few items"]
    found = {row["rule"]: row["text"] for row in findings(column, "db")}
    assert found.keys() == {"big ID", "slice neighbours", "slice collisions", "without ID", "edited"}
    assert found["big ID"] == "400 items have the codes 1-2, copies of one vector: `fuseid lookup --db db --sid 1-2`"
    assert found["slice collisions"] == "style: photo: 20.0% of the items share their ID, 5.0% of all"
    assert findings(column | {"slices": [part | {"small": True}]}, "db") == [
        row for row in findings(column, "db") if not row["rule"].startswith("slice")
    ]


def test_warnings_come_first():
    weights = [row["weight"] for row in findings(column_of(r2_2=0.2) | {"edited": 1}, "db")]
    assert weights == sorted(weights, reverse=True) == ["warning", "warning", "note", "note"]


def test_a_tokenizer_is_called_better_only_where_intervals_do_not_overlap():
    one, other = column_of(), column_of(r2_2=0.7, collision_b=0.065) | {"id": "rq-kmeans-b"}
    better = {row["name"]: row["better"] for row in comparison(one, other)}
    assert better["r2"] == "rq-kmeans-b"
    assert better["collision_b"] is None
    worse = comparison(one, column_of(collision_b=0.2) | {"id": "rq-kmeans-b"})
    assert {row["name"]: row["better"] for row in worse}["collision_b"] == "rq-kmeans-a"


def test_keywords_distinguish_a_group_from_the_others():
    captions = ["a red apple", "the red apple pie", "a blue fish", "a red fish", None]
    everywhere = Counter(word for caption in captions for word in words_of(caption))
    assert telling_words(captions[:2], everywhere, len(captions)) == ["apple", "red"]
    assert telling_words([None], everywhere, len(captions)) == []


# What cannot be answered


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"attributes": ["nope"]}, BadInput, "has an attribute 'nope'; there are style, tag, views, wrong"),
        ({"popularity": "nope"}, BadInput, "has an attribute 'nope'"),
        ({"popularity": "wrong"}, BadInput, "popularity 'wrong' must be a number, an item has 'many'"),
        ({"tokenizer_id": "rq-kmeans-0"}, ArtifactError, "has no tokenizer 'rq-kmeans-0'; there are rq-kmeans-"),
        ({"compare": "../../etc"}, ArtifactError, "has no tokenizer '../../etc'"),
        ({"sample": 1}, BadInput, "got sample 1"),
    ],
)
def test_invalid_options_are_refused(made, asked, error, said):
    with pytest.raises(error, match=re.escape(said)):
        report(made / "db", **asked)


def test_a_tokenizer_compared_with_itself_is_refused(made, tokenizers):
    with pytest.raises(BadInput, match="name another one"):
        report(made / "db", compare=tokenizers[0])


def test_without_ids_or_items_a_report_is_refused(db, tmp_path, made):
    other = str(tmp_path / "other")
    Store.create(other)
    with pytest.raises(StoreError, match="is empty"):
        report(other)
    ingest(other, Vectors(made / "all.parquet"), CONFIG, LocalRunner())
    with pytest.raises(StoreError, match="no semantic IDs yet"):
        report(other)
    Store.open(db).dataset("contents").delete("true")
    with pytest.raises(StoreError, match=r"no item in .* has an ID of rq-kmeans-"):
        report(db)
    with pytest.raises(StoreError, match="no database"):
        report(tmp_path / "nowhere")
