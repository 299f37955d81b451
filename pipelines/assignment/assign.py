"""Assignment: codes become semantic IDs, in one serial step at the end of a run.

The ledger's rule: an ID once given never moves, and never goes to other content, also after a deletion. Which ID an
item gets is the collision policy's affair, pinned per tokenizer by the first IDs under it; items are treated in the
order of their content_ids. All of it becomes visible in one commit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.core.errors import FingerprintMismatch
from fuseid.core.faults import reached
from fuseid.core.schemas import ASSIGNMENTS
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.assignment.ledger import GrowingLedger, Ledger, pin_policy, pinned_policy
from fuseid.pipelines.assignment.placement import NEW, Placement, base_texts, lists
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.store.copied_ids import note_ledger_rows
from fuseid.pipelines.store.indexes import index_key
from fuseid.pipelines.store.rows import table_by_row
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import fused_fingerprints, nan_rows, to_fixed
from fuseid.tokenizers.collisions import Policy, squared_errors
from fuseid.tokenizers.drift import CodeUse
from fuseid.tokenizers.rq_kmeans import RQKMeans

_BATCH = 4096
_SPILLED = 1 << 14
_ROWS_PER_PARTITION = 500_000


def check_fusion(tokenizer: RQKMeans, fusion: Fusion) -> None:
    """Raises FingerprintMismatch, naming both, for a tokenizer that was fitted on another fusion's vectors."""
    if tokenizer.meta["fusion"] != fusion.id:
        raise FingerprintMismatch(
            f"{tokenizer.id} was fitted on vectors of {tokenizer.meta['fusion']}, "
            f"this database holds vectors of {fusion.id}; "
            "fit a tokenizer here, or assign in the database it was fitted on"
        )


def fuse_missing(store: Store, fusion: Fusion) -> int:
    """Fills `fused` wherever it is null, fragment by fragment. Returns the rows filled."""
    store.ensure_vectors({"fused": fusion.dim})
    dims = store.dims()
    used = [m for m in fusion.dims if m in dims]

    def update(fragment: lance.LanceFragment) -> pa.Table | None:
        parts = []
        for batch in fragment.to_batches(columns=["content_id", *used], filter="fused IS NULL", batch_size=_BATCH):
            if not batch.num_rows:
                continue
            fused = fusion.transform({m: nan_rows(batch[m], dims[m]) for m in used})
            columns = [batch["content_id"], to_fixed(fused), fused_fingerprints(fusion.id, fused)]
            table = pa.table(columns, names=["content_id", "fused", "fused_fp"])
            parts.append(table.filter(pc.is_valid(table["fused"])))
        return pa.concat_tables(parts) if parts else None

    reached("fuse.begun")
    filled = store.rewrite_columns(update)
    reached("fuse.done")
    return filled


