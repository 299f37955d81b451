"""What a wave commits: an id is in `contents` or in `rejected`, never in both, wherever it was before."""

from __future__ import annotations

import shutil

import pyarrow as pa


def test_a_rejected_item_is_skipped_until_its_file_changes(workspace):
    path = workspace.media / "a.png"
    path.write_bytes(b"no picture")
    rows = [{"content_id": "a", "uri": "a.png"}, {"content_id": "b", "caption": "fine"}]
    first = workspace.ingest(rows)
    assert workspace.ingest(rows, load=workspace.no_model).counts["rejected_before"] == 1

    path.write_bytes(b"no picture either")
    third = workspace.ingest(rows)
    row = workspace.rows("rejected")["a"]
    assert (row["attempts"], row["first_run"], row["last_run"]) == (2, first.run_id, third.run_id)

    workspace.picture("a.png", 1)
    assert workspace.ingest(rows).counts["committed"] == 1
    assert workspace.rows("rejected") == {}
    assert workspace.rows().keys() == {"a", "b"}


def test_an_item_rejected_for_its_kind_is_retried_once_the_kind_is_corrected(workspace):
    row, *others = {"content_id": "a", "uri": workspace.video("a.mp4"), "kind": "image"}, *workspace.captions(1)
    workspace.ingest([row, *others])
    assert "kind to video" in workspace.rows("rejected")["a"]["message"]
    workspace.ingest([{**row, "kind": "video"}, *others])
    assert workspace.rows("rejected") == {}
    assert workspace.rows()["a"]["kind"] == "video"


def test_a_good_item_whose_file_breaks_moves_over_and_gets_its_old_id_back(workspace):
    # Two items of the same bytes: their IDs differ by the suffix only.
    rows = [{"content_id": "a", "uri": workspace.picture("a.png", 1)}, *workspace.captions(8)]
    shutil.copy(workspace.media / "a.png", workspace.media / "b.png")
    rows.append({"content_id": "b", "uri": "b.png"})
    workspace.ingest(rows)
    workspace.fit()
    before = workspace.ids()
    assert before["b"].startswith(before["a"])

    good = (workspace.media / "a.png").read_bytes()
    (workspace.media / "a.png").write_bytes(good[:50])
    run = workspace.ingest(rows)
    assert (run.counts["planned"], run.counts["rejected"]) == (1, 1)
    assert "a" not in workspace.rows()
    assert workspace.rows("rejected").keys() == {"a"}

    (workspace.media / "a.png").write_bytes(good)
    workspace.ingest(rows)
    assert workspace.rows("rejected") == {}
    assert workspace.ids() == before


def test_a_row_that_a_killed_run_left_in_both_tables_is_reconciled(workspace):
    rows = workspace.captions(3)
    workspace.ingest(rows)
    store = workspace.store()
    schema = store.dataset("rejected").schema
    left = dict.fromkeys(schema.names) | {"content_id": "t001", "attempts": 1}
    store.upsert("rejected", pa.Table.from_pylist([left], schema=schema))
    workspace.ingest(rows, load=workspace.no_model)
    assert workspace.rows("rejected") == {}
    assert len(workspace.rows()) == 3
