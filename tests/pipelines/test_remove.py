"""Remove: listed items leave the database, the ledger keeps their IDs, and nothing else changes."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput, LeaseHeld, StoreError
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.remove import remove
from fuseid.pipelines.store.indexes import unindexed_rows
from fuseid.pipelines.store.store import Store

GONE = ("v003", "v017", "v059")


def without(rows, *names):
    return {name: row for name, row in rows.items() if name not in names}


def removed(workspace, ids, db="db"):
    return remove(workspace.uri(db), ids, workspace.settings())


@pytest.fixture
def listed(fitted):
    """Writes the three ids as a list of each kind -> its path."""

    def write(suffix):
        path = fitted.media / f"gone{suffix}"
        if suffix == ".parquet":
            pq.write_table(pa.table({"content_id": GONE, "why": ["sold"] * 3}), path)
        elif suffix == ".txt":
            path.write_text("".join(f"{name}\n" for name in GONE))
        elif suffix == ".csv":
            path.write_text("why,content_id\n" + "".join(f"sold,{name}\n" for name in GONE))
        else:
            path.write_text("".join(json.dumps({"content_id": name, "why": None}) + "\n" for name in GONE))
        return path

    return write


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl", ".parquet"])
def test_listed_items_leave_and_come_back_with_the_same_ids(fitted, cluster, listed, suffix):
    ids, ledger = fitted.ids(), fitted.ledger()
    run = removed(fitted, listed(suffix))
    assert (run.job, run.counts, run.notes) == ("remove", {"removed": 3, "removed_unknown": 0}, [])
    assert fitted.ids() == without(ids, *GONE)
    assert fitted.ledger() == ledger
    assert set(unindexed_rows(fitted.store()).values()) == {0}

    # Others with equal vectors do not get their IDs.
    vectors = cluster(60)
    fitted.ingest_vectors({f"w{name}": vectors[name] for name in GONE})
    assert not {fitted.ids()[f"w{name}"] for name in GONE} & set(ledger.values())
    fitted.ingest_vectors({name: vectors[name] for name in GONE})
    assert {name: fitted.ids()[name] for name in ids} == ids


def test_a_repeated_removal_removes_nothing_and_says_so(fitted):
    assert removed(fitted, [*GONE, "nobody"]).counts == {"removed": 3, "removed_unknown": 1}
    before = fitted.rows()
    run = removed(fitted, [*GONE, "nobody"])
    assert run.counts == {"removed": 0, "removed_unknown": 4}
    (note,) = run.notes
    assert note.startswith("4 of the items to remove are not in the database")
    assert note.endswith("'v003', 'v017', 'v059', 'nobody'")
    assert fitted.rows() == before


def test_the_first_five_unknown_ids_are_named_in_the_order_of_the_list(fitted):
    unknown = [f"x{number}" for number in (7, 3, 9, 1, 5, 2)]
    (note,) = removed(fitted, [unknown[0], "v001", *unknown[1:]]).notes
    assert note.endswith("'x7', 'x3', 'x9', 'x1', 'x5', ...")


def test_an_id_that_is_listed_twice_counts_once(fitted):
    run = removed(fitted, ["v003", "nobody", "v003", "nobody"])
    assert run.counts == {"removed": 1, "removed_unknown": 1}


def test_a_rejected_item_is_removed_too(workspace):
    workspace.ingest([*workspace.captions(4), {"content_id": "bad", "uri": "no.png"}])
    assert removed(workspace, ["bad", "t001"]).counts == {"removed": 2, "removed_unknown": 0}
    assert workspace.rows("rejected") == {}
    assert workspace.rows().keys() == {"t000", "t002", "t003"}


def test_every_item_may_be_removed(fitted, cluster):
    ids = fitted.ids()
    assert removed(fitted, ids).counts["removed"] == 60
    assert fitted.rows() == {}
    fitted.ingest_vectors(cluster(60))
    assert fitted.ids() == ids


def test_hostile_ids_are_told_apart(workspace):
    names = ["it's", "a\nb", '"', "日本語 🍎", "%_\\", "' OR '1'='1"]
    workspace.ingest([{"content_id": name, "caption": f"number {i}"} for i, name in enumerate(names)])
    assert removed(workspace, [*names[::2], "' OR 'a'='a"]).counts == {"removed": 3, "removed_unknown": 1}
    assert workspace.rows().keys() == set(names[1::2])


def test_a_list_without_ids_removes_nothing(fitted, tmp_path):
    (tmp_path / "none.txt").write_text("")
    for ids in (tmp_path / "none.txt", []):
        run = removed(fitted, ids)
        assert run.counts == {"removed": 0, "removed_unknown": 0}
        assert run.notes == ["nothing was removed: the list holds no ids"]
    assert len(fitted.rows()) == 60


def test_an_empty_database_has_nothing_to_remove(bare):
    Store.create(bare.uri())
    assert removed(bare, ["a"]).counts == {"removed": 0, "removed_unknown": 1}


def test_the_job_has_a_row_in_runs_and_needs_the_lease(fitted):
    removed(fitted, ["v003", "nobody"])
    runs = fitted.store().dataset("runs").to_table().to_pylist()
    (row,) = [row for row in runs if row["job"] == "remove"]
    assert row["outcome"] == "done"
    assert json.loads(row["counts"]) == {"removed": 1, "removed_unknown": 1}
    with Lease(fitted.store()), pytest.raises(LeaseHeld):
        removed(fitted, ["v004"])
    assert "v004" in fitted.rows()


def test_a_list_that_cannot_be_read_begins_no_job(fitted, tmp_path):
    (tmp_path / "ids.txt").write_text("v003\n\nv004\n")
    runs = fitted.store().dataset("runs").count_rows()
    with pytest.raises(BadInput, match="line 2 is empty"):
        removed(fitted, tmp_path / "ids.txt")
    assert fitted.store().dataset("runs").count_rows() == runs
    assert len(fitted.rows()) == 60


def test_there_must_be_a_database(bare):
    with pytest.raises(StoreError, match="no database"):
        removed(bare, ["a"])
