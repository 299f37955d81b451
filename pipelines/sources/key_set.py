"""The set of all content_ids of a source, on disk: finds one that occurs twice, and ids that are not in the set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from fuseid.pipelines.streams.key_table import KeyTable


class KeySet:
    """Memory does not grow with the ids."""

    def __init__(self, scratch: Path) -> None:
        self._table = KeyTable(scratch, "ids")
        self._repeated: KeyTable | None = None

    @property
    def count(self) -> int:
        return self._table.count

    def gather(self, content_ids: Iterable[pa.Array]) -> int:
        """Adds all ids. Returns how many of them occur more than once."""
        for ids in content_ids:
            self._table.add(ids)
        self._repeated = self._table.close()
        return self._repeated.count

    def repeated(self, content_ids: Iterable[pa.Array], most: int, most_rows: int) -> dict[str, list[int]]:
        """The first ids that occur more than once, at most `most` of them, and their first rows, counted from 0.
        content_ids: those that were gathered."""
        assert self._repeated is not None
        rows: dict[str, list[int]] = {}
        start = 0
        for ids in content_ids:
            found, _ = self._repeated.find(ids)
            for at in np.flatnonzero(found).tolist():
                content_id = ids[at].as_py()
                if content_id in rows or len(rows) < most:
                    numbers = rows.setdefault(content_id, [])
                    numbers += [start + at] * (len(numbers) < most_rows)
            start += len(ids)
        return rows

    def missing(self, content_ids: Sequence[str]) -> list[str]:
        """Those ids that are not in the set."""
        found, _ = self._table.find(pa.array(content_ids, pa.string()))
        return [content_id for content_id, there in zip(content_ids, found.tolist(), strict=True) if not there]
