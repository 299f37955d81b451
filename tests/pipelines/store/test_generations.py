"""Two generations of fused vectors: one commit switches, one switches back, and a drop frees the one not in force."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fuseid.core.config import Config
from fuseid.core.errors import BadInput, FingerprintMismatch, FuseidError, NotReady
from fuseid.core.schemas import FUSION_KEY
from fuseid.pipelines import promote as promotion
from fuseid.pipelines.assignment.champion import load_fusion
from fuseid.pipelines.check import check
from fuseid.pipelines.drop import drop
from fuseid.pipelines.fit import fit
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.jobs.runs import exclusive_job
from fuseid.pipelines.promote import promote
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.rollback import rollback
from fuseid.pipelines.store.generations import fused_column
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.tokenizers import tokenizers

Workspace = Any
ITEMS, DIM = 80, 8
SHOWN = ["content_id", "fused", "fused_fp", "codes", "sid", "tokenizer_id"]


def settings(**changes: dict[str, Any]) -> Config:
    small = {"tokenizer": {"codebook_sizes": [4, 3], "iterations": 5}, "fusion": {"dim": 16}}
    return Config.model_validate({name: small.get(name, {}) | changes.get(name, {}) for name in {*small, *changes}})


def clusters(count: int, dim: int, seed: int = 0, prefix: str = "v") -> dict[str, np.ndarray]:
    """Vectors around a few centres, by content_id."""
    generator, centres = np.random.default_rng(seed), np.random.default_rng(99).normal(size=(5, dim))
    rows = centres[np.arange(count) % 5] + 0.2 * generator.normal(size=(count, dim))
    return {f"{prefix}{i:03d}": row for i, row in enumerate(rows.astype(np.float32))}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, make_bare: Callable[[Path], Workspace]) -> Workspace:
    """`one` has a champion, and vectors by a name that its fusion does not know; `two` also its second generation,
    which does."""
    made = make_bare(tmp_path_factory.mktemp("generations"))
    made.ingest_vectors(clusters(ITEMS, DIM), db="one")
    made.fit(db="one")
    made.ingest_vectors(made.parquet(clusters(ITEMS, 5, seed=1)), db="one", name="audio")
    shutil.copytree(made.uri("one"), made.uri("two"))
    fit(made.uri("two"), settings(), refit_fusion=True)
    return made


@pytest.fixture
def two(origin: Workspace, bare: Workspace) -> Workspace:
    shutil.copytree(origin.uri("two"), bare.uri())
    return bare


def shown(workspace: Workspace, ids: Any = None) -> pa.Table:
    rows = workspace.store().dataset("contents").to_table(columns=SHOWN).sort_by("content_id")
    return rows if ids is None else rows.filter(pa.compute.is_in(rows["content_id"], value_set=pa.array([*ids])))


def next_tokenizer(workspace: Workspace) -> str:
    return workspace.store().setting("generations")["2"]["tokenizer"]


def ledger(workspace: Workspace, tokenizer: str) -> set[str]:
    return set(workspace.ledger(tokenizer))


def quantized(workspace: Workspace, tokenizer_id: str) -> dict[str, list[int]]:
    """The codes of every item, by a tokenizer and the stored vectors of its generation."""
    store = workspace.store()
    info = next(each for each in tokenizers(store.uri) if each.id == tokenizer_id)
    column = fused_column(store.dataset("contents").schema, info.fusion)
    rows = store.dataset("contents").to_table(columns=["content_id", column]).to_pylist()
    tokenizer = promotion.load_to_assign(store, tokenizer_id)
    codes = tokenizer.encode(np.array([row[column] for row in rows], np.float32))
    return {row["content_id"]: list(map(int, code)) for row, code in zip(rows, codes, strict=True)}


def test_the_next_generation_lies_beside_the_one_in_force_which_stays_as_it_was(origin: Workspace) -> None:
    one, two = origin.store("one"), origin.store("two")
    before = one.dataset("contents").to_table(columns=SHOWN).sort_by("content_id")
    assert two.dataset("contents").to_table(columns=SHOWN).sort_by("content_id").equals(before)
    assert two.setting("champion") == one.setting("champion")
    known = {each.id: each for each in tokenizers(two.uri)}
    assert {each.generation for each in known.values()} == {1, 2}
    assert next(each for each in known.values() if each.generation == 2).items == ITEMS
    fusions = {load_fusion(two, one["fusion"]) for one in two.setting("generations").values()}
    assert sorted(map(len, (fusion.dims for fusion in fusions))) == [1, 2]
    contents = two.dataset("contents")
    assert contents.count_rows("fused_other IS NULL") == 0
    named = {name: contents.schema.field(name).metadata[FUSION_KEY.encode()] for name in ("fused", "fused_other")}
    assert named == {
        name: two.setting("generations")[number]["fusion"].encode()
        for name, number in (("fused", "1"), ("fused_other", "2"))
    }


def test_new_items_get_vectors_and_ids_of_both(two: Workspace) -> None:
    new = clusters(30, DIM, seed=5, prefix="new")
    two.ingest_vectors(new)
    two.ingest_vectors(two.parquet(clusters(10, 5, seed=6, prefix="new")), name="audio")
    champion, other = two.store().setting("champion"), next_tokenizer(two)
    assert ledger(two, champion) == ledger(two, other) == set(two.rows())
    assert two.store().dataset("contents").count_rows("fused IS NULL OR fused_other IS NULL") == 0
    assert check(two.uri(), settings())["damages"] == []


def test_media_get_both_too(workspace: Workspace) -> None:
    workspace.ingest(workspace.captions(30))
    workspace.fit()
    fit(workspace.uri(), settings(fusion={"dim": 7}), refit_fusion=True)
    workspace.ingest(workspace.captions(40))
    rows = workspace.store().dataset("contents").to_table(columns=["fused", "fused_other"])
    assert rows["fused"].null_count == rows["fused_other"].null_count == 0
    assert (rows.schema.field("fused").type.list_size, rows.schema.field("fused_other").type.list_size) == (16, 7)
    assert len(ledger(workspace, next_tokenizer(workspace))) == 40


def test_a_promotion_switches_and_a_rollback_goes_back_to_the_bit(two: Workspace) -> None:
    first, other, before = two.store().setting("champion"), next_tokenizer(two), shown(two)
    promote(two.uri(), other, settings())
    switched = two.store()
    assert (switched.setting("champion"), switched.setting("champion_before")) == (other, first)
    assert switched.setting("fusion") == switched.setting("generations")["2"]["fusion"]
    codes = quantized(two, other)
    assert {name: row["codes"] for name, row in two.rows().items()} == codes
    two.ingest_vectors(clusters(20, DIM, seed=7, prefix="new"))
    rollback(two.uri(), settings())
    assert two.store().setting("champion") == first
    assert shown(two, before["content_id"].to_pylist()).equals(before)
    assert ledger(two, first) == set(two.rows())
    promote(two.uri(), other, settings())
    assert {name: row["codes"] for name, row in two.rows().items() if name in codes} == codes


def test_the_switch_is_one_commit_after_which_every_reader_finds_the_right_vectors(
    two: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is killed right after the commit: what it had still to do is done by the next job."""
    other = next_tokenizer(two)
    ledger_before = two.store().dataset("assignments").version

    def killed(step: str) -> None:
        raise KeyboardInterrupt(step)

    monkeypatch.setattr(promotion, "reached", killed)
    with pytest.raises(KeyboardInterrupt):
        promote(two.uri(), other, settings())
    monkeypatch.undo()
    store = two.store()
    assert store.dataset("assignments").version == ledger_before + 1
    assert store.setting("champion") == other
    assert fused_column(store.dataset("contents").schema, store.setting("fusion")) == "fused_other"
    found = report(two.uri(), sample=50, queries=10)
    assert found["tokenizers"][0]["id"] == other
    assert check(two.uri(), settings())["damages"][0]["what"].startswith(f"{ITEMS} items do not show the ID")
    two.ingest_vectors(clusters(5, DIM, seed=8, prefix="new"))
    store = two.store()
    assert fused_column(store.dataset("contents").schema, store.setting("fusion")) == "fused"
    assert {row["tokenizer_id"] for row in two.rows().values()} == {other}
    assert check(two.uri(), settings())["damages"] == []


