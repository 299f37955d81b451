"""The map of item numbers to content_ids, for files that name items by numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from fuseid.core.errors import BadInput, unusable
from fuseid.core.reasons import reason
from fuseid.core.surface import option
from fuseid.pipelines.adoption.base import TABLE_ROWS, checked_ids
from fuseid.pipelines.files.data_file import SEPARATORS, DataFile, format_of
from fuseid.pipelines.sources.item import unchanging

_LEVELS = b"fuseid.levels"
_NUMBERS = pa.schema([("number", pa.int64()), ("content_id", pa.string())])
# A text file of RecBole's form, which the data scripts of LC-Rec and MiniOneRec write: id, tab, number, no header.
_ITEM2ID = ".item2id"


class ItemMap:
    """`number` and `content_id` in Parquet (as `items.parquet` of `fuseid export ids`) or CSV, or a file `.item2id`.

    The texts are in a file under `scratch`; memory holds 8 bytes for each number. levels: how many levels the IDs of
    these items have, if the file says so. Raises BadInput for a file that is no such map or names a number twice.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        self._path = path
        self.levels: int | None = None
        numbers: list[np.ndarray] = []
        copy = str(scratch / "items.arrow")
        try:
            with unchanging(path, path), pa.ipc.new_file(copy, _NUMBERS) as writer:
                first = 1
                for batch in self._batches():
                    ids = checked_ids(batch["content_id"], "content_id", path, first)
                    writer.write_batch(pa.RecordBatch.from_arrays([batch["number"], ids], schema=_NUMBERS))
                    numbers.append(batch["number"].to_numpy(zero_copy_only=False))
                    first += batch.num_rows
        except (OSError, pa.ArrowException, KeyError) as error:
            what = reason(error)
            raise unusable(f"cannot read {path} as a map with columns number and content_id: {what}", error) from None
        numbers_N = np.concatenate([np.empty(0, np.int64), *numbers])
        self._ids = pa.ipc.open_file(pa.memory_map(copy)).read_all()["content_id"]
        self._order = np.argsort(numbers_N, kind="stable")
        self._numbers_N = numbers_N[self._order]
        twice = np.flatnonzero(self._numbers_N[1:] == self._numbers_N[:-1])
        if len(twice):
            raise BadInput(f"{path} has the number {self._numbers_N[twice[0]]} twice; every item needs its own")

    def content_ids(self, numbers_N: np.ndarray) -> pa.Array:
        """int64 [N] -> content_ids. Raises BadInput for a number that the map lacks."""
        at_N = np.minimum(np.searchsorted(self._numbers_N, numbers_N), max(len(self._numbers_N) - 1, 0))
        there_N = self._numbers_N[at_N] == numbers_N if len(self._numbers_N) else np.zeros(len(numbers_N), bool)
        if not there_N.all():
            lacking = numbers_N[~there_N][0]
            raise BadInput(f"{self._path} has no item of number {lacking}, which has an ID; give the map of these IDs")
        return self._ids.take(pa.array(self._order[at_N])).combine_chunks()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        data = DataFile(self._path, format_of(self._path.name) or "csv", str(self._path))
        if data.format == "parquet":
            file = pq.ParquetFile(self._path)
            levels = (file.schema_arrow.metadata or {}).get(_LEVELS)
            self.levels = int(levels) if levels else None
            yield from map(_typed, file.iter_batches(batch_size=TABLE_ROWS, columns=_NUMBERS.names))
            return
        reading, parsing = None, pa.csv.ParseOptions(delimiter=SEPARATORS.get(data.format, ","))
        if self._path.suffix == _ITEM2ID:
            reading = pa.csv.ReadOptions(column_names=["content_id", "number"])
            parsing = pa.csv.ParseOptions(delimiter="\t", quote_char=False)
        types = pa.csv.ConvertOptions(column_types={"number": pa.int64(), "content_id": pa.string()})
        with data.bytes() as stream, pa.csv.open_csv(stream, reading, parsing, types) as batches:
            yield from map(_typed, batches)


def _typed(batch: pa.RecordBatch) -> pa.RecordBatch:
    numbers = batch["number"].cast(pa.int64())
    if numbers.null_count:
        raise pa.ArrowInvalid("a number is missing")
    return pa.RecordBatch.from_arrays([numbers, batch["content_id"]], names=_NUMBERS.names)


def named(numbers: np.ndarray, items: ItemMap | None) -> pa.Array:
    """The content_ids of items by number; without a map the number itself, as text."""
    return pa.array(numbers).cast(pa.string()) if items is None else items.content_ids(numbers)


def notes_of(items: ItemMap | None) -> list[str]:
    """How numbers were read, for the notes of a run."""
    return [] if items else [f"the items' numbers are the content_ids; {option('item_map', 'FILE')} gives other ones"]
