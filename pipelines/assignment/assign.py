"""Assignment: codes become semantic IDs, in one serial step at the end of a run.

The ledger's rule: an ID that was given never changes and is never given to other content, not even after a deletion.
The collision policy decides which ID an item gets; it is pinned per tokenizer by the first IDs under it. Items are
processed in the order of their content_ids. All IDs of a run become visible in one commit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from fuseid.core.artifacts import ADOPTED, encodes, kind_of
from fuseid.core.faults import reached
from fuseid.core.protocols import Tokenizer
from fuseid.pipelines.assignment.champion import column_quantized
from fuseid.pipelines.assignment.ledger import GrowingLedger, Ledger, pin_policy, pinned_policy
from fuseid.pipelines.assignment.placement import NEW, Placement, base_texts, lists
from fuseid.pipelines.assignment.projection import project
from fuseid.pipelines.store.generations import fingerprint
from fuseid.pipelines.store.indexes import index_key
from fuseid.pipelines.store.rows import READ_AHEAD_BYTES, table_by_row
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import nan_rows
from fuseid.pipelines.streams.spill import Spill
from fuseid.tokenizers.collisions import Policy, squared_errors
from fuseid.tokenizers.drift import CodeUse

_SPILLED = 1 << 14
_ROWS_PER_PARTITION = 500_000


def assign(
    store: Store, tokenizer: Tokenizer, run_id: str, *, champion: bool,
    policy: Policy | None = None, notes: list[str] | None = None, served: CodeUse | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:  # fmt: skip
    """Gives an ID to every row with a fused vector that has none under this tokenizer. Returns how many: none if it
    cannot encode.

    champion: also write the IDs into `contents`. policy: for the first IDs under this tokenizer, and so for all later
    ones. notes: receives notes for the run. served: receives how well the vectors are quantized.
    """
    notes = [] if notes is None else notes
    ledger = Ledger(store, tokenizer.id)
    if not encodes(tokenizer):
        if champion:
            _show(store, tokenizer.id)
        return 0
    if champion and not ledger.empty:
        # Items with an ID then show it, and are skipped below.
        project(store, tokenizer.id)
    with tempfile.TemporaryDirectory(prefix="fuseid-assign-") as directory:
        scratch = Path(directory)
        given = GrowingLedger(ledger, scratch)
        policy = _in_force(store, tokenizer, ledger, policy or Policy(), notes)
        codes = _spill_codes(store, tokenizer, ledger, policy, scratch, champion, served, progress)
        if codes.rows:
            reached("assign.spilled")
            placement = Placement(given, policy, tokenizer, partial(_vectors_of, store, tokenizer), scratch)
            placement.give(map(codes.read, range(codes.parts)))
            notes += placement.notes()
            if ledger.empty:
                pin_policy(store, tokenizer.id, policy)
            reached("assign.ready")
            store.append("assignments", given.reader(run_id), ledger.version)
            reached("assign.appended")
            # `project` looks items up in this index.
            index_key(store, "assignments")
            reached("assign.indexed")
    if champion:
        _show(store, tokenizer.id)
    return codes.rows


def _show(store: Store, tokenizer_id: str) -> None:
    project(store, tokenizer_id, hide_others=True)
    reached("assign.projected")


def _in_force(store: Store, tokenizer: Tokenizer, ledger: Ledger, wanted: Policy, notes: list[str]) -> Policy:
    """The policy of the first IDs under this tokenizer; one that a killed run pinned without giving IDs does not count.

    Another policy in the config is noted and is not an error: a nightly run continues with IDs that agree with the
    existing ones.
    """
    if ledger.empty:
        return wanted
    pinned = pinned_policy(store, tokenizer.id)
    # The policy of adopted IDs follows from the IDs, whatever the config says.
    if str(pinned) != str(wanted) and kind_of(tokenizer.id) != ADOPTED:
        notes.append(
            f"{tokenizer.id} goes on with {pinned}, as its IDs began, not with {wanted} of the config; for that fit "
            "another tokenizer, by another tokenizer.seed for instance"
        )
    return pinned


def _spill_codes(
    store: Store,
    tokenizer: Tokenizer,
    ledger: Ledger,
    policy: Policy,
    scratch: Path,
    champion: bool,
    served: CodeUse | None,
    progress: Callable[[int], None] | None,
) -> Spill:
    """The codes of all rows without an ID under this tokenizer, in parts by hash of the codes."""
    dataset = store.dataset("contents")
    column = column_quantized(store, tokenizer)
    dim = store.dims()[column]
    where = f"{column} IS NOT NULL"
    if champion:
        where += f" AND (tokenizer_id IS NULL OR tokenizer_id <> '{tokenizer.id}')"
    rows = dataset.count_rows(where)
    spill = Spill(scratch, "codes", 1 + rows // _ROWS_PER_PARTITION, NEW)
    has_id = ledger.with_id(rows, scratch)
    columns = ["content_id", column, fingerprint(column)]
    reading = dataset.to_batches(
        columns=columns, filter=where, batch_size=_SPILLED, with_row_id=True, io_buffer_size=READ_AHEAD_BYTES
    )
    for batch in reading:
        known = has_id(batch["content_id"])
        if known.any():
            batch = batch.filter(pa.array(~known))
        if not batch.num_rows:
            continue
        vectors = nan_rows(batch[column], dim)
        codes = tokenizer.encode(vectors)
        if served is not None:
            served.add(vectors, tokenizer.decode(codes), codes)
        error = pa.nulls(len(codes), pa.float32())
        if policy.collisions == "reassign":
            error = pa.array(squared_errors(tokenizer, vectors, codes))
        table = pa.table(
            [batch["content_id"], batch[fingerprint(column)], lists(codes), base_texts(codes), batch["_rowid"], error],
            schema=NEW,
        )
        spill.write(table, (_hashed(codes) % np.uint64(spill.parts)).astype(np.uint16))
        if progress is not None:
            progress(batch.num_rows)
    spill.close()
    return spill


def _hashed(codes_NL: np.ndarray) -> np.ndarray:
    """uint64 [N], a hash of the codes alone (FNV-1a, with whole codes instead of bytes)."""
    out = np.full(len(codes_NL), 0xCBF29CE484222325, np.uint64)
    for codes in codes_NL.T:
        out = (out ^ codes.astype(np.uint64)) * np.uint64(0x100000001B3)
    return out


def _vectors_of(store: Store, tokenizer: Tokenizer, rows: pa.Array) -> np.ndarray:
    column = column_quantized(store, tokenizer)
    table = table_by_row(store.dataset("contents"), rows.to_pylist(), ["content_id", column])
    return nan_rows(table.sort_by("content_id")[column], store.dims()[column])
