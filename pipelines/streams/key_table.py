"""Tables of text keys on disk, in sorted hash partitions: finds keys that occur twice, keys that are there, and the
numbers kept with them. Memory holds one partition at a time, or the pages that a look-up needs; a small table is one
partition, which stays in memory."""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np
import pyarrow as pa

_PARTITION_BITS = 6
# Keys that are gathered before they are split into partitions and written.
_GATHERED = 1 << 20
# Up to so many keys a table has no files: making them would take longer than all else.
_IN_MEMORY = 1 << 16
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class KeyHash:
    """Hashes texts to 128 bits by a random function: each byte times a random number that depends on its place (Carter
    and Wegman 1979, universal hashing), so that whoever makes the texts cannot make two hashes meet. Hashes of two
    objects cannot be compared."""

    def __init__(self) -> None:
        self._random = [np.random.PCG64(secrets.randbits(128)) for _ in range(2)]
        self._factors = [np.empty(0, np.uint64), np.empty(0, np.uint64)]

    def __call__(self, texts: pa.Array) -> np.ndarray:
        """string [N] -> uint64 [2, N]."""
        texts = texts.cast(pa.large_binary())
        _, offsets, data = texts.buffers()
        ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        lengths = np.diff(ends)
        flat = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]].astype(np.uint64)
        places = np.arange(len(flat)) - np.repeat(ends[:-1] - ends[0], lengths)
        filled = np.flatnonzero(lengths)
        out = np.zeros((2, len(texts)), np.uint64)
        for number, row in enumerate(out):
            factors = self._up_to(number, int(lengths.max(initial=0)) + 1)
            row[:] = factors[0] * lengths.astype(np.uint64)
            if len(filled):
                row[filled] += np.add.reduceat(flat * factors[1 + places], (ends[:-1] - ends[0])[filled])
            # The sum's low bits depend on fewer bits of the text than its high ones.
            row[:] = (row ^ (row >> np.uint64(32))) * _SPREAD
            row ^= row >> np.uint64(29)
        return out

    def _up_to(self, number: int, longest: int) -> np.ndarray:
        have = self._factors[number]
        if len(have) <= longest:
            new = self._random[number].random_raw(2 * longest + 64).astype(np.uint64)
            have = self._factors[number] = np.concatenate([have, new])
        return have


class KeyTable:
    """`add` all keys, `close`, then `find`. A key is as good as its hash."""

    def __init__(self, folder: Path, name: str, values: int = 0) -> None:
        """values: how many numbers, uint64, are kept with each key."""
        self.count = 0
        self.hash = KeyHash()
        self._stem = folder / name
        self._columns = 2 + values
        self._gathered: list[np.ndarray] = []
        self._waiting = 0
        self._bits = _PARTITION_BITS
        self._sorted: dict[int, np.ndarray] = {}

    def add(self, keys: pa.Array, *values_N: np.ndarray) -> None:
        """keys: string [N], none null."""
        self._gathered.append(np.stack([*self.hash(keys), *(each.astype(np.uint64) for each in values_N)]))
        self.count += len(keys)
        self._waiting += len(keys)
        if self._waiting >= _GATHERED:
            self._write()

    def close(self) -> KeyTable:
        """Sorts the partitions -> the table of the keys that were added more than once."""
        repeated = KeyTable(self._stem.parent, f"{self._stem.name}-repeated")
        repeated.hash = self.hash
        if self.count == self._waiting <= _IN_MEMORY:
            rows = np.concatenate([np.empty((self._columns, 0), np.uint64), *self._gathered], axis=1)
            self._gathered, self._waiting = [], 0
            self._bits = repeated._bits = 0
            self._sorted[0], repeated._sorted[0] = _sorted(rows)
            repeated.count = repeated._sorted[0].shape[1]
            return repeated
        self._write()
        for part in range(1 << self._bits):
            rows, again = _sorted(self._read(part))
            rows.tofile(self._file(part))
            again.tofile(repeated._file(part))
            repeated.count += again.shape[1]
        return repeated

    def find(self, keys: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """string [N] -> (bool [N], whether the key is there; its numbers, uint64 [values, N], 0 for the others)."""
        hashes = self.hash(keys)
        found = np.zeros(len(keys), bool)
        values = np.zeros((self._columns - 2, len(keys)), np.uint64)
        parts = self._parts(hashes[0])
        for part in np.unique(parts).tolist():
            which = np.flatnonzero(parts == part)
            rows = self._partition(part)
            at = np.searchsorted(rows[0], hashes[0, which])
            while len(which):
                inside = at < rows.shape[1]
                which, at = which[inside], at[inside]
                same = rows[0, at] == hashes[0, which]
                which, at = which[same], at[same]
                right = rows[1, at] == hashes[1, which]
                found[which[right]] = True
                values[:, which[right]] = rows[2:, at[right]]
                which, at = which[~right], at[~right] + 1
        return found, values

    def _write(self) -> None:
        if not self._waiting:
            return
        rows = np.concatenate(self._gathered, axis=1)
        parts = self._parts(rows[0])
        rows = rows[:, np.argsort(parts, kind="stable")]
        ends = np.cumsum(np.bincount(parts, minlength=1 << self._bits))
        for part, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            with self._file(part).open("ab") as file:
                np.ascontiguousarray(rows[:, start:end].T).tofile(file)
        self._gathered, self._waiting = [], 0

    def _parts(self, hashes_N: np.ndarray) -> np.ndarray:
        """The partition of each hash, by its first bits."""
        return (hashes_N >> np.uint64(64 - _PARTITION_BITS) >> np.uint64(_PARTITION_BITS - self._bits)).astype(np.uint8)

    def _read(self, part: int) -> np.ndarray:
        """uint64 [columns, N], before the partition is sorted."""
        path = self._file(part)
        if not path.exists():
            return np.empty((self._columns, 0), np.uint64)
        return np.ascontiguousarray(np.fromfile(path, np.uint64).reshape(-1, self._columns).T)

    def _partition(self, part: int) -> np.ndarray:
        """A sorted partition, memory-mapped: the page cache holds what look-ups need."""
        if part not in self._sorted:
            path = self._file(part)
            empty = path.stat().st_size == 0
            flat = np.empty(0, np.uint64) if empty else np.memmap(path, np.uint64, mode="r")
            self._sorted[part] = flat.reshape(self._columns, -1)
        return self._sorted[part]

    def _file(self, part: int) -> Path:
        return self._stem.with_name(f"{self._stem.name}-{part:02d}.keys")


def _sorted(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [columns, N] -> (the same sorted by hash; the hashes that occur more than once, uint64 [2, M])."""
    rows = rows[:, np.lexsort((rows[1], rows[0]))]
    again = (rows[:2, 1:] == rows[:2, :-1]).all(0)
    return rows, np.unique(rows[:2, 1:][:, again], axis=1) if again.any() else rows[:2, :0]
