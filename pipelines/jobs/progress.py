"""How jobs report their progress."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import pyarrow as pa


class Progress(Protocol):
    """Receives reports of work as it is done; the command line shows bars."""

    def begin(self, stage: str, total: int | None) -> None: ...

    def advance(self, stage: str, done: int) -> None: ...


class Silent:
    def begin(self, stage: str, total: int | None) -> None:
        pass

    def advance(self, stage: str, done: int) -> None:
        pass


def tracked(
    batches: Iterable[pa.RecordBatch], stage: str, total: int | None, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """The same batches; the progress advances by the rows of a batch when the reader asks for the next one."""
    progress.begin(stage, total)
    for batch in batches:
        yield batch
        progress.advance(stage, batch.num_rows)
