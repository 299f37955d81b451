"""Withdrawals in a manifest: rows marked as deleted take their items out of the database."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput, FingerprintMismatch, NotReady, TooManyRejected
from fuseid.pipelines.ingestion.removal import Removal, Withdrawal
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.jobs.runs import Run


def deleted(*names):
    return [{"content_id": name, "deleted": True} for name in names]


@pytest.fixture(scope="module")
def stocked_once(tmp_path_factory):
    return tmp_path_factory.mktemp("stocked") / "db"


@pytest.fixture
def stocked(workspace, stocked_once):
    """t000 to t029 with IDs, and one rejected item."""

    def make():
        workspace.ingest([*workspace.captions(30), {"content_id": "bad", "uri": "no.png"}])
        workspace.fit()

    return workspace.once(stocked_once, make)


def test_deleted_rows_are_removed_new_ones_added_and_all_others_stay(stocked):
    ids, ledger = stocked.ids(), stocked.ledger()
    delta = [*deleted("t003", "bad"), {"content_id": "new", "caption": "a new tree", "deleted": False}]
    run = stocked.ingest(delta)
    assert run.counts | {"listed": 1, "committed": 1, "removed": 2, "removed_unknown": 0} == run.counts
    assert stocked.rows("rejected") == {}
    after = stocked.ids()
    assert after.keys() == ids.keys() - {"t003"} | {"new"}
    assert {name: after[name] for name in ids if name != "t003"} == {k: v for k, v in ids.items() if k != "t003"}
    assert stocked.ledger().items() >= ledger.items()


def test_a_deleted_item_that_comes_back_has_its_former_id(stocked):
    ids = stocked.ids()
    stocked.ingest(deleted("t003", "t004"), load=stocked.no_model)
    run = stocked.ingest(stocked.captions(30))
    assert (run.counts["planned"], run.counts.get("removed")) == (2, None)
    assert stocked.ids() == ids


def test_a_manifest_of_deletions_alone_loads_no_model_and_repeated_it_removes_nothing(stocked):
    delta = deleted("t003", "t004", "nobody")
    run = stocked.ingest(delta, load=stocked.no_model)
    assert run.counts | {"listed": 0, "removed": 2, "removed_unknown": 1} == run.counts
    before = stocked.rows()
    again = stocked.ingest(delta, load=stocked.no_model)
    assert again.counts | {"removed": 0, "removed_unknown": 3} == again.counts
    assert any(note.endswith("'t003', 't004', 'nobody'") for note in again.notes)
    assert stocked.rows() == before


def test_deletions_in_an_empty_database_are_unknown(workspace):
    run = workspace.ingest(deleted("a", "b"), load=workspace.no_model)
    assert run.counts | {"removed": 0, "removed_unknown": 2} == run.counts


def test_deletions_are_not_limited_by_max_prune_and_do_not_count_towards_it(stocked):
    rows = stocked.captions(30)
    whole = [*deleted(*(row["content_id"] for row in rows[:15])), *rows[15:29]]
    config = stocked.settings(run={"max_prune": "10%"})
    run = stocked.ingest(whole, config=config, prune=True, load=stocked.no_model)
    # t029 and bad are not listed.
    assert run.counts | {"removed": 15, "removed_unknown": 0, "pruned": 2} == run.counts
    assert stocked.rows().keys() == {row["content_id"] for row in rows[15:29]}


def test_an_item_that_is_listed_and_deleted_at_once_is_refused(stocked):
    before = stocked.rows()
    for rows in ([*stocked.captions(5), *deleted("t003")], deleted("t003", "t003")):
        with pytest.raises(BadInput, match=r"1 content_id occurs more than once in .*: 't003' in row"):
            stocked.ingest(rows)
    assert stocked.rows() == before


def test_expected_rows_include_deleted_ones(stocked):
    rows = [*stocked.captions(3), *deleted("t010")]
    with pytest.raises(NotReady, match="lists 4 items, not the 3"):
        stocked.ingest(rows, config=stocked.settings(source={"expect_rows": 3}))
    assert stocked.ingest(rows, config=stocked.settings(source={"expect_rows": 4})).counts["removed"] == 1


def test_other_items_that_fail_do_not_delay_a_withdrawal(stocked):
    broken = [{"content_id": f"b{number}", "uri": "no.png"} for number in range(3)]
    for name, limit in (("t003", "1"), ("t004", None)):
        with pytest.raises(TooManyRejected):
            stocked.ingest([*broken, *deleted(name)], config=stocked.settings(run={"max_rejected": limit}))
        assert name not in stocked.rows()
    assert len(stocked.rows()) == 28


def test_a_run_that_is_refused_removes_nothing(stocked):
    config = stocked.settings(run={"max_prune": "10%"})
    with pytest.raises(NotReady, match="prune= would remove 29 of the 30 items"):
        stocked.ingest(deleted("t003"), config=config, prune=True)
    other = stocked.settings(clip={"model": "fake:8"})
    with pytest.raises(FingerprintMismatch):
        stocked.ingest(deleted("t003"), config=other)
    assert "t003" in stocked.rows()


def test_parquet_and_csv_withdraw_too(stocked):
    pq.write_table(pa.table({"content_id": ["t000", "t001"], "deleted": [True, True]}), stocked.media / "d.parquet")
    (stocked.media / "d.csv").write_text("content_id,deleted\nt002,true\nt003,1\n")
    for name in ("d.parquet", "d.csv"):
        assert stocked.ingest(stocked.media / name, load=stocked.no_model).counts["removed"] == 2
    assert stocked.rows().keys() == {row["content_id"] for row in stocked.captions(30)[4:]}


def test_rows_are_deleted_in_few_commits_of_bounded_size(fitted, tmp_path):
    store, names = fitted.store(), sorted(fitted.rows())
    before = store.dataset("contents").version
    removal = Removal(store, tmp_path, "some")
    removal.add("contents", names[:20])
    removal.add("contents", names[20:25])
    reported: list[int] = []
    with Lease(store):
        removal.remove(reported.append, per_commit=10)
    assert reported == [10, 10, 5]
    assert removal.rows == {"contents": 25, "rejected": 0}
    assert store.dataset("contents").version == before + 3
    assert fitted.rows().keys() == set(names[25:])


def test_an_item_in_both_tables_counts_once(stocked, tmp_path):
    """As a kill between two commits of a wave leaves it."""
    store = stocked.store()
    row = {**stocked.rows("rejected")["bad"], "content_id": "t003"}
    with Lease(store):
        store.upsert("rejected", pa.Table.from_pylist([row], schema=store.dataset("rejected").schema))
        withdrawal = Withdrawal(store, enumerate(["t003"]), tmp_path)
        withdrawal.remove(run := Run("test-run", "remove"))
    assert run.counts == {"removed": 1, "removed_unknown": 0}
    assert "t003" not in stocked.rows().keys() | stocked.rows("rejected").keys()