def test_both_columns_keep_their_vector_index_when_they_exchange_their_names(two: Workspace) -> None:
    store = two.store()
    maintain(store, vector_rows=20)
    promote(two.uri(), next_tokenizer(two), settings())
    indexed = {index.field_names[0] for index in two.store().dataset("contents").describe_indices()}
    assert {"fused", "fused_other"} <= indexed
    name = next(iter(two.rows()))
    assert two.catalog().search(like=name, k=3).num_rows == 3


def test_a_report_judges_a_tokenizer_by_the_vectors_of_its_own_generation(two: Workspace) -> None:
    other = next_tokenizer(two)
    found = report(two.uri(), other, compare=two.store().setting("champion"), sample=60, queries=10)
    theirs, ours = ({(m["name"], m["level"]): m for m in column["measures"]} for column in found["tokenizers"])
    promote(two.uri(), other, settings())
    after = report(two.uri(), other, sample=60, queries=10)
    assert {(m["name"], m["level"]): m for m in after["tokenizers"][0]["measures"]} == theirs
    assert theirs.keys() == ours.keys()


def test_another_tokenizer_can_be_fitted_on_either_generation(two: Workspace) -> None:
    fit(two.uri(), settings(tokenizer={"seed": 5}), generation=2)
    fit(two.uri(), settings(tokenizer={"seed": 5}), generation=1)
    numbers = [each.generation for each in tokenizers(two.uri())]
    assert sorted(numbers) == [1, 1, 2, 2]


