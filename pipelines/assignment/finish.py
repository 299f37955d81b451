"""The end of every job that changes vectors or IDs: fuses, gives IDs, records drift and maintains the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import lance
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.artifacts import encodes, without_codebooks
from fuseid.core.config import Config
from fuseid.core.faults import reached
from fuseid.core.protocols import Tokenizer
from fuseid.pipelines.assignment.assign import assign
from fuseid.pipelines.assignment.champion import load_fusions, load_other
from fuseid.pipelines.assignment.drift import record_drift
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.store.generations import fingerprint
from fuseid.pipelines.store.indexes import unindexed_rows
from fuseid.pipelines.store.rows import READ_AHEAD_BYTES
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import fused_fingerprints, nan_rows, to_fixed
from fuseid.tokenizers.collisions import Policy
from fuseid.tokenizers.drift import CodeUse

if TYPE_CHECKING:
    from fuseid.encoders.fusion import Fusion

_BATCH_ROWS = 4096


def finish(
    store: Store, run: Run, config: Config, progress: Progress, tokenizer: Tokenizer | None, *,
    champion: bool = True, fitted: bool = False,
) -> None:  # fmt: skip
    """Gives IDs to the items that have none under a tokenizer, and maintains tables and indexes; without a tokenizer
    it only maintains.

    champion: whether `tokenizer` is the champion, whose IDs `contents` shows. fitted: whether this job fitted it: then
    the items are those that it was fitted on, and show no drift.
    """
    policy = Policy.of(config.tokenizer)
    if tokenizer is not None:
        run.tokenizer_id, run.role = tokenizer.id, "champion" if champion else "candidate"
        with run.timed("assign"):
            progress.begin("assign", store.dataset("contents").count_rows() if fitted else None)
            served = CodeUse(tokenizer.codebook_sizes)
            run.counts["assigned"] = assign(
                store, tokenizer, run.run_id, champion=champion, policy=policy, notes=run.notes,
                served=served, progress=lambda rows: progress.advance("assign", rows),
            )  # fmt: skip
            if not fitted:
                record_drift(store, tokenizer, served, config.tokenizer, run)
            if champion:
                _note_without_id(store, run, tokenizer)
                if (other := load_other(store)) is not None:
                    assign(store, other, run.run_id, champion=False, policy=policy, notes=run.notes)
    with run.timed("maintain"):
        run.notes += maintain(store, recall=config.lookup.recall)
        outside = unindexed_rows(store) if store.has_contents() else {}
        run.counts |= {f"outside_{name}": rows for name, rows in outside.items() if rows}


def fuse(store: Store, run: Run) -> None:
    """Computes the fused vectors of each generation for all rows in which they are null, in one commit for each."""
    with run.timed("fuse"):
        for column, fusion in load_fusions(store).items():
            store.ensure_vectors({column: fusion.dim})
            reached("fuse.begun")
            write_fused(store, fusion, column, f"{column} IS NULL")
            reached("fuse.done")


def write_fused(
    store: Store, fusion: Fusion, column: str, where: str | None = None,
    select: Callable[[pa.Table], pa.Table] | None = None,
) -> None:  # fmt: skip
    """Computes the fused vectors of a column for the rows of `contents` that meet a condition, or those of them that
    `select` returns, in one commit. Rows that have no vector which the fusion knows stay as they are.

    select: a table with the vectors, the fused ones and their fingerprints -> its rows to write.
    """
    dims = store.dims()
    used = [name for name in fusion.dims if name in dims]
    fp = fingerprint(column)
    columns = ["content_id", *used, *([column, fp] if select else [])]

    def update(fragment: lance.LanceFragment) -> Iterator[pa.RecordBatch]:
        reading = fragment.to_batches(
            columns=columns, filter=where, batch_size=_BATCH_ROWS, io_buffer_size=READ_AHEAD_BYTES
        )
        for batch in reading:
            rows = pa.Table.from_batches([batch])
            rows = select(rows) if select else rows
            if rows.num_rows:
                fused = fusion.transform({name: nan_rows(rows[name], dims[name]) for name in used})
                written = [rows["content_id"], to_fixed(fused), fused_fingerprints(fusion.id, fused)]
                table = pa.table(written, names=["content_id", column, fp])
                yield from table.filter(pc.is_valid(table[column])).to_batches()

    store.rewrite_columns(update)


def _note_without_id(store: Store, run: Run, tokenizer: Tokenizer) -> None:
    """Counts and notes the items that cannot have an ID: they have none of the fusion's modalities, or only IDs that
    were adopted can be shown."""
    missing = store.dataset("contents").count_rows("sid IS NULL")
    if missing:
        reason = "they have no vector of a modality that the fusion was fitted on"
        if not encodes(tokenizer):
            reason = without_codebooks(tokenizer.id)
        run.counts["without_id"] = missing
        run.notes.append(f"{missing} items have no ID: {reason} (their sid is null)")
