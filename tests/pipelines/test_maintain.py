"""Maintain: what would be done, what is done, and what `runs` and the report say of it."""

from __future__ import annotations

import pytest

from fuseid.core.errors import StoreError
from fuseid.pipelines.indexing.states import IndexState
from fuseid.pipelines.indexing.upkeep import maintain as keep_up
from fuseid.pipelines.maintain import maintain
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.runs import runs
from fuseid.pipelines.store.indexes import indexed_columns
from fuseid.pipelines.store.store import Store


@pytest.fixture
def indexed(bare, cluster):
    """Ready-made vectors with IDs and an index of their fused vectors."""
    bare.ingest_vectors(cluster(200))
    bare.fit()
    keep_up(bare.store(), vector_rows=100)
    return bare


def by_name(states: list[IndexState]) -> dict[str, IndexState]:
    return {state.name: state for state in states if state.table == "contents"}


def test_a_dry_run_changes_nothing_and_says_what_would_be_done(indexed):
    store = indexed.store()
    rows = store.dataset("contents").to_table(filter="content_id = 'v001'")
    place = rows.schema.get_field_index("content_id")
    store.upsert("contents", rows.set_column(place, rows.schema.field(place), [["new"]]))
    before = store.versions()
    made = maintain(indexed.uri(), indexed.settings(), dry_run=True)
    assert made.run is None
    assert store.versions() == before
    states = by_name(made.indexes)
    assert states["fused_idx"].due == states["content_id_idx"].due == "extend"
    assert states["fused_idx"].outside == 1
    assert states["fused_idx"].recall >= 0.95
    assert states["fused_idx"].probes >= 1


def test_afterwards_nothing_is_due_and_the_run_says_so(indexed):
    made = maintain(indexed.uri(), indexed.settings())
    assert {state.due for state in made.indexes} == {None}
    assert {state.outside for state in made.indexes} == {0}
    assert made.run.counts == {"indexes": len(made.indexes)}
    assert [run.job for run in runs(indexed.uri(), 1).runs] == ["maintain"]
    assert {"contents", "assignments"} == {state.table for state in made.indexes}
    fused = by_name(made.indexes)["fused_idx"]
    (shown,) = (index for index in report(indexed.uri())["indexes"] if index["name"] == "fused_idx")
    assert (shown["recall"], shown["rows"]) == (fused.recall, 200)


def test_another_target_is_due_to_be_measured_and_is_reached(indexed):
    config = indexed.settings(lookup={"recall": 0.3})
    assert by_name(maintain(indexed.uri(), config, dry_run=True).indexes)["fused_idx"].due == "measure"
    after = by_name(maintain(indexed.uri(), config).indexes)["fused_idx"]
    assert (after.due, after.target) == (None, 0.3)
    assert after.recall >= 0.3


def test_a_column_that_is_due_for_an_index_is_listed(fitted, monkeypatch):
    monkeypatch.setattr("fuseid.pipelines.indexing.states.index_states.__defaults__", (None, 10, 0))
    states = by_name(maintain(fitted.uri(), fitted.settings(), dry_run=True).indexes)
    assert states["fused_idx"].due == "make"
    assert "fused" not in indexed_columns(fitted.store().dataset("contents"))


def test_a_database_without_items_is_refused(tmp_path, bare):
    Store.create(tmp_path / "empty")
    with pytest.raises(StoreError, match="is empty"):
        maintain(str(tmp_path / "empty"), bare.settings())
