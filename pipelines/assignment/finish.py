"""The end of every job that changes vectors or IDs: fuses, gives IDs, records drift and maintains the tables."""

from __future__ import annotations

import lance
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.config import Config
from fuseid.core.faults import reached
from fuseid.core.protocols import Tokenizer
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.assignment.assign import assign
from fuseid.pipelines.assignment.drift import record_drift
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.store.indexes import maintain
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import fused_fingerprints, nan_rows, to_fixed
from fuseid.tokenizers.collisions import Policy
from fuseid.tokenizers.drift import CodeUse

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
    if tokenizer is not None:
        with run.timed("assign"):
            progress.begin("assign", store.dataset("contents").count_rows() if fitted else None)
            served = CodeUse(tokenizer.codebook_sizes)
            run.counts["assigned"] = assign(
                store, tokenizer, run.run_id, champion=champion, policy=Policy.of(config.tokenizer), notes=run.notes,
                served=served, progress=lambda rows: progress.advance("assign", rows),
            )  # fmt: skip
            if not fitted:
                record_drift(store, tokenizer, served, config.tokenizer, run)
            if champion:
                _note_without_id(store, run)
    with run.timed("maintain"):
        maintain(store)


def fuse(store: Store, run: Run, fusion: Fusion) -> int:
    """Computes `fused` for all rows in which it is null, fragment by fragment, in one commit. Returns the number of
    rows filled."""
    with run.timed("fuse"):
        store.ensure_vectors({"fused": fusion.dim})
        dims = store.dims()
        used = [m for m in fusion.dims if m in dims]

        def update(fragment: lance.LanceFragment) -> pa.Table | None:
            parts = []
            columns = ["content_id", *used]
            for batch in fragment.to_batches(columns=columns, filter="fused IS NULL", batch_size=_BATCH_ROWS):
                if not batch.num_rows:
                    continue
                fused = fusion.transform({m: nan_rows(batch[m], dims[m]) for m in used})
                filled = [batch["content_id"], to_fixed(fused), fused_fingerprints(fusion.id, fused)]
                table = pa.table(filled, names=["content_id", "fused", "fused_fp"])
                parts.append(table.filter(pc.is_valid(table["fused"])))
            return pa.concat_tables(parts) if parts else None

        reached("fuse.begun")
        rows = store.rewrite_columns(update)
        reached("fuse.done")
    return rows


def _note_without_id(store: Store, run: Run) -> None:
    """Counts and notes the items that have none of the fusion's modalities: they cannot have an ID."""
    missing = store.dataset("contents").count_rows("sid IS NULL")
    if missing:
        run.counts["without_id"] = missing
        run.notes.append(
            f"{missing} items have no ID: they have no vector of a modality that the fusion was fitted on "
            "(their sid is null)"
        )