def test_a_dropped_generation_frees_its_column_and_keeps_its_ids(two: Workspace) -> None:
    other, before = next_tokenizer(two), shown(two)
    ids = two.ledger(other)
    drop(two.uri(), 2, settings())
    assert "fused_other" not in two.store().dataset("contents").schema.names
    assert two.store().schema_version() == "4"
    assert shown(two).equals(before)
    assert two.ledger(other) == ids
    drop(two.uri(), 2, settings())
    assert check(two.uri(), settings())["damages"] == []
    fit(two.uri(), settings(), refit_fusion=True)
    assert set(two.store().setting("generations")) == {"1", "3"}


def test_after_a_switch_the_former_generation_can_be_dropped(two: Workspace) -> None:
    other = next_tokenizer(two)
    promote(two.uri(), other, settings())
    after = shown(two)
    drop(two.uri(), 1, settings())
    assert shown(two).equals(after)
    with pytest.raises(FingerprintMismatch, match="a generation that was dropped does not come back"):
        rollback(two.uri(), settings())
    assert two.store().setting("champion") == other


def test_rollbacks_go_back_one_champion_each_and_a_repeated_one_no_further(bare: Workspace) -> None:
    bare.ingest_vectors(clusters(ITEMS, DIM))
    names: list[str] = []
    for seed in range(3):
        bare.fit(tokenizer={"seed": seed})
        names += [each.id for each in tokenizers(bare.uri()) if each.id not in names]
        promote(bare.uri(), names[-1], settings())
    for words in ("champion is .* again", "had been done by run"):
        assert re.search(words, rollback(bare.uri(), settings()).notes[-1])
        assert bare.store().setting("champion") == names[1]
    another_job(bare)
    rollback(bare.uri(), settings())
    assert bare.store().setting("champion") == names[0]
    another_job(bare)
    with pytest.raises(NotReady, match=f"no former champion to go back to: {names[0]} is the first"):
        rollback(bare.uri(), settings())
    promote(bare.uri(), names[2], settings())
    rollback(bare.uri(), settings())
    assert bare.store().setting("champion") == names[0]


