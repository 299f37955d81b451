"""Rows split into parts in files on disk, so that only one part at a time is in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa


class Spill:
    """Rows are written with the number of their part, and read part by part in the order in which they were written."""

    def __init__(self, folder: Path, name: str, parts: int, schema: pa.Schema) -> None:
        self.parts = parts
        self.rows = 0
        self.schema = schema
        self._stem = folder / name
        self._files = ExitStack()
        self._writers: dict[int, pa.RecordBatchWriter] = {}

    def write(self, rows: pa.Table, numbers_N: np.ndarray) -> None:
        """numbers_N: the part of each row, integers below `parts`; uint16 sorts fastest."""
        self.rows += len(rows)
        rows = rows.take(pa.array(np.argsort(numbers_N, kind="stable")))
        ends = np.cumsum(np.bincount(numbers_N, minlength=self.parts))
        for part in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
            start = int(ends[part - 1]) if part else 0
            if part not in self._writers:
                self._writers[part] = self._files.enter_context(pa.ipc.new_stream(str(self._file(part)), self.schema))
            self._writers[part].write_table(rows.slice(start, int(ends[part]) - start))

    def close(self) -> None:
        """To be called after the last `write` and before the first `read`."""
        self._files.close()

    def read(self, part: int) -> pa.Table:
        """The rows of a part; their columns are memory-mapped from the file."""
        if part not in self._writers:
            return self.schema.empty_table()
        with pa.memory_map(str(self._file(part))) as source:
            return pa.ipc.open_stream(source).read_all()

    def batches(self, part: int) -> Iterator[pa.RecordBatch]:
        """The rows of a part, one batch in memory at a time."""
        if part in self._writers:
            with pa.OSFile(str(self._file(part))) as source, pa.ipc.open_stream(source) as stream:
                yield from stream

    def _file(self, part: int) -> Path:
        return self._stem.with_name(f"{self._stem.name}-{part:05d}.arrow")


def hash_parts(keys: pa.ChunkedArray, parts: int) -> np.ndarray:
    """uint16 [N]: the CRC-32 of each key, modulo the number of parts."""
    if parts == 1:
        return np.zeros(len(keys), np.uint16)
    encoded = keys.combine_chunks().dictionary_encode()
    texts = encoded.dictionary.cast(pa.binary()).to_pylist()
    numbers = np.fromiter(map(zlib.crc32, texts), np.uint32, len(texts)) % parts
    return numbers.astype(np.uint16)[encoded.indices.to_numpy()]
