"""Rows split into parts in files on disk, so that only one part at a time is in memory."""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa


class Spill:
    """Rows are written with the number of their part, and read part by part in the order in which they were written."""

    def __init__(self, folder: Path, name: str, parts: int, schema: pa.Schema, most_open: int = 256) -> None:
        """most_open: files that are open at a time. A part that is written again after its file was closed goes on in
        another file."""
        self.parts = parts
        self.rows = 0
        self.schema = schema
        self._stem = folder / name
        self._most_open = most_open
        self._open: OrderedDict[int, pa.RecordBatchWriter] = OrderedDict()
        self._files: dict[int, list[str]] = {}

    def write(self, rows: pa.Table, numbers_N: np.ndarray) -> None:
        """numbers_N: the part of each row, integers below `parts`; uint16 sorts fastest."""
        self.rows += len(rows)
        rows = rows.take(pa.array(np.argsort(numbers_N, kind="stable")))
        ends = np.cumsum(np.bincount(numbers_N, minlength=self.parts))
        for part in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
            start = int(ends[part - 1]) if part else 0
            self._writer(part).write_table(rows.slice(start, int(ends[part]) - start))

    def close(self) -> None:
        """To be called after the last `write` and before the first `read`."""
        while self._open:
            self._open.popitem()[1].close()

    def read(self, part: int) -> pa.Table:
        """The rows of a part; their columns are memory-mapped from its files."""
        tables = [self.schema.empty_table()]
        for path in self._files.get(part, ()):
            with pa.memory_map(path) as source:
                tables.append(pa.ipc.open_stream(source).read_all())
        return pa.concat_tables(tables) if len(tables) != 2 else tables[1]

    def batches(self, part: int) -> Iterator[pa.RecordBatch]:
        """The rows of a part, one batch in memory at a time."""
        for path in self._files.get(part, ()):
            with pa.OSFile(path) as source, pa.ipc.open_stream(source) as stream:
                yield from stream

    def delete(self) -> None:
        """Deletes the files; rows that were read stay readable."""
        for paths in self._files.values():
            for path in paths:
                os.unlink(path)
        self._files.clear()

    def _writer(self, part: int) -> pa.RecordBatchWriter:
        if part not in self._open:
            if len(self._open) >= self._most_open:
                self._open.popitem(last=False)[1].close()
            paths = self._files.setdefault(part, [])
            paths.append(str(self._stem.with_name(f"{self._stem.name}-{part:05d}-{len(paths)}.arrow")))
            self._open[part] = pa.ipc.new_stream(paths[-1], self.schema)
        self._open.move_to_end(part)
        return self._open[part]


def hash_parts(keys: pa.ChunkedArray, parts: int) -> np.ndarray:
    """uint16 [N]: the CRC-32 of each key, modulo the number of parts."""
    if parts == 1:
        return np.zeros(len(keys), np.uint16)
    encoded = keys.combine_chunks().dictionary_encode()
    texts = encoded.dictionary.cast(pa.binary()).to_pylist()
    numbers = np.fromiter(map(zlib.crc32, texts), np.uint32, len(texts)) % parts
    return numbers.astype(np.uint16)[encoded.indices.to_numpy()]
