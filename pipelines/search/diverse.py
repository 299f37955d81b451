"""Results of which at most a few have IDs with the same beginning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pyarrow as pa

from fuseid.pipelines.search.query import Diverse

# How many times as many results are searched for at most, if those of full prefixes leave too few.
_MOST_TIMES = 64


def diversified(find: Callable[[int], pa.Table], k: int, diverse: Diverse, count: int) -> pa.Table:
    """At most k of the results of `find`, in their order, which have a column `sid`. find: the best so many results.
    count: the number of items of the catalogue. An item without an ID has a prefix of its own."""
    wanted = min(count, 2 * k)
    while True:
        found = find(wanted)
        kept = _kept(found["sid"].to_pylist(), diverse)[:k]
        if len(kept) == k or len(found) < wanted or wanted >= min(count, _MOST_TIMES * k):
            return found.take(pa.array(kept, pa.int64()))
        wanted = min(count, 4 * wanted)


def _kept(sids: list[str | None], diverse: Diverse) -> list[int]:
    seen: Counter[tuple[str, ...]] = Counter()
    kept = []
    for place, sid in enumerate(sids):
        if sid is not None:
            prefix = tuple(sid.partition(".")[0].split("-")[: diverse.depth])
            seen[prefix] += 1
            if seen[prefix] > diverse.most:
                continue
        kept.append(place)
    return kept
