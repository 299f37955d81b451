"""Planning of ready-made vectors: which of them the store does not hold yet, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from fuseid.core.errors import FetchFailed
from fuseid.pipelines.ingestion.failures import Failures
from fuseid.pipelines.ingestion.plan import COUNTS
from fuseid.pipelines.ingestion.reasons import NAMED, Findings, Reason
from fuseid.pipelines.ingestion.runners import Runner
from fuseid.pipelines.ingestion.stored_vectors import StoredVectors, numbers_of
from fuseid.pipelines.ingestion.vector_step import read_vectors
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.rows import rows_by_id
from fuseid.pipelines.store.store import Store

_PROBLEM = ["error_class", "content_id", "error_message"]


@dataclass
class VectorPlan:
    """Iterate `work()` once; the counts are complete when it ends. most_chars: of a caption. found: see
    `Findings`; nothing is fetched, decoded or encoded, and planning is reading."""

    store: Store
    source: Vectors
    stored: StoredVectors
    wave_rows: int
    most_chars: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    rejected_before: Failures = field(default_factory=Failures)
    found: Findings = field(default_factory=Findings)

    @property
    def passed(self) -> int:
        """How many of the items listed so far need no work."""
        return self.counts["unchanged"] + self.counts["rejected_before"]

    def work(self, runner: Runner, go_on: Callable[[], bool] = lambda: True) -> Iterator[pa.RecordBatch]:
        """Batches of `vectors_schema`, none larger than a wave, with the rows that are new, changed or bad, and the
        addresses of stored rows. go_on: see `Plan`."""
        modality, dim = self.source.modality, self.source.dim
        for batch in runner.read(read_vectors, self.source.parts, modality.name, dim, self.most_chars):
            self.counts["listed"] += batch.num_rows
            known, address, vectors, facts = self.stored.find(batch["content_id"])
            good = batch["error_class"].is_null().to_numpy(zero_copy_only=False)
            same = good & known & (numbers_of(batch["vector_fp"]) == vectors)
            # A file without columns of a manifest says nothing; what other sources say stays.
            stated = numbers_of(batch["facts"])
            same &= (stated == facts) | (stated == 0) | (facts == 0)
            self.counts["unchanged"] += int(same.sum())
            before, attempts = self._rejected_before(batch, good | known)
            todo = ~same & ~before
            self.counts["planned"] += int(todo.sum())
            other = numbers_of(batch["vector_fp"]) != vectors
            self._count(batch["content_id"], Reason.UNUSABLE, todo & ~good)
            for row in batch.filter(pa.array(todo & ~good)).select(_PROBLEM).to_pylist():
                self.found.unusable.add(row["error_class"], row["content_id"], row["error_message"])
            self._count(batch["content_id"], Reason.NEW, todo & good & ~known)
            self._count(batch["content_id"], Reason.VECTOR, todo & good & known & other)
            self._count(batch["content_id"], Reason.ATTRIBUTES, todo & good & known & ~other)
            rest = _with(batch, "address", pa.array(address, mask=~known))
            rest = _with(rest, "attempts", attempts)
            rest = rest if todo.all() else rest.filter(pa.array(todo))
            for start in range(0, rest.num_rows, self.wave_rows):
                if not go_on():
                    return
                yield rest.slice(start, self.wave_rows)

    def _count(self, ids: pa.Array, reason: Reason, chosen: np.ndarray) -> None:
        self.found.reasons.add(
            reason, int(chosen.sum()), ids.take(pa.array(np.flatnonzero(chosen)[:NAMED])).to_pylist()
        )

    def _rejected_before(self, batch: pa.RecordBatch, passed: np.ndarray) -> tuple[np.ndarray, pa.Array]:
        """-> (bool [N]: bad rows that an earlier run has rejected for the same reason; int32 [N]: how often the others
        were tried). passed: rows that are not judged."""
        out, attempts = np.zeros(batch.num_rows, bool), np.zeros(batch.num_rows, np.int32)
        bad = {batch["content_id"][row].as_py(): row for row in np.flatnonzero(~passed).tolist()}
        columns = ["content_id", "fingerprint", "error_class", "message", "attempts"]
        for before in rows_by_id(self.store.dataset("rejected"), list(bad), columns):
            row = bad[before["content_id"]]
            attempts[row] = before["attempts"]
            if before["fingerprint"] == batch["item_fp"][row].as_py() and before["error_class"] != FetchFailed.__name__:
                self.counts["rejected_before"] += 1
                self.rejected_before.add(before["error_class"], before["content_id"], before["message"])
                out[row] = True
        return out, pa.array(attempts)


def _with(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    column = batch.schema.get_field_index(name)
    return batch.set_column(column, batch.schema.field(column), values)
