"""Assignment: codes become semantic IDs, in one serial step at the end of a run.

The ledger's rule: an ID once given never moves to another item and never goes to another one, also after a deletion.
Of items with the same codes the first, in the order of their content_ids within a run, keeps the bare ID; each later
one gets the next collision digit. Suffixes only depend on items of the same codes, so the work is done in hash
partitions of the codes, and all of it becomes visible in one commit.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.core.errors import FingerprintMismatch
from fuseid.core.records import SemanticId
from fuseid.core.schemas import ASSIGNMENTS
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.lease import Lease
from fuseid.pipelines.runs import Run
from fuseid.pipelines.store import Store, rows_by_id, sql_list
from fuseid.pipelines.vectors import fused_fingerprints, nan_rows, to_fixed
from fuseid.tokenizers.rq_kmeans import RQKMeans

_BATCH = 4096
_ROWS_PER_PARTITION = 500_000
_SPILL = pa.schema(
    [("content_id", pa.string()), ("fused_fp", pa.string()), ("codes", pa.list_(pa.int32())), ("base", pa.string())]
)


def check_fusion(tokenizer: RQKMeans, fusion: Fusion) -> None:
    """Raises FingerprintMismatch, naming both, for a tokenizer that was fitted on another fusion's vectors."""
    if tokenizer.meta["fusion"] != fusion.id:
        raise FingerprintMismatch(
            f"{tokenizer.id} was fitted on vectors of {tokenizer.meta['fusion']}, "
            f"this database holds vectors of {fusion.id}; "
            "fit a tokenizer here, or assign in the database it was fitted on"
        )


def fuse_missing(store: Store, fusion: Fusion, lease: Lease) -> int:
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

    lease.check()
    return store.rewrite_columns(update)


def assign(
    store: Store, tokenizer: RQKMeans, lease: Lease, run_id: str, *, champion: bool,
    progress: Callable[[int], None] | None = None,
) -> int:  # fmt: skip
    """Gives an ID to every row with a fused vector that has none under this tokenizer. Returns how many.

    champion: also write the IDs into `contents`.
    """
    with tempfile.TemporaryDirectory(prefix="fuseid-assign-") as scratch:
        new = _spill_codes(store, tokenizer, Path(scratch), champion, progress)
        if new:
            lease.check()
            stream = pa.RecordBatchReader.from_batches(
                ASSIGNMENTS, _ledger_rows(store, tokenizer.id, Path(scratch), run_id)
            )
            store.table("assignments").add(stream)
    if champion:
        lease.check()
        project(store, tokenizer.id)
    return new


def note_without_id(store: Store, run: Run) -> None:
    """Counts items that have none of the modalities which the fusion knows, and says so: they can have no ID."""
    missing = store.table("contents").count_rows("sid IS NULL")
    if missing:
        run.counts["without_id"] = missing
        run.notes.append(
            f"{missing} items have no ID: they have no vector of a modality that the fusion was fitted on "
            "(their sid is null)"
        )


def project(store: Store, tokenizer_id: str) -> int:
    """Copies the ledger's IDs under a tokenizer into `contents` where they are missing. Returns the rows changed."""
    stale = f"tokenizer_id IS NULL OR tokenizer_id <> '{tokenizer_id}'"
    columns = ["content_id", "codes", "sid"]

    def update(fragment: lance.LanceFragment) -> pa.Table | None:
        ids = fragment.to_table(columns=["content_id"], filter=stale)["content_id"].to_pylist()
        found = list(rows_by_id(store.dataset("assignments"), ids, columns, f"tokenizer_id = '{tokenizer_id}'"))
        if not found:
            return None
        schema = pa.schema([ASSIGNMENTS.field(name).with_nullable(True) for name in columns])
        table = pa.Table.from_pylist(found, schema=schema)
        return table.append_column("tokenizer_id", pa.array([tokenizer_id] * len(found)))

    return store.rewrite_columns(update)


def _spill_codes(
    store: Store, tokenizer: RQKMeans, scratch: Path, champion: bool, progress: Callable[[int], None] | None
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
    try:
        for batch in dataset.to_batches(columns=["content_id", "fused", "fused_fp"], filter=where, batch_size=_BATCH):
            ids = batch["content_id"].to_pylist()
            have = {
                row["content_id"]
                for row in rows_by_id(
                    store.dataset("assignments"), ids, ["content_id"], f"tokenizer_id = '{tokenizer.id}'"
                )
            }
            if have:
                batch = batch.filter(pa.array([i not in have for i in ids]))
            if not batch.num_rows:
                continue
            codes = tokenizer.encode(nan_rows(batch["fused"], dim)).tolist()
            bases = ["-".join(map(str, row)) for row in codes]
            table = pa.table(
                [batch["content_id"], batch["fused_fp"], pa.array(codes, pa.list_(pa.int32())), pa.array(bases)],
                schema=_SPILL,
            )
            which = pa.array([zlib.crc32(base.encode()) % partitions for base in bases])
            for partition in which.unique().to_pylist():
                if partition not in writers:
                    writers[partition] = pq.ParquetWriter(scratch / f"{partition:06d}.parquet", _SPILL)
                writers[partition].write_table(table.filter(pc.equal(which, partition)))
            new += batch.num_rows
            if progress:
                progress(batch.num_rows)
    finally:
        for writer in writers.values():
            writer.close()
    return new


def _ledger_rows(store: Store, tokenizer_id: str, scratch: Path, run_id: str) -> Iterator[pa.RecordBatch]:
    for path in sorted(scratch.glob("*.parquet")):
        table = pq.read_table(path).sort_by("content_id")
        taken = _taken(store, tokenizer_id, table["base"].unique().to_pylist())
        for batch in table.to_batches(max_chunksize=_BATCH):
            rows: list[dict[str, Any]] = []
            for row in batch.to_pylist():
                digit = taken.get(row["base"], 0)
                taken[row["base"]] = digit + 1
                suffix = digit or None
                sid = str(SemanticId(tuple(row["codes"]), suffix))
                rows.append({**row, "tokenizer_id": tokenizer_id, "suffix": suffix, "sid": sid, "run_id": run_id})
            yield pa.RecordBatch.from_pylist(rows, schema=ASSIGNMENTS)


def _taken(store: Store, tokenizer_id: str, bases: list[str]) -> dict[str, int]:
    """Per code tuple the next free collision digit: 0 where nobody holds it."""
    dataset = store.dataset("assignments")
    out: dict[str, int] = {}
    for start in range(0, len(bases), 1000):
        where = f"base IN ({sql_list(bases[start : start + 1000])}) AND tokenizer_id = '{tokenizer_id}'"
        for batch in dataset.to_batches(columns=["base", "suffix"], filter=where):
            for base, suffix in zip(batch["base"].to_pylist(), batch["suffix"].to_pylist(), strict=True):
                out[base] = max(out.get(base, 0), (suffix or 0) + 1)
    return out
