"""A set of keys on disk, in hash partitions: finds a key that occurs twice, and keys that are not in the set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

_SPILL_BYTES = 1 << 20
_KEY_BYTES = 16


class KeySet:
    """The content_ids of a source, as 16-byte hashes in sorted partitions on disk: memory does not grow with them."""

    def __init__(self, scratch: Path, partitions: int = 64) -> None:
        self.count = 0
        self._partitions = partitions
        self._scratch = scratch
        self._sorted: dict[int, np.ndarray] = {}

    def gather(self, content_ids: Iterable[str]) -> bytes | None:
        """Adds all keys. Returns the digest of one that occurs twice, or None."""
        buffers = [bytearray() for _ in range(self._partitions)]
        for content_id in content_ids:
            key = digest(content_id)
            buffer = buffers[key[0] % self._partitions]
            buffer += key
            self.count += 1
            if len(buffer) >= _SPILL_BYTES:
                self._spill(key[0] % self._partitions, buffer)
        for index, buffer in enumerate(buffers):
            self._spill(index, buffer)
            keys = np.sort(np.fromfile(self._file(index), dtype=f"S{_KEY_BYTES}"))
            twice = keys[1:][keys[1:] == keys[:-1]]
            if len(twice):
                # numpy's S type drops trailing zero bytes.
                return bytes(twice[0]).ljust(_KEY_BYTES, b"\0")
            keys.tofile(self._file(index))
        return None

    def missing(self, content_ids: Sequence[str]) -> list[str]:
        """Those ids that are not in the set."""
        by_partition: dict[int, list[str]] = {}
        for content_id in content_ids:
            by_partition.setdefault(digest(content_id)[0] % self._partitions, []).append(content_id)
        missing: list[str] = []
        for index, ids in by_partition.items():
            keys = self._partition(index)
            wanted = np.array([digest(content_id) for content_id in ids], dtype=keys.dtype)
            places = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
            found = keys[places] == wanted if len(keys) else np.zeros(len(wanted), bool)
            missing += [content_id for content_id, is_there in zip(ids, found, strict=True) if not is_there]
        return missing

    def _partition(self, index: int) -> np.ndarray:
        """The sorted keys of a partition, memory-mapped: the pages that a look-up needs are read by the page cache."""
        if index not in self._sorted:
            path = self._file(index)
            dtype = np.dtype(f"S{_KEY_BYTES}")
            empty = path.stat().st_size == 0
            self._sorted[index] = np.empty(0, dtype) if empty else np.memmap(path, dtype=dtype, mode="r")
        return self._sorted[index]

    def _spill(self, index: int, buffer: bytearray) -> None:
        with self._file(index).open("ab") as file:
            file.write(buffer)
        buffer.clear()

    def _file(self, index: int) -> Path:
        return self._scratch / f"keys-{index}"


def digest(content_id: str) -> bytes:
    return hashlib.blake2b(content_id.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
