"""A fit with pairs learns a fusion that knows them, stores it as any other, and refuses pairs that it cannot use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput, ConfigError, NotReady
from fuseid.encoders.learned_fusion import LearnedFusion
from fuseid.pipelines.assignment.champion import load_fusion
from fuseid.pipelines.check import check
from fuseid.pipelines.engagement.pairs_file import read_pairs
from fuseid.pipelines.explain import explain
from fuseid.pipelines.fit import fit
from fuseid.pipelines.promote import promote
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.rollback import rollback

Workspace = Any
ITEMS, TASTES = 120, 4
LEARNED = {"kind": "learned", "hidden": 16, "batch_size": 32, "negatives": 16, "epochs": 3, "dim": 6}


def vectors(items: int = ITEMS, dim: int = 10, seed: int = 0) -> dict[str, np.ndarray]:
    """The taste of item n is n modulo TASTES; it is in one of its numbers, and weak."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(items, dim))
    rows[:, 0] = 0.5 * (np.arange(items) % TASTES)
    return {f"v{number:03d}": row.astype(np.float32) for number, row in enumerate(rows)}


def pairs_file(folder: Path, items: int = ITEMS, prefix: str = "v", more: tuple[tuple[str, str], ...] = ()) -> Path:
    rng = np.random.default_rng(1)
    anchors = rng.integers(0, items, 400)
    partners = (anchors + TASTES * rng.integers(1, items // TASTES, 400)) % items
    rows = [(f"{prefix}{one:03d}", f"{prefix}{other:03d}") for one, other in zip(anchors, partners, strict=True)]
    rows += more
    path = folder / "pairs.parquet"
    columns = list(zip(*rows, strict=True))
    pq.write_table(pa.table({"content_id": list(columns[0]), "partner_id": list(columns[1])}), path)
    return path


@pytest.fixture
def made(bare: Workspace) -> Workspace:
    bare.ingest_vectors(vectors())
    return bare


def learn(made: Workspace, pairs: Path, fusion: dict[str, Any] = LEARNED, **more: Any) -> Any:
    return fit(made.uri(), made.settings(clip=None, fusion=fusion), pairs=pairs, **more)


def test_the_first_fit_with_pairs_makes_a_learned_fusion_whose_vectors_the_items_have(made, tmp_path):
    pairs = pairs_file(tmp_path)
    run = learn(made, pairs)
    fusion = load_fusion(made.store())
    assert isinstance(fusion, LearnedFusion)
    assert fusion.meta["pairs"] == read_pairs(pairs).facts()
    assert fusion.meta["learned"]["hidden"] == 16
    assert any("held-out partners among the 10 nearest" in note or "taught the fusion nothing" in note
               for note in run.notes)  # fmt: skip
    stored = made.rows()
    given = vectors()
    fused = fusion.transform({"external": np.stack([given[name] for name in stored])})
    assert np.array_equal(np.array([row["fused"] for row in stored.values()], np.float32), fused)
    assert all(row["sid"] for row in stored.values())


def test_items_that_come_later_get_learned_vectors_and_ids(made, tmp_path):
    learn(made, pairs_file(tmp_path))
    made.ingest_vectors({name: row for name, row in vectors(150).items() if name >= "v120"})
    fusion, stored = load_fusion(made.store()), made.rows()
    late = [name for name in stored if name >= "v120"]
    fused = fusion.transform({"external": np.stack([vectors(150)[name] for name in late])})
    assert np.array_equal(np.array([stored[name]["fused"] for name in late], np.float32), fused)
    assert all(stored[name]["sid"] for name in late)
    assert check(made.uri(), made.settings(clip=None))["damages"] == []


def test_items_are_explained_and_found_by_their_learned_vectors(made, tmp_path):
    learn(made, pairs_file(tmp_path))
    given = vectors()
    names = list(given)
    fused = load_fusion(made.store()).transform({"external": np.stack(list(given.values()))})
    nearest = [names[at] for at in np.argsort(-(fused @ fused[7]))[:5]]
    assert made.catalog().search(like="v007", space="fused", k=4)["content_id"].to_pylist() == nearest[1:]
    assert explain(made.uri(), "v007")["content_id"] == "v007"


def test_on_a_database_with_a_fusion_it_is_that_of_the_next_generation_which_can_be_switched_to_and_back(
    made, tmp_path
):
    made.fit(clip=None)
    linear, first = made.store().setting("fusion"), made.store().setting("champion")
    before = made.ids()
    run = learn(made, pairs_file(tmp_path), {**LEARNED, "kind": "learned"})
    assert any("generation 2" in note for note in run.notes)
    assert made.store().setting("fusion") == linear
    config = made.settings(clip=None)
    promote(made.uri(), run.tokenizer_id, config)
    assert isinstance(load_fusion(made.store()), LearnedFusion)
    rollback(made.uri(), config)
    assert (made.store().setting("champion"), made.ids()) == (first, before)


def test_with_pairs_the_kind_need_not_be_named(made, tmp_path):
    made_with = {key: value for key, value in LEARNED.items() if key == "dim"}
    rows = pairs_file(tmp_path, more=tuple((f"v{n:03d}", f"v{(n + 4 * m) % 120:03d}") for n in range(120)
                                           for m in range(1, 8)))  # fmt: skip
    learn(made, rows, made_with | {"kind": "linear"})
    assert isinstance(load_fusion(made.store()), LearnedFusion)


def test_the_fusion_depends_neither_on_the_order_of_commits_nor_on_that_of_pairs(made, tmp_path):
    rows = vectors()
    names = sorted(rows, key=lambda name: name[::-1])
    for part in (names[:50], names[50:]):
        made.ingest_vectors({name: rows[name] for name in part}, db="other")
    path = pairs_file(tmp_path)
    learn(made, path)
    table = pq.read_table(path)
    table = table.take(np.random.default_rng(2).permutation(len(table)))
    pq.write_table(table.rename_columns(["partner_id", "content_id"]), tmp_path / "other.parquet")
    fit(made.uri("other"), made.settings(clip=None, fusion=LEARNED), pairs=tmp_path / "other.parquet")
    assert made.store("other").setting("fusion") == made.store().setting("fusion")
    assert made.ids("other") == made.ids()


def test_unknown_ids_are_counted_and_named(made, tmp_path):
    run = learn(made, pairs_file(tmp_path, more=(("v000", "ghost"), ("ghost", "wraith"))))
    assert any(note.startswith("2 ids of pairs are not in the database") and "'ghost'" in note for note in run.notes)


def test_an_item_without_a_vector_is_as_one_that_is_unknown(made, tmp_path):
    made.ingest_vectors(made.parquet({"v200": [1.0, 2.0, 3.0]}), name="audio")
    fusion = {**LEARNED, "weights": {"external": 1.0}}
    run = learn(made, pairs_file(tmp_path, more=(("v000", "v200"),)), fusion)
    assert any(note.startswith("1 ids of pairs are not in the database or have no vector") for note in run.notes)


def refused(made: Workspace, error: type[Exception], words: str, *arguments: Any, **more: Any) -> None:
    with pytest.raises(error, match=words) as caught:
        learn(made, *arguments, **more)
    assert "\n" not in str(caught.value)


def test_pairs_that_cannot_be_used_are_refused_and_nothing_is_stored(made, tmp_path):
    refused(made, BadInput, r"both items of no pair: .* ids .*such as 'x000'", pairs_file(tmp_path, prefix="x"))
    refused(made, BadInput, r"pairs are of items of .*batch_size is 4096", pairs_file(tmp_path),
            {**LEARNED, "batch_size": 4096})  # fmt: skip
    refused(made, ConfigError, r"unknown device 'tpu7'; try auto, cpu or cuda", pairs_file(tmp_path),
            {**LEARNED, "device": "tpu7"})  # fmt: skip
    assert made.store().setting("fusion") is None
    assert not (Path(made.uri()) / "artifacts").exists()


def test_a_learned_fusion_without_pairs_is_refused(made):
    with pytest.raises(BadInput, match=r"fusion\.kind is learned, .*pairs"):
        fit(made.uri(), made.settings(clip=None, fusion=LEARNED))


def test_a_later_fit_of_a_tokenizer_needs_no_pairs(made, tmp_path):
    learn(made, pairs_file(tmp_path))
    fusion = made.store().setting("fusion")
    fit(made.uri(), made.settings(clip=None, fusion=LEARNED, tokenizer={"seed": 3}))
    assert made.store().setting("fusion") == fusion


def test_pairs_and_a_generation_exclude_each_other(made, tmp_path):
    refused(made, BadInput, r"pairs= begins the next generation", pairs_file(tmp_path), generation=1)


def test_a_report_has_what_the_fusion_learned(made, tmp_path):
    learn(made, pairs_file(tmp_path))
    (column,) = report(made.uri())["tokenizers"]
    fusion, meta = column["fusion"], load_fusion(made.store()).meta
    assert fusion["history"] == meta["metrics"]["history"]
    assert (fusion["id"], fusion["pairs"]) == (made.store().setting("fusion"), meta["pairs"])
    made.ingest_vectors(vectors(), db="other")
    made.fit(db="other", clip=None)
    assert report(made.uri("other"))["tokenizers"][0]["fusion"] is None


def test_the_same_pairs_again_make_no_generation(made, tmp_path):
    learn(made, pairs_file(tmp_path))
    refused(made, NotReady, "would be the same again", pairs_file(tmp_path), cold=True)
