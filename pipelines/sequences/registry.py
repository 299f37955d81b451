"""The formats of exported sequences, by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from fuseid.pipelines.exports.registry import chosen
from fuseid.pipelines.sequences.examples import Examples
from fuseid.pipelines.sequences.formats import (
    cornac,
    grid,
    jsonl,
    minionerec,
    parquet,
    rectools,
    sidinspector,
    webdataset,
)
from fuseid.pipelines.sequences.items import Items, Titles


class SequenceFormat(Protocol):
    """A module of `formats`. NAME: on the command line. TRAIN: the training examples that its trainer expects, or
    `options.EVENTS`: its files have each event once, and the examples that it writes have no history. EXTRA: columns of
    `contents` from which `titles` makes titles. RESERVED: names that no kept column may have."""

    NAME: str
    TRAIN: str
    EXTRA: tuple[str, ...]
    RESERVED: tuple[str, ...]
    titles: Titles | None

    def write(self, chunks: Iterator[Examples], items: Items, folder: Path, shard: int) -> None:
        """Writes the files of one shard; the chunks are in the order of splits. The same examples give the same
        bytes."""

    def finish(self, folder: Path, items: Items) -> None:
        """Called once, after the last shard."""


_ALL: tuple[SequenceFormat, ...] = (  # type: ignore[assignment]
    parquet, jsonl, minionerec, grid, webdataset, cornac, rectools, sidinspector,
)  # fmt: skip
FORMATS = {form.NAME: form for form in _ALL}


def format_named(name: str) -> SequenceFormat:
    return chosen(FORMATS, name)
