"""The neighbour table on disk: the ids of items by place, the neighbours of each place, and from them the shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.pipelines.neighbourhood.best import NO_PLACE, places_of, scores_of
from fuseid.pipelines.neighbourhood.row_files import new_file, no_room
from fuseid.pipelines.neighbourhood.search import Found
from fuseid.pipelines.streams.block_files import read_at, write_at

TABLE = pa.schema(
    [
        ("content_id", pa.string()),
        ("sid", pa.string()),
        ("neighbours", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
    ]
)
SHARD_ROWS = 1 << 17
# Neighbours that are made into Arrow at a time.
_AT_A_TIME = 1 << 18


class TextFile:
    """Texts by place in two files, memory-mapped to read them; the page cache holds what is used. No text is empty."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._paths = [folder / f"{name}.{kind}" for kind in ("ends", "texts")]
        self._files = [path.open("wb") for path in self._paths]
        # An empty file cannot be mapped.
        self._end = 1
        self._files[0].write(np.ones(1, np.int64).data)
        self._files[1].write(b" ")

    def add(self, texts: pa.Array) -> None:
        """string [N], perhaps null, of the next places. Raises NotReady if the disk is full."""
        texts = texts.fill_null("").cast(pa.large_binary())
        lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False)
        ends = self._end + np.cumsum(lengths, dtype=np.int64)
        try:
            self._files[0].write(ends.data)
            self._files[1].write(b"".join(texts.to_pylist()))
        except OSError as error:
            raise no_room(self._folder, error) from None
        self._end += int(lengths.sum())

    def finish(self) -> pa.LargeStringArray:
        """All texts; null for those that were."""
        for file in self._files:
            file.close()
        ends, texts = (pa.memory_map(str(path)).read_buffer() for path in self._paths)
        return pa.LargeStringArray.from_buffers(ends.size // 8 - 1, ends, texts)


def taken(texts: pa.LargeStringArray, places: np.ndarray) -> pa.StringArray:
    """string [N], null for empty ones."""
    found = texts.take(pa.array(places)).cast(pa.string())
    return pc.if_else(pc.equal(found, ""), pa.scalar(None, pa.string()), found)


class KeyFile:
    """The neighbours of each place, as keys, in a file without a name."""

    def __init__(self, folder: Path, k: int) -> None:
        self._folder = folder
        self._k = k
        self._file: IO[bytes] = new_file(folder)

    def close(self) -> None:
        self._file.close()

    def put(self, found: Found) -> None:
        """Raises NotReady if the disk is full."""
        order = np.argsort(found.places_N)
        places, keys = found.places_N[order].astype(np.int64), np.ascontiguousarray(found.keys_NK[order])
        cuts = np.flatnonzero(np.diff(places) != 1) + 1
        try:
            for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(places)], strict=True):
                write_at(self._file, keys[start:end], 8 * self._k * int(places[start]))
        except OSError as error:
            raise no_room(self._folder, error) from None

    def read(self, first: int, count: int) -> np.ndarray:
        """uint64 [count, k]: of the places from `first` on."""
        keys = np.empty((count, self._k), np.uint64)
        read_at(self._file, keys, 8 * self._k * first)
        return keys


def write_shards(
    folder: Path, ids: pa.LargeStringArray, sids: pa.LargeStringArray, keys: KeyFile, k: int
) -> Iterator[int]:
    """Writes `neighbours-00000.parquet` and so on, in the order of content_id; yields how many rows are written, from
    time to time. The same table gives the same bytes."""
    step = max(1, _AT_A_TIME // k)
    for number, first in enumerate(range(0, len(ids), SHARD_ROWS)):
        end = min(first + SHARD_ROWS, len(ids))
        with pq.ParquetWriter(folder / f"neighbours-{number:05d}.parquet", TABLE, compression="zstd") as writer:
            for start in range(first, end, step):
                count = min(step, end - start)
                writer.write_table(_rows(ids, sids, start, keys.read(start, count)))
                yield count


def _rows(ids: pa.LargeStringArray, sids: pa.LargeStringArray, first: int, keys_NK: np.ndarray) -> pa.Table:
    places_NK = places_of(keys_NK)
    there = places_NK != NO_PLACE
    offsets = pa.array(np.concatenate([[0], np.cumsum(there.sum(1))]).astype(np.int32))
    own = np.arange(first, first + len(keys_NK))
    columns = [
        taken(ids, own),
        taken(sids, own),
        pa.ListArray.from_arrays(offsets, taken(ids, places_NK[there])),
        pa.ListArray.from_arrays(offsets, pa.array(np.clip(scores_of(keys_NK[there]), -1, 1), pa.float32())),
    ]
    return pa.table(columns, schema=TABLE)
