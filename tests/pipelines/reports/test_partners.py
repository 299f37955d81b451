"""The report of held-out partners equals brute force, and asks for no pair that was learned from."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput
from fuseid.encoders.fusions import Fusions
from fuseid.pipelines.adopt import adopt
from fuseid.pipelines.engagement.pairs_file import read_pairs
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingestion.steps import load_encoders
from fuseid.pipelines.reports import partner_choice
from fuseid.pipelines.reports import partners as partners_module
from fuseid.pipelines.reports.document import report

Workspace = Any
ITEMS, TASTES = 240, 6
TASTE = np.random.default_rng(0).integers(0, TASTES, ITEMS)
NAMES = [f"v{number:03d}" for number in range(ITEMS)]
LEARNED = {
    "kind": "learned",
    "hidden": 64,
    "batch_size": 64,
    "negatives": 32,
    "epochs": 12,
    "keep_content": 0.05,
    "learning_rate": 0.005,
}
FUSION = {"dim": 16}
# Of a shelf are items of two tastes.
SHELVES = [json.dumps({"shelf": f"shelf {taste % 3}"} if n % 7 else {}) for n, taste in enumerate(TASTE)]


def vectors() -> dict[str, np.ndarray]:
    """By name. They vary strongly in directions that nobody cares for, and weakly in those of the taste; of each kind
    some items lack theirs."""
    rng = np.random.default_rng(1)
    centres, looks, lacking = rng.normal(size=(TASTES, 3)), rng.normal(size=(ITEMS, 6)), rng.random(ITEMS)
    made = {}
    for name, dim, lacks in (("external", 16, lacking > 0.9), ("audio", 24, lacking < 0.1)):
        of_taste, of_looks = rng.normal(size=(3, dim)), rng.normal(size=(6, dim))
        rows = 0.4 * centres[TASTE] @ of_taste + looks @ of_looks + 0.1 * rng.normal(size=(ITEMS, dim))
        made[name] = np.where(lacks[:, None], np.nan, rows).astype(np.float32)
    return made


def pairs_of_tastes() -> np.ndarray:
    """int [P, 2], some pairs several times; the last items have none."""
    rng = np.random.default_rng(2)
    anchors = np.repeat(np.arange(ITEMS * 4 // 5), 8)
    partners = np.array([rng.choice(np.flatnonzero(TASTE[: ITEMS * 4 // 5] == TASTE[each])) for each in anchors])
    return np.stack([anchors, partners], axis=1)[anchors != partners]


PAIRS = pairs_of_tastes()


def write_pairs(path: Path, pairs: np.ndarray, more: tuple[tuple[str, str], ...] = ()) -> Path:
    rows = [(NAMES[one], NAMES[other]) for one, other in pairs.tolist()] + list(more)
    pq.write_table(pa.table({"content_id": [one for one, _ in rows], "partner_id": [two for _, two in rows]}), path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_bare) -> Workspace:
    """Two kinds of vectors; a linear fusion with the champion, and a learned one with a candidate."""
    made = make_bare(tmp_path_factory.mktemp("partners"))
    for name, numbers in vectors().items():
        rows = {key: None if np.isnan(row).any() else row for key, row in zip(NAMES, numbers, strict=True)}
        attributes = {"attributes": SHELVES} if name == "external" else {}
        made.ingest_vectors(made.parquet(rows, **attributes), name=name)
    sizes = {"codebook_sizes": [6, 5], "iterations": 5}
    fit(made.uri(), made.settings(clip=None, fusion=FUSION, tokenizer=sizes))
    fit(
        made.uri(), made.settings(clip=None, fusion=FUSION | LEARNED, tokenizer=sizes),
        pairs=write_pairs(made.root / "pairs.parquet", PAIRS),
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def tokenizers(made) -> tuple[str, str]:
    """Of the linear fusion and of the learned one."""
    return made.store().setting("champion"), made.candidate()


@pytest.fixture(scope="module")
def learned(made, tokenizers) -> Any:
    tokenizer = made.store().describe_tokenizer(tokenizers[1])
    return made.store().get_artifact(Fusions, tokenizer.meta["fusion"])


@pytest.fixture(scope="module")
def document(made, tokenizers) -> dict[str, Any]:
    return report(
        made.uri(), tokenizers[1], compare=tokenizers[0], attributes=["shelf"], pairs=made.root / "pairs.parquet"
    )


@pytest.fixture(scope="module")
def partners(document) -> dict[str, Any]:
    return document["partners"]


def pair_hash(one: str, other: str) -> int:
    first, second = (int(hashlib.blake2b(name.encode(), digest_size=8).hexdigest(), 16) for name in (one, other))
    return first ^ second


def row_of(partners: dict[str, Any], kind: str, by: str = "vector", **more: Any) -> dict[str, Any]:
    wanted = {"kind": kind, "by": by, "permuted": False, **more}
    (found,) = [row for row in partners["rows"] if all(row[key] == value for key, value in wanted.items())]
    return found


def hit(row: dict[str, Any], part: str = "all") -> float:
    return next(one["hit@10"]["value"] for one in row["figures"] if one["part"] == part)


# Brute force


def near_by(made: Workspace, row: dict[str, Any]) -> Any:
    """The score of two items, by name."""
    stored = made.rows()
    if row["by"] == "id":
        columns = {
            name: list(map(int, sid.partition(".")[0].split("-"))) for name, sid in made.ledger(row["of"]).items()
        }
        return lambda a, b: next((n for n, (x, y) in enumerate(zip(columns[a], columns[b], strict=True)) if x != y), 9)
    if row["by"] == "value":
        shelf = {name: json.loads(each["attributes"]).get("shelf") for name, each in stored.items()}
        return lambda a, b: int(shelf[a] is not None and shelf[a] == shelf[b])
    if row["by"] == "chance":
        return lambda a, b: 0
    column = {"learned": "fused_other", "linear": "fused"}.get(row["kind"], row["of"])
    given = {name: None if each[column] is None else np.array(each[column]) for name, each in stored.items()}
    unit = {name: each if each is None else each / np.linalg.norm(each) for name, each in given.items()}
    return lambda a, b: -2.0 if unit[a] is None or unit[b] is None else float(unit[a] @ unit[b])


def reference(made: Workspace, row: dict[str, Any], limit: int) -> dict[str, tuple[int, float, float]]:
    """By part: how many partners, hit rate, NDCG."""
    pairs = {tuple(sorted((NAMES[a], NAMES[b]))) for a, b in PAIRS.tolist()}
    partners: dict[str, set[str]] = {name: set() for name in NAMES}
    for one, other in pairs:
        partners[one].add(other)
        partners[other].add(one)
    degree = Counter({name: len(each) for name, each in partners.items() if each})
    # The weight of a pair is how often it is in the file.
    weight = Counter(NAMES[end] for pair in PAIRS.tolist() for end in pair)
    order = sorted(degree, key=lambda name: (-degree[name], -weight[name], name))
    borders = {"head": (0, round(0.2 * len(order))), "middle": (round(0.2 * len(order)), round(0.5 * len(order))),
               "tail": (round(0.5 * len(order)), len(order)), "all": (0, len(order))}  # fmt: skip
    score = near_by(made, row)
    found: dict[str, list[tuple[float, float]]] = {part: [] for part in borders}
    for pair in pairs:
        if pair_hash(*pair) > limit:
            continue
        for anchor, partner in (pair, pair[::-1]):
            own = score(anchor, partner)
            others = [score(anchor, each) for each in NAMES if each not in partners[anchor] | {anchor}]
            before, same = (
                sum(each > own + 1e-6 for each in others),
                1 + sum(abs(each - own) <= 1e-6 for each in others),
            )
            ranks = [rank for rank in range(before + 1, before + same + 1) if rank <= 10]
            values = len(ranks) / same, sum(1 / log2(1 + rank) for rank in ranks) / same
            for part, (low, high) in borders.items():
                if partner in order[low:high]:
                    found[part].append(values)
    return {part: (len(each), *np.mean(each, axis=0).tolist()) for part, each in found.items()}


@pytest.mark.parametrize("place", range(8))
def test_figures_are_those_of_brute_force(made, partners, learned, place):
    rows = [row for row in partners["rows"] if not row["permuted"]]
    assert len(rows) == 8
    expected = reference(made, rows[place], int(learned.meta["metrics"]["held_out_up_to"]))
    for one in rows[place]["figures"]:
        count, hits, gains = expected[one["part"]]
        assert one["asked"] == count
        assert one["hit@10"]["value"] == pytest.approx(hits, abs=1e-9)
        assert one["ndcg@10"]["value"] == pytest.approx(gains, abs=1e-9)
        assert one["hit@10"]["low"] <= hits <= one["hit@10"]["high"]
    assert {one["part"] for one in rows[place]["figures"]} == {"all", "head", "middle", "tail"}


# What it shows


def test_learned_vectors_and_ids_find_what_content_and_permuted_partners_do_not(partners, tokenizers, learned):
    vectors, ids = row_of(partners, "learned"), row_of(partners, "ids", "id", of=tokenizers[1])
    for row, other in ((vectors, row_of(partners, "linear")), (ids, row_of(partners, "ids", "id", of=tokenizers[0]))):
        assert row["times"]["value"] == pytest.approx(hit(row) / hit(other))
        assert row["times"]["low"] > 1.5
        permuted = next(each for each in partners["rows"] if each["permuted"] and each["of"] == row["of"])
        assert hit(permuted) < hit(row) / 2
    assert hit(ids) > hit(row_of(partners, "attribute", "value")) > hit(row_of(partners, "chance", "chance"))
    assert learned.meta["metrics"]["linear"] == row_of(partners, "linear")["of"]


def test_only_pairs_that_the_fusion_held_out_are_asked_for(made, partners, learned, tokenizers, tmp_path):
    held = learned.meta["metrics"]["held_out_pairs"]
    assert partners["held_out"] == partners["asked"] == held
    assert partners["held_out_by"] == [learned.id]
    # Other pairs: those that it may have learned from have higher hashes than all that it has not.
    more = np.random.default_rng(5).integers(0, ITEMS, (900, 2))
    more = np.concatenate([PAIRS[::2], more[more[:, 0] != more[:, 1]]])
    path = write_pairs(tmp_path / "more.parquet", more, (("nobody", NAMES[1]), ("ghost", NAMES[2])))
    found = report(made.uri(), tokenizers[1], pairs=path)["partners"]
    limit = int(learned.meta["metrics"]["held_out_up_to"])
    names = {tuple(sorted((NAMES[a], NAMES[b]))) for a, b in more.tolist()}
    assert found["held_out"] == sum(pair_hash(*each) <= limit for each in names) > 0
    assert (found["unknown_ids"], found["known"]) == (2, len(names))
    assert found["pairs"]["fingerprint"] == read_pairs(path).fingerprint


def test_without_the_linear_tokenizer_ids_of_the_linear_fusion_are_made(made, tokenizers, partners, learned):
    found = report(made.uri(), tokenizers[1], pairs=made.root / "pairs.parquet")["partners"]
    linear, made_ids = row_of(found, "linear"), row_of(found, "linear", "id")
    assert hit(linear) == pytest.approx(hit(row_of(partners, "linear")))
    assert (made_ids["of"], made_ids["like"]) == (learned.meta["metrics"]["linear"], tokenizers[1])
    own = row_of(found, "ids", "id")
    assert own["times"]["value"] == pytest.approx(hit(own) / hit(made_ids))
    # With the champion's settings and vectors, they are about as good as its IDs.
    assert hit(made_ids) == pytest.approx(hit(row_of(partners, "ids", "id", of=tokenizers[0])), abs=0.1)


def test_for_a_linear_fusion_a_tenth_is_asked_for(made, tokenizers):
    found = report(made.uri(), tokenizers[0], pairs=made.root / "pairs.parquet")["partners"]
    assert found["held_out"] == found["known"] // 10
    assert found["held_out_by"] == []
    assert all(row["times"] is None for row in found["rows"])
    assert [row["kind"] for row in found["rows"] if not row["permuted"]] == [
        "ids", "linear", "modality", "modality", "chance"
    ]  # fmt: skip


# Bounds and bad input


def test_among_fewer_candidates_than_items_pairs_of_half_as_many_items_are_asked_for(made, tokenizers, monkeypatch):
    monkeypatch.setattr(partner_choice, "_ANCHORS", 15)
    found = report(made.uri(), tokenizers[1], pairs=made.root / "pairs.parquet", sample=60)["partners"]
    assert found["candidates"] == 60
    assert 0 < found["asked"] < found["held_out"]
    assert found["anchors"] == 15
    again = report(made.uri(), tokenizers[1], pairs=made.root / "pairs.parquet", sample=60)["partners"]
    assert again == found


def test_pairs_of_which_none_can_be_asked_for_are_refused(made, tokenizers, learned, tmp_path):
    limit = int(learned.meta["metrics"]["held_out_up_to"])
    with pytest.raises(BadInput, match="has both items of no pair: 1 of 2 ids"):
        report(made.uri(), pairs=write_pairs(tmp_path / "none.parquet", np.empty((0, 2), int), ((NAMES[0], "nobody"),)))
    high = [pair for pair in PAIRS.tolist() if pair_hash(NAMES[pair[0]], NAMES[pair[1]]) > limit]
    path = write_pairs(tmp_path / "learned.parquet", np.array(high[:20]))
    with pytest.raises(BadInput, match="none is held out from what was learned"):
        report(made.uri(), tokenizers[1], pairs=path)


def test_without_pairs_there_is_no_such_part(made):
    assert report(made.uri())["partners"] is None


def test_a_fusion_that_does_not_say_what_it_held_out_is_refused(made, tokenizers, monkeypatch):
    monkeypatch.setattr(partners_module, "HELD_UP_TO", "elsewhere")
    with pytest.raises(
        BadInput, match=r"does not say which pairs it has held out; `fuseid fit .*--pairs FILE` makes one"
    ):
        report(made.uri(), tokenizers[1], pairs=made.root / "pairs.parquet")


def test_ids_of_items_without_vectors_are_compared_with_chance(bare):
    config = bare.settings(clip=None)
    bare.ingest(bare.captions(40), config=config, load=load_encoders)
    names = [row["content_id"] for row in bare.captions(40)]
    (bare.root / "ids.csv").write_text("content_id,sid\n" + "".join(f"{n},{i % 4}-{i}\n" for i, n in enumerate(names)))
    run = adopt(bare.uri(), bare.root / "ids.csv", config)
    rows = "".join(f"{one},{other}\n" for one, other in zip(names, names[4:], strict=False))
    (bare.root / "pairs.csv").write_text(f"content_id,partner_id\n{rows}")
    found = report(bare.uri(), run.tokenizer_id, pairs=bare.root / "pairs.csv")["partners"]
    assert [(row["kind"], row["permuted"]) for row in found["rows"]] == [
        ("ids", False),
        ("ids", True),
        ("chance", False),
    ]
    assert hit(row_of(found, "ids", "id")) > 2 * hit(row_of(found, "chance", "chance"))
