"""A held database: what is read later is of the versions that were read first, whatever is committed meanwhile."""

from __future__ import annotations

from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.store.held import HeldStore
from fuseid.pipelines.store.store import Store


def test_what_is_committed_meanwhile_is_not_seen(fitted):
    held = HeldStore.open_or_none(fitted.uri())
    assert held is not None
    rows = held.dataset("contents").count_rows()
    with Lease(fitted.store()) as lease:
        store = fitted.store()
        store.writer = lease
        store.delete("contents", ["v000"])
        store.put_settings({"note": 1}, store.settings())
        assert held.dataset("lease").to_table().to_pylist()[0]["holder"] == lease.holder
    assert held.dataset("contents").count_rows() == rows
    assert held.setting("note") is None
    later = HeldStore.open_or_none(fitted.uri())
    assert later is not None
    assert (later.dataset("contents").count_rows(), later.setting("note")) == (rows - 1, 1)


def test_a_table_that_did_not_exist_stays_so(bare, cluster):
    Store.create(bare.uri())
    held = HeldStore.open_or_none(bare.uri())
    assert held is not None
    assert not held.has_contents()
    bare.ingest_vectors(cluster(3))
    assert not held.has_contents()