def another_job(workspace: Workspace) -> None:
    with exclusive_job(workspace.store(), "another", settings()):
        pass


def _fit(two: Workspace, **more: Any) -> None:
    fit(two.uri(), settings(), **more)


REFUSED: list[tuple[Callable[[Workspace], object], type[FuseidError], str]] = [
    (
        lambda two: drop(two.uri(), 1, settings()),
        NotReady,
        "generation 1 of .* is in force and cannot be dropped; .* 2",
    ),
    (lambda two: drop(two.uri(), 7, settings()), BadInput, r"no generation 7 .*; it has 1 \(in force\) and 2$"),
    (lambda two: _fit(two, generation=3), BadInput, r"no generation 3 .*; it has 1 \(in force\) and 2$"),
    (lambda two: _fit(two, generation=2, refit_fusion=True), BadInput, "leave one of them out"),
    (
        lambda two: fit(two.uri(), settings(fusion={"dim": 5}), refit_fusion=True),
        NotReady,
        "has two generations of fused vectors, 1 in force and 2; `fuseid drop .*2` frees",
    ),
    (lambda two: rollback(two.uri(), settings()), NotReady, "no former champion to go back to"),
]


@pytest.mark.parametrize(("job", "error", "words"), REFUSED)
def test_what_cannot_be_done_is_refused_in_one_line_and_nothing_changes(
    two: Workspace, job: Callable[[Workspace], object], error: type[FuseidError], words: str
) -> None:
    before, kept = two.store().dataset("contents").to_table(), two.store().settings()
    with pytest.raises(error, match=words) as caught:
        job(two)
    assert "\n" not in str(caught.value)
    assert two.store().dataset("contents").to_table().equals(before)
    ignored = {"changed_by", "fitting"}
    assert {k: v for k, v in two.store().settings().items() if k not in ignored} == {
        k: v for k, v in kept.items() if k not in ignored
    }


def test_a_fusion_that_would_be_the_same_is_no_generation(bare: Workspace) -> None:
    bare.ingest_vectors(clusters(ITEMS, DIM))
    bare.fit()
    with pytest.raises(NotReady, match="would be the same again"):
        fit(bare.uri(), settings(), refit_fusion=True)
    assert bare.store().setting("generations") is None


def test_a_fuseid_that_knows_one_generation_refuses_a_database_with_two(two: Workspace) -> None:
    assert Store.open(two.uri()).schema_version() == "5"


def test_a_command_that_is_killed_twice_goes_on_too(two: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is killed before it can record anything."""
    first, other = two.store().setting("champion"), next_tokenizer(two)
    fit(two.uri(), settings(tokenizer={"seed": 5}))
    third = next(each.id for each in tokenizers(two.uri()) if each.id not in (first, other))
    for name in (other, third):
        promote(two.uri(), name, settings())
    rollback(two.uri(), settings())
    killed_job(two, "rollback")
    rollback(two.uri(), settings())
    assert two.store().setting("champion") == other
    drop(two.uri(), 1, settings())
    fit(two.uri(), settings(fusion={"dim": 5}), refit_fusion=True)
    killed_job(two, "fit")
    made = [each.id for each in tokenizers(two.uri())]
    fit(two.uri(), settings(fusion={"dim": 5}), refit_fusion=True)
    assert [each.id for each in tokenizers(two.uri())] == made


def killed_job(workspace: Workspace, job: str) -> None:
    with pytest.raises(KeyboardInterrupt), exclusive_job(workspace.store(), job, settings()):
        raise KeyboardInterrupt
