"""Waves: finished batches are collected until a commit is due, and their results are counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.config import Config, RunConfig, allowed
from fuseid.core.errors import FetchFailed, TooManyRejected
from fuseid.core.memory import trimmed_memory
from fuseid.core.modalities import ENCODED
from fuseid.core.surface import command, setting
from fuseid.pipelines.ingestion.commit import Committed
from fuseid.pipelines.ingestion.failures import Failures
from fuseid.pipelines.ingestion.reasons import Findings
from fuseid.pipelines.ingestion.removal import Withdrawal
from fuseid.pipelines.ingestion.runners import Runner
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.sources.key_set import KeySet
from fuseid.pipelines.store.store import Store

if TYPE_CHECKING:
    from fuseid.encoders.fusion import Fusion

log = logging.getLogger("fuseid")

# A share of failed items is judged only from so many items on.
_ENOUGH = 100
# What encoders compute of an item.
_COLUMNS = (*(modality.name for modality in ENCODED), "vlm_caption", "vlm_tags")
# Lance's merge fails with more than 300 MB of memory; a row grows before it is merged, by its fused vector.
_WAVE_BYTES = 128 << 20


class Planned(Protocol):
    """counts: see `plan.COUNTS`. passed: how many items listed so far need no work. found:
    see `Findings`."""

    store: Store
    counts: dict[str, int]
    rejected_before: Failures
    found: Findings

    @property
    def passed(self) -> int: ...


class Committer(Protocol):
    def commit(self, wave: pa.Table, keep_known: bool = False) -> Committed:
        """keep_known: a rejection never removes a row of `contents`."""


class Intake(Protocol):
    """What differs between sources of media and of ready-made vectors. `plan` is there once it is prepared, `committer`
    once it began.

    config: as the run uses it. keys: all content_ids of the source; items: how many of them it does not withdraw.
    wave_rows: how many rows a commit has. stages: of its batches, each with a column `seconds_STAGE`.
    removes: whether failures, unless a limit says otherwise, remove known items.
    """

    config: Config
    keys: KeySet
    items: int
    wave_rows: int
    stages: tuple[str, ...]
    removes: bool
    ahead: int

    @property
    def plan(self) -> Planned: ...

    @property
    def committer(self) -> Committer: ...

    def prepare(self, store: Store, fusions: Mapping[str, Fusion]) -> None:
        """Makes `plan`, and writes nothing. fusions: see `begin`. Raises what makes the source unfit for this
        database."""

    def withdrawal(self) -> Withdrawal | None:
        """The items that the source withdraws, None if it cannot withdraw any. `prepare` was called."""

    def begin(self, store: Store, run: Run, fusions: Mapping[str, Fusion]) -> None:
        """fusions: of each generation, by the column of its vectors, that of the one in force first.

        To be called under the lease: prepares, and removes what the source withdraws. Raises what makes the source
        unfit for this database, before anything changes."""

    def look_through(self) -> Iterator[None]:
        """Completes `plan` and does nothing of it, some thousand items at each step. To be called once prepared."""

    def stream(self, runner: Runner, go_on: Callable[[], bool]) -> Iterator[pa.RecordBatch]:
        """The batches to commit. go_on: called from time to time; once it returns False, nothing more is planned."""

    def committed(self, waves: int) -> None:
        """Called after each commit with the number of commits so far."""

    def finish(self, run: Run) -> None:
        """Called after the last wave, also if too many items failed: writes what waits for the last wave."""

    def end(self, run: Run, kept: Failures) -> None:
        """Called when all is written; adds notes to the run."""

    def hint(self) -> str | None:
        """A possible cause, for the message if too many items fail."""


class Waves:
    """Collects batches and commits them; `run` counts what is committed.

    kept: failed items whose rows in the store stay as they are. unchanged: items whose media have the bytes that the
    store knows.
    """

    def __init__(self, intake: Intake, config: RunConfig, run: Run, committed: Callable[[int], None]) -> None:
        """intake: has begun. committed: called after each commit with the number of commits so far."""
        self._intake = intake
        self._committer = intake.committer
        self._config = config
        self._run = run
        self._plan = intake.plan
        self._committed = committed
        self._buffer: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._waves = 0
        self._last = time.perf_counter()
        self.kept, self.unchanged = Failures(), 0
        self._seen = 0
        self._failures = Failures()
        # By column, items that its encoder refused; `_encoded`: the columns that an encoder computed for some item.
        self._refused, self._encoded, self._incomplete = Failures(), set[str](), 0
        run.counts |= dict.fromkeys(("committed", "rejected"), 0)
        run.seconds |= dict.fromkeys((*intake.stages, "commit"), 0.0)

    def add(self, batch: pa.RecordBatch) -> None:
        """Raises TooManyRejected, after it has committed the good rows."""
        self._buffer.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        for stage in self._intake.stages:
            self._run.seconds[stage] += pc.sum(batch[f"seconds_{stage}"]).as_py() or 0.0
        self._seen += batch.num_rows
        failed = batch.select(["error_class", "content_id", "error_message"]).filter(pc.is_valid(batch["error_class"]))
        for row in failed.to_pylist():
            self._failures.add(*row.values())
        if "refused" in batch.schema.names:
            self._see_refusals(batch)
        self._judge(_ENOUGH)

    def _see_refusals(self, batch: pa.RecordBatch) -> None:
        """Raises TooManyRejected if an encoder refuses every item: the fault is then not in the items."""
        self._encoded.update(name for name in _COLUMNS if batch[name].null_count < batch.num_rows)
        for row in batch.select(["content_id", "refused"]).filter(pc.is_valid(batch["refused"])).to_pylist():
            self._incomplete += 1
            for column, _, why in (refusal.partition(": ") for refusal in row["refused"]):
                self._refused.add(column, row["content_id"], why)
                log.info("run %s: %r has no %s: %s", self._run.run_id, row["content_id"], column, why)
        for column, items in self._refused.classes.items():
            if items >= _ENOUGH and column not in self._encoded:
                raise TooManyRejected(
                    f"the encoder refused each of the first {items} items that need {self._refused.commonest()}. "
                    "Correct the cause and run again; what was committed without it is computed after "
                    f"{command('retry', self._plan.store.uri)}"
                )

    def commit_if_due(self) -> None:
        late = time.perf_counter() - self._last > self._config.wave_seconds
        if self._rows >= self._intake.wave_rows or self._bytes >= _WAVE_BYTES or late:
            self.commit()

    def commit(self, going_wrong: bool = False) -> None:
        """going_wrong: a rejection removes no known item; while all items of the run have failed, none does anyway."""
        self._last = time.perf_counter()
        if not self._buffer:
            return
        keep = going_wrong or self._all_failed
        with trimmed_memory():
            done = self._committer.commit(pa.Table.from_batches(self._buffer), keep)
            self._buffer = []
        self.unchanged += done.unchanged
        self.kept += done.kept
        self._run.counts["committed"] += done.written
        self._run.counts["rejected"] += done.rejected.total()
        if self._incomplete:
            self._run.counts["incomplete"] = self._incomplete
        self._run.rejected.update(done.rejected)
        self._rows, self._bytes, self._waves = 0, 0, self._waves + 1
        self._run.seconds["commit"] += time.perf_counter() - self._last
        self._last = time.perf_counter()
        self._committed(self._waves)

    @property
    def _unread(self) -> int:
        return self.kept.classes[FetchFailed.__name__]

    @property
    def finished(self) -> int:
        return self._run.counts["committed"] + self._run.counts["rejected"]

    def end(self) -> None:
        """Commits the rest. Raises TooManyRejected, also if all items of the run were rejected."""
        self._judge(1)
        self.commit()
        if self._incomplete:
            self._run.notes.append(
                f"{self._incomplete} items lack what an encoder could not compute, most often "
                f"{self._refused.commonest()}. It is tried again when the medium or the model changes, or after "
                f"{command('retry', self._plan.store.uri)}"
            )
        failures = self._failures + self._plan.rejected_before
        if failures.count and self._all_failed:
            raise TooManyRejected(
                f"all {failures.count} items were rejected, most often as {failures.commonest()}{self._hint()}. "
                f"{self._remedy(failures.count - self.kept.count)}; {setting('run.max_rejected', '100%')} allows it"
            )

    def _hint(self) -> str:
        hint = self._intake.hint()
        return f" ({hint})" if hint else ""

    def _remedy(self, listed: int) -> str:
        """What to do about items that failed. listed: how many of them are in the table `rejected`."""
        uri, text = self._plan.store.uri, ""
        if self.kept.count:
            text = f"{self.kept.count} known items keep their rows"
            # A failed fetch removes no known item, whatever the limit, and a bad vector none that has anything else.
            if self._intake.removes and (costs := self.kept.count - self._unread):
                text += f" ({setting('run.max_rejected', '100%')} would move {costs} of them to the rejected items)"
            text += ". "
        if not listed:
            return f"{text}Correct the cause and run again"
        text += f"{command('rejected', uri)} lists {f'{listed} others' if self.kept.count else 'them'}"
        return f"{text}: correct the cause, then {command('retry', uri)} and run again"

    @property
    def _all_failed(self) -> bool:
        """Whether no item so far is in the store, neither written nor kept, and `max_rejected` does not allow that."""
        limit, counts = self._config.max_rejected, self._plan.counts
        if limit is not None and limit.endswith("%") and allowed(limit, 100) >= 100:
            return False
        in_store = self._seen - self._failures.count + self._unread + counts["unchanged"] + counts["missing_kept"]
        return in_store == 0

    def _judge(self, enough: int) -> None:
        """Raises TooManyRejected if more items failed than allowed; rows of known items in `contents` stay."""
        failed, limit = self._failures.count, self._config.max_rejected
        if limit is None or failed <= allowed(limit, self._seen) or (limit.endswith("%") and self._seen < enough):
            return
        self.commit(going_wrong=True)
        raise TooManyRejected(
            f"{failed} of {self._seen} items failed, more than run.max_rejected allows ({limit}), most often as "
            f"{self._failures.commonest()}{self._hint()}. What is good was kept. "
            f"{self._remedy(self._failures.count - self.kept.count)}"
        )