def assign(
    store: Store, tokenizer: RQKMeans, run_id: str, *, champion: bool,
    policy: Policy | None = None, notes: list[str] | None = None, served: CodeUse | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:  # fmt: skip
    """Gives an ID to every row with a fused vector that has none under this tokenizer. Returns how many.

    champion: also write the IDs into `contents`. policy: of the first IDs under this tokenizer, and so of all later
    ones. notes: takes what a run should say of it. served: takes how their vectors are quantized.
    """
    notes = [] if notes is None else notes
    with tempfile.TemporaryDirectory(prefix="fuseid-assign-") as directory:
        scratch = Path(directory)
        ledger = Ledger(store, tokenizer.id)
        given = GrowingLedger(ledger, scratch)
        policy = _in_force(store, tokenizer, ledger, policy or Policy(), notes)
        new = _spill_codes(store, tokenizer, ledger, policy, scratch, champion, served, progress)
        if new:
            reached("assign.spilled")
            places = Placement(given, policy, tokenizer, lambda rows: _vectors_of(store, rows), scratch)
            places.give(sorted(scratch.glob("*.parquet")))
            notes += places.notes()
            if ledger.empty:
                pin_policy(store, tokenizer.id, policy)
            reached("assign.ready")
            store.append("assignments", given.reader(run_id), ledger.version)
            reached("assign.appended")
            # `project` looks items up in it.
            index_key(store, "assignments")
            reached("assign.indexed")
    if champion:
        project(store, tokenizer.id)
        reached("assign.projected")
    return new


def _in_force(store: Store, tokenizer: RQKMeans, ledger: Ledger, wanted: Policy, notes: list[str]) -> Policy:
    """The policy of the first IDs under this tokenizer; one that a killed run pinned without giving any does not bind.

    Another one in the config is said and not an error: a nightly run goes on giving IDs that agree with those there.
    """
    if ledger.empty:
        return wanted
    pinned = pinned_policy(store, tokenizer.id)
    if str(pinned) != str(wanted):
        notes.append(
            f"{tokenizer.id} goes on with {pinned}, as its IDs began, not with {wanted} of the config; for that fit "
            "another tokenizer, by another tokenizer.seed for instance"
        )
    return pinned


def note_without_id(store: Store, run: Run) -> None:
    """Counts items that have none of the modalities which the fusion knows, and says so: they can have no ID."""
    missing = store.dataset("contents").count_rows("sid IS NULL")
    if missing:
        run.counts["without_id"] = missing
        run.notes.append(
            f"{missing} items have no ID: they have no vector of a modality that the fusion was fitted on "
            "(their sid is null)"
        )


def project(store: Store, tokenizer_id: str) -> int:
    """Copies the ledger's IDs under a tokenizer into `contents` where they are missing. Returns the rows changed."""
    stale = f"tokenizer_id IS NULL OR tokenizer_id <> '{tokenizer_id}'"
    ledger = Ledger(store, tokenizer_id)
    columns = ["content_id", "codes", "sid"]
    schema = pa.schema([ASSIGNMENTS.field(name).with_nullable(True) for name in [*columns, "tokenizer_id"]])

    def update(fragment: lance.LanceFragment) -> pa.Table | None:
        ids = fragment.to_table(columns=["content_id"], filter=stale)["content_id"].combine_chunks()
        found = list(ledger.rows("content_id", ids, columns[1:]))
        if not found:
            return None
        table = pa.concat_tables(found).select(columns)
        return table.append_column("tokenizer_id", pa.repeat(tokenizer_id, len(table))).cast(schema)

    note_ledger_rows(store)
    return store.rewrite_columns(update)


def _spill_codes(
    store: Store,
    tokenizer: RQKMeans,
    ledger: Ledger,
    policy: Policy,
    scratch: Path,
    champion: bool,
    served: CodeUse | None,
    progress: Callable[[int], None] | None,
) -> int:
    """Codes of all rows without an ID under this tokenizer, into Parquet files by hash of the codes."""
    dataset = store.dataset("contents")
    dim = store.dims()["fused"]
    where = "fused IS NOT NULL"
    if champion:
        where += f" AND (tokenizer_id IS NULL OR tokenizer_id <> '{tokenizer.id}')"
    partitions = 1 + dataset.count_rows(where) // _ROWS_PER_PARTITION
    writers: dict[int, pq.ParquetWriter] = {}
    new = 0
    columns = ["content_id", "fused", "fused_fp"]
    try:
        for batch in dataset.to_batches(columns=columns, filter=where, batch_size=_SPILLED, with_row_id=True):
            for have in ledger.rows("content_id", batch["content_id"], []):
                known = pc.is_in(batch["content_id"], value_set=have["content_id"].combine_chunks())
                batch = batch.filter(pc.invert(known))
            if not batch.num_rows:
                continue
            vectors = nan_rows(batch["fused"], dim)
            codes = tokenizer.encode(vectors)
            if served is not None:
                served.add(vectors, tokenizer.decode(codes), codes)
            error = pa.nulls(len(codes), pa.float32())
            if policy.collisions == "reassign":
                error = pa.array(squared_errors(tokenizer, vectors, codes))
            table = pa.table(
                [batch["content_id"], batch["fused_fp"], lists(codes), base_texts(codes), batch["_rowid"], error],
                schema=NEW,
            )
            which = _hashed(codes) % np.uint64(partitions)
            for partition in np.unique(which).tolist():
                if partition not in writers:
                    writers[partition] = pq.ParquetWriter(scratch / f"{partition:06d}.parquet", NEW)
                writers[partition].write_table(table.filter(pa.array(which == partition)))
            new += batch.num_rows
            if progress:
                progress(batch.num_rows)
    finally:
        for writer in writers.values():
            writer.close()
    return new


def _hashed(codes_NL: np.ndarray) -> np.ndarray:
    """uint64 [N], by the codes alone (steps of FNV-1a, whole codes at a time)."""
    out = np.full(len(codes_NL), 0xCBF29CE484222325, np.uint64)
    for codes in codes_NL.T:
        out = (out ^ codes.astype(np.uint64)) * np.uint64(0x100000001B3)
    return out


def _vectors_of(store: Store, rows: pa.Array) -> np.ndarray:
    table = table_by_row(store.dataset("contents"), rows.to_pylist(), ["content_id", "fused"])
    return nan_rows(table.sort_by("content_id")["fused"], store.dims()["fused"])
