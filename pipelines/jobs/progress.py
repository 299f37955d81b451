"""How long work reports its progress: to bars, to the log, to the rows of `runs`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

# A line a minute at most. Off a terminal the command line shows this log unless FUSEID_LOG says otherwise.
log = logging.getLogger("fuseid.progress")
SECONDS = 60.0


class Progress(Protocol):
    """Receives reports of work as it is done; the command line shows bars."""

    def begin(self, stage: str, total: int | None) -> None: ...

    def advance(self, stage: str, done: int) -> None: ...


@dataclass
class Stage:
    """How far a stage is. `rate`: items per second since the last line, or since it began."""

    name: str
    total: int | None
    done: int = 0
    _marks: tuple[float, int] = field(default_factory=lambda: (time.monotonic(), 0))

    def rate(self) -> float:
        since, before = self._marks
        return (self.done - before) / max(time.monotonic() - since, 1e-9)

    def figures(self) -> dict[str, Any]:
        """What a line says, for machines."""
        left = None if self.total is None else max(0, self.total - self.done)
        return {"stage": self.name, "done": self.done, "left": left, "items_per_second": round(self.rate(), 1)}

    def line(self) -> str:
        """`123 of 4,000, 12.3/s, about 5 min left`; from now on the rate is that from here."""
        rate, left = self.rate(), None if self.total is None else self.total - self.done
        self._marks = time.monotonic(), self.done
        parts = [f"{self.done:,}" + (f" of {self.total:,}" if self.total else "")]
        if rate > 0:
            parts.append(f"{rate:,.1f}/s")
            if left is not None and left > 0:
                parts.append(f"about {duration(left / rate)} left")
        return ", ".join(parts)


class Stages:
    """A `Progress` that keeps how far the stages of some work are, the last one reported first."""

    def __init__(self) -> None:
        self._stages: dict[str, Stage] = {}
        self.last: Stage | None = None

    def begin(self, stage: str, total: int | None) -> None:
        self.last = self._stages[stage] = Stage(stage, total)

    def advance(self, stage: str, done: int) -> None:
        self.last = self._stages[stage]
        self.last.done += done


class Lines:
    """A `Progress` that logs a line from time to time: the progress of all work whose caller gave no other one."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._stages = Stages()
        self._seconds = seconds
        self._due = time.monotonic() + seconds

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def begin(self, stage: str, total: int | None) -> None:
        self._stages.begin(stage, total)
        self._log()

    def advance(self, stage: str, done: int) -> None:
        self._stages.advance(stage, done)
        self._log()

    def note(self, text: str) -> None:
        log.info("%s", text)

    def _log(self) -> None:
        stage = self._stages.last
        if stage is not None and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._seconds
            figures = stage.figures()
            log.info("%s: %s", stage.name, stage.line(), extra={"figures": figures})


def note(progress: Progress, text: str) -> None:
    """Tells something about the work once; where a `Progress` has no method `note`, in the log."""
    getattr(progress, "note", lambda text: log.info("%s", text))(text)


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `2.1 days`"""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def tracked(
    batches: Iterable[pa.RecordBatch], stage: str, total: int | None, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """The same batches; the progress advances by the rows of a batch when the reader asks for the next one."""
    progress.begin(stage, total)
    for batch in batches:
        yield batch
        progress.advance(stage, batch.num_rows)
