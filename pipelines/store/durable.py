"""Durability: the files of a commit are flushed to the disk before anything relies on them; Lance never calls fsync."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

# A version is complete without these: the first are for commits in progress, the second is a hint.
_NOT_NEEDED = ("_transactions", "latest_version_hint.json")


class DurableTable:
    """The folder of a Lance table on a local file system; its files are written once and never changed."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = str(folder)
        self._synced: set[str] = set()

    def sync(self) -> None:
        """Flushes every file that an earlier call has not flushed, and the folders that contain them.

        The first call flushes all files: a killed process may have left committed rows that are not yet on the disk.
        Raises OSError if the disk refuses.
        """
        first = not self._synced
        for folder, below, names in os.walk(self._folder):
            below[:] = [name for name in below if name not in _NOT_NEEDED]
            new = {f"{folder}/{name}" for name in (*below, *names) if name not in _NOT_NEEDED} - self._synced
            if new:
                fsync((*sorted(new), folder))
                self._synced |= new
        if first:
            fsync([self._folder, os.path.dirname(self._folder)])


def fsync(paths: Iterable[str | Path]) -> None:
    """Flushes files and folders to the disk; skips one that was deleted meanwhile. Raises OSError."""
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
