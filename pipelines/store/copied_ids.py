"""The IDs in `contents` are copies of the ledger's: how many rows the ledger had when they were copied, and which of
them the ledger does not have."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.pipelines.store.store import Store
from fuseid.pipelines.streams.spill import Spill, hash_parts

# Kept in the configuration of `contents`.
_LEDGER_ROWS = "ledger_rows"
_ROWS_PER_PART = 500_000
_COPIES = pa.schema(
    [
        ("content_id", pa.string()),
        ("tokenizer_id", pa.string()),
        ("sid", pa.string()),
        ("codes", pa.list_(pa.int32())),
        ("fused_fp", pa.string()),
    ]
)
_GIVEN = pa.schema([_COPIES.field(name) for name in ("content_id", "tokenizer_id", "sid")])


def ledger_rows_when_copied(store: Store) -> int | None:
    """How many rows, at least, the ledger had when IDs were last copied into `contents`; None if that was not recorded.
    The ledger never loses a row, so a ledger with fewer rows is older than `contents`."""
    return store.configured("contents", _LEDGER_ROWS)


def note_ledger_rows(store: Store, accept: bool = False) -> None:
    """Records how many rows the ledger has; to be called before IDs are copied into `contents`. A smaller number is not
    recorded.

    accept: record a smaller number too: IDs that an older ledger does not have are given up.
    """
    rows, noted = store.dataset("assignments").count_rows(), ledger_rows_when_copied(store)
    if noted is None or rows > noted or (accept and rows != noted):
        store.configure("contents", {_LEDGER_ROWS: rows})


def copies_unknown_to_ledger(store: Store) -> Iterator[pa.Table]:
    """Rows of `contents` whose ID is not the one that the ledger has for that item and tokenizer, in tables with
    content_id, tokenizer_id, sid, codes, fused_fp and ledger_sid (the ledger's ID, or null). Memory holds one hash
    partition of both tables at a time."""
    contents, ledger = store.dataset("contents"), store.dataset("assignments")
    parts = 1 + max(contents.count_rows(), ledger.count_rows()) // _ROWS_PER_PART
    with tempfile.TemporaryDirectory(prefix="fuseid-ids-") as directory:
        copies = _spilled(contents, "sid IS NOT NULL", _COPIES, parts, Path(directory), "copies")
        given = _spilled(ledger, None, _GIVEN, parts, Path(directory), "given")
        for part in range(parts):
            rows, known = copies.read(part), given.read(part)
            at = pc.index_in(_keys(rows), value_set=_keys(known))
            rows = rows.append_column("ledger_sid", known["sid"].take(at))
            unknown = rows.filter(pc.fill_null(pc.not_equal(rows["sid"], rows["ledger_sid"]), True))
            if unknown.num_rows:
                yield unknown


def _keys(rows: pa.Table) -> pa.Array:
    keys = pc.binary_join_element_wise(rows["tokenizer_id"], rows["content_id"], "\0", null_handling="replace")
    return keys.combine_chunks()


def _spilled(
    dataset: lance.LanceDataset, where: str | None, schema: pa.Schema, parts: int, folder: Path, name: str
) -> Spill:
    spill = Spill(folder, name, parts, schema)
    for batch in dataset.to_batches(columns=schema.names, filter=where):
        rows = pa.Table.from_batches([batch]).cast(schema)
        spill.write(rows, hash_parts(rows["content_id"], parts))
    spill.close()
    return spill
