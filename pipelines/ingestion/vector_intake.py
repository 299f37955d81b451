"""The intake of ready-made vectors: nothing is decoded or encoded, and only their own columns are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from fuseid.core.config import Config
from fuseid.core.errors import BadInput
from fuseid.core.modalities import FUSED, MOST_MODALITIES, modalities
from fuseid.core.surface import command
from fuseid.pipelines.ingestion.failures import Failures
from fuseid.pipelines.ingestion.removal import Withdrawal
from fuseid.pipelines.ingestion.runners import LocalRunner, Runner
from fuseid.pipelines.ingestion.stored_vectors import StoredVectors
from fuseid.pipelines.ingestion.vector_commit import VectorCommitter, check_dim
from fuseid.pipelines.ingestion.vector_plan import VectorPlan
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.sources.listing import counted, unique_keys
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.store import Store

if TYPE_CHECKING:
    from fuseid.encoders.fusion import Fusion


class VectorIntake:
    """See `Intake`."""

    stages: tuple[str, ...] = ("read",)
    removes = False
    # As much as a wave: reading and committing take about as long.
    ahead: int = 8

    def __init__(
        self, source: Vectors, config: Config, scratch: Path, listed: Callable[[int], None] = lambda items: None
    ) -> None:
        self.source = source
        self.config = config.model_copy(
            update={"clip": None, "vlm": config.vlm.model_copy(update={"model": None})}  # no model is run
        )
        self.keys = unique_keys(
            counted(source.ids(), listed),
            source.ids,
            scratch,
            source.path,
            config.source.expect_rows,
            places=source.places,
        )
        self.items = self.keys.count
        self.wave_rows = config.run.wave_vectors
        self._scratch = scratch

    def prepare(self, store: Store, fusions: Mapping[str, Fusion]) -> None:
        modality = self.source.modality
        have = [each.name for each in modalities(store.dims())]
        if modality.name not in have and len(have) >= MOST_MODALITIES:
            raise BadInput(
                f"{store.uri} has {MOST_MODALITIES} kinds of vectors ({', '.join(have)}), and cannot have more; use "
                f"another database"
            )
        check_dim(store, modality, self.source.dim)
        self._store, self._fusion = store, fusions.get(FUSED)
        stored = StoredVectors(store, modality, self.keys.count, self._scratch)
        most_chars = self.config.decode.max_caption_chars
        self.plan = VectorPlan(store, self.source, stored, self.wave_rows, most_chars)

    def withdrawal(self) -> Withdrawal | None:
        return None

    def begin(self, store: Store, run: Run, fusions: Mapping[str, Fusion]) -> None:
        self.prepare(store, fusions)
        modality, dim = self.source.modality, self.source.dim
        self.committer = VectorCommitter(store, run.run_id, modality, dim, fusions, self._scratch)

    def look_through(self) -> Iterator[None]:
        return (None for _ in self.plan.work(LocalRunner()))

    def stream(self, runner: Runner, go_on: Callable[[], bool]) -> Iterator[pa.RecordBatch]:
        return self.plan.work(runner, go_on)

    def committed(self, waves: int) -> None:
        """Appends look no rows up, so the index on content_id is extended at the end of the run only."""

    def finish(self, run: Run) -> None:
        with run.timed("commit"):
            run.counts["updated"] = self.committer.finish()
        run.counts["committed"] += run.counts["updated"]

    def end(self, run: Run, kept: Failures) -> None:
        name = self.source.modality.name
        if count := self.committer.refused_count:
            examples = ", ".join(map(repr, self.committer.refused))
            run.notes.append(f"the {name} vectors of {count} known items cannot be used ({examples}); their rows stay")
        if hint := self.hint():
            run.notes.append(hint)
        if self._fusion is not None and name not in self._fusion.dims and self._store.has_contents():
            run.notes.append(
                f"{name} is stored, not yet fused: {self._fusion.id} was fitted without it, so it changes no ID; "
                f"{command('fit', self._store.uri, refit_fusion=True)} makes the next fusion, with it"
            )

    def hint(self) -> str | None:
        ignored = ", ".join(self.source.ignored)
        return f"columns of the vectors that were not read: {ignored}" if ignored else None
