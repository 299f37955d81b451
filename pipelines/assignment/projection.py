"""Projection: `contents` shows a copy of each item's ID under the champion, which this writes from the ledger."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.schemas import ASSIGNMENTS
from fuseid.pipelines.assignment.ledger import Ledger
from fuseid.pipelines.store.copied_ids import note_ledger_rows
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.streams.key_table import KeyTable
from fuseid.pipelines.streams.spill import Spill

_COPIED = pa.schema([ASSIGNMENTS.field(name).with_nullable(True) for name in ("content_id", "codes", "sid")])
_TOKENIZER = pa.field("tokenizer_id", pa.string())


def project(store: Store, tokenizer_id: str, hide_others: bool = False) -> int:
    """Copies the ledger's IDs under a tokenizer into `contents` where they are missing, in one commit. Returns the
    number of rows changed. Memory holds the rows of one fragment.

    hide_others: items that have no ID under this tokenizer and show one of another tokenizer then show none.
    """
    stale = f"tokenizer_id IS NULL OR tokenizer_id <> '{tokenizer_id}'"
    ledger = Ledger(store, tokenizer_id)
    note_ledger_rows(store)
    missing = store.dataset("contents").count_rows(stale)
    if not missing or (ledger.empty and not hide_others):
        return 0
    if ledger.by_index("content_id", missing):
        return _write(store, tokenizer_id, hide_others, partial(_looked_up, ledger, stale))
    with tempfile.TemporaryDirectory(prefix="fuseid-project-") as directory:
        copies, fragments = _by_fragment(store.dataset("contents"), ledger, stale, Path(directory))
        by_place = partial(_spilled, copies, fragments)
        return _write(store, tokenizer_id, hide_others, by_place)


def _write(
    store: Store, tokenizer_id: str, hide_others: bool, copies: Callable[[lance.LanceFragment], pa.Table]
) -> int:
    shows_another = f"tokenizer_id <> '{tokenizer_id}'"

    def update(fragment: lance.LanceFragment) -> list[pa.RecordBatch]:
        table = copies(fragment)
        table = table.append_column(_TOKENIZER, pa.repeat(tokenizer_id, len(table)))
        if hide_others:
            others = fragment.to_table(columns=["content_id"], filter=shows_another)["content_id"].combine_chunks()
            others = others.filter(pc.invert(pc.is_in(others, value_set=table["content_id"].combine_chunks())))
            nulls = [pa.nulls(len(others), field.type) for field in table.schema][1:]
            table = pa.concat_tables([table, pa.table([others, *nulls], schema=table.schema)])
        return table.to_batches()

    return store.rewrite_columns(update)


def _spilled(copies: Spill, fragments: list[int], fragment: lance.LanceFragment) -> pa.Table:
    return copies.read(fragments.index(fragment.fragment_id))


def _looked_up(ledger: Ledger, stale: str, fragment: lance.LanceFragment) -> pa.Table:
    """The rows of the ledger that a fragment lacks, by the ledger's index."""
    ids = fragment.to_table(columns=["content_id"], filter=stale)["content_id"].combine_chunks()
    found = ledger.rows("content_id", ids, _COPIED.names[1:])
    return pa.concat_tables([_COPIED.empty_table(), *(table.select(_COPIED.names).cast(_COPIED) for table in found)])


def _by_fragment(contents: lance.LanceDataset, ledger: Ledger, stale: str, scratch: Path) -> tuple[Spill, list[int]]:
    """The rows of the ledger that `contents` lacks, in parts by fragment, and the fragments' ids; both tables are read
    once."""
    fragments = sorted(fragment.fragment_id for fragment in contents.get_fragments())
    lacking = KeyTable(scratch, "lacking", values=1)
    for batch in contents.to_batches(columns=["content_id"], filter=stale, with_row_address=True):
        lacking.add(batch["content_id"], batch["_rowaddr"].to_numpy())
    lacking.close()
    copies = Spill(scratch, "copies", len(fragments), _COPIED)
    for batch in ledger.all_rows(_COPIED.names):
        found, (addresses,) = lacking.find(batch["content_id"])
        if found.any():
            # An address begins with the fragment's id.
            parts = np.searchsorted(fragments, addresses[found] >> np.uint64(32)).astype(np.uint16)
            copies.write(pa.Table.from_batches([batch.filter(pa.array(found))]).cast(_COPIED), parts)
    copies.close()
    return copies, fragments
