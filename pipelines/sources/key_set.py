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
        self._twice: np.ndarray | None = None

    @property
    def count(self) -> int:
        return self._table.count

    def gather(self, content_ids: Iterable[pa.Array]) -> bool:
        """Adds all ids. Returns whether one of them occurs twice."""
        for ids in content_ids:
            self._table.add(ids)
        self._twice = self._table.close()
        return self._twice is not None

    def twice(self, content_ids: Iterable[pa.Array]) -> str:
        """The id that occurs twice. content_ids: those that were gathered."""
        for ids in content_ids:
            same = (self._table.hash(ids) == self._twice[:, None]).all(0) if self._twice is not None else ()
            if np.any(same):
                return ids[int(np.flatnonzero(same)[0])].as_py()
        raise ValueError("no id occurs twice")

    def missing(self, content_ids: Sequence[str]) -> list[str]:
        """Those ids that are not in the set."""
        found, _ = self._table.find(pa.array(content_ids, pa.string()))
        return [content_id for content_id, there in zip(content_ids, found.tolist(), strict=True) if not there]
