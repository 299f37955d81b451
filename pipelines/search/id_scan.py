"""The items of one version in the order of their IDs by scans of the table, in bounded memory: for versions without a
stored order, and for conditions that few items fulfil."""

from __future__ import annotations

from collections import Counter

import lance
import numpy as np
import pyarrow as pa

from fuseid.pipelines.search.id_order import After, Child
from fuseid.pipelines.store.id_keys import codes_of, id_keys
from fuseid.pipelines.store.id_order import EXAMPLES
from fuseid.pipelines.store.rows import below_prefix

_ENTRIES = pa.schema([("key", pa.binary()), ("content_id", pa.string()), ("address", pa.uint64())])
_GATHERED = 1 << 16


def scanned_page(
    contents: lance.LanceDataset, prefix: str, after: After | None, k: int, where: str | None = None
) -> np.ndarray:
    """uint64: the addresses of the first k items below a prefix that fulfil a condition, in order."""
    passed = None if after is None else (id_keys(pa.array([after.sid])), after.content_id)
    kept, waiting = _ENTRIES.empty_table(), 0
    batches = contents.to_batches(columns=["sid", "content_id"], filter=_condition(prefix, where), with_row_id=True)
    for batch in batches:
        keys = id_keys(batch["sid"])
        new = pa.table([pa.array(keys.tolist(), pa.binary()), batch["content_id"], batch["_rowid"]], schema=_ENTRIES)
        if passed is not None:
            later = (keys > passed[0]) | ((keys == passed[0]) & _greater(batch["content_id"], passed[1]))
            new = new.filter(pa.array(later))
        kept = pa.concat_tables([kept, new])
        waiting += len(new)
        if waiting > _GATHERED + k:
            kept, waiting = _first(kept, k), 0
    return _first(kept, k)["address"].to_numpy()


def scanned_children(contents: lance.LanceDataset, prefix: str, code: int, most: int) -> list[Child]:
    """See `IdOrder.children`."""
    depth = len(prefix.split("-")) if prefix else 0
    counts: Counter[int] = Counter()
    examples: dict[int, list[str]] = {}
    for batch in contents.to_batches(columns=["sid", "content_id"], filter=_condition(prefix, None)):
        numbers_NL = codes_of(id_keys(batch["sid"]))
        if numbers_NL.shape[1] <= depth:
            continue
        numbers_N, ids = numbers_NL[:, depth], batch["content_id"]
        for number, count in zip(*np.unique(numbers_N, return_counts=True), strict=True):
            if number > code:
                counts[int(number) - 1] += int(count)
                names = examples.setdefault(int(number) - 1, [])
                if len(names) < len(EXAMPLES):
                    rows = np.flatnonzero(numbers_N == number)[: len(EXAMPLES) - len(names)]
                    names += ids.take(pa.array(rows)).to_pylist()
    return [Child(number, counts[number], examples[number]) for number in sorted(counts)[:most]]


def _condition(prefix: str, where: str | None) -> str:
    condition = below_prefix(prefix) if prefix else "sid IS NOT NULL"
    return f"{condition} AND ({where}\n)" if where else condition


def _first(entries: pa.Table, k: int) -> pa.Table:
    return entries.sort_by([("key", "ascending"), ("content_id", "ascending")]).slice(0, k).combine_chunks()


def _greater(texts: pa.Array, text: str) -> np.ndarray:
    import pyarrow.compute as pc

    found: np.ndarray = pc.greater(texts, pa.scalar(text, texts.type)).to_numpy(zero_copy_only=False)
    return found
