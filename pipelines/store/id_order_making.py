"""Makes the ID order: sorts all IDs outside memory and writes the items and the prefixes at each depth."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from lance.file import LanceFileWriter

from fuseid.core.faults import reached
from fuseid.core.memory import trimmed_memory
from fuseid.pipelines.store.durable import fsync
from fuseid.pipelines.store.id_keys import codes_of, depth_of, fixed, from_fixed, id_keys
from fuseid.pipelines.store.id_order import (
    COVERED,
    EXAMPLES,
    FOLDER,
    ITEMS,
    ITEMS_SCHEMA,
    KEY,
    LEVEL_SCHEMA,
    OrderFiles,
    coverage,
    level_file,
    named,
    new_name,
    remove_old_orders,
    replaced,
)
from fuseid.pipelines.store.store import Store, filesystem
from fuseid.pipelines.streams.spill import Spill

# With fewer items a reader sorts them itself in a moment.
ORDER_ROWS = 50_000
# Sorted at a time in memory.
PART_ROWS = 1 << 18
# Items outside the order that a reader sorts itself, before the order is made again: a share, and at most so many.
_OUTSIDE_SHARE, _MOST_OUTSIDE = 20, 200_000
_SAMPLE = 1 << 16


def maintain_id_order(store: Store, keep: timedelta, order_rows: int = ORDER_ROWS, part_rows: int = PART_ROWS) -> bool:
    """Makes the order if it is due: there are at least `order_rows` IDs, and no order or too many outside it. Removes
    orders that were replaced longer ago than `keep`. Returns whether it made one."""
    if not store.has_contents():
        return False
    contents = store.dataset("contents")
    made = _is_due(store, contents, order_rows)
    if made:
        make_id_order(store, keep, part_rows)
    remove_old_orders(store, keep)
    return made


def make_id_order(store: Store, keep: timedelta, part_rows: int = PART_ROWS) -> None:
    """Makes the order of the newest version of `contents`, which names it from its next version on."""
    contents = store.dataset("contents")
    name = new_name()
    fs, root = filesystem(store.uri)
    fs.makedirs(f"{root}/{FOLDER}/{name}", exist_ok=True)
    with trimmed_memory():
        facts = write_order(contents, f"{store.uri.rstrip('/')}/{FOLDER}/{name}", part_rows)
    if "://" not in store.uri:
        folder = Path(root) / FOLDER / name
        fsync([*folder.iterdir(), folder, folder.parent, root])
    reached("index.order")
    store.configure("contents", {KEY: {"name": name, **facts, "former": replaced(named(contents), keep)}})


def outside(store: Store, contents: lance.LanceDataset) -> int | None:
    """How many rows the order lacks, or has that are there no longer, at most. None if there is no order."""
    try:
        files = OrderFiles.of(store, contents)
    except ValueError:
        return None  # its files are lost, so it is made again
    if files is None:
        return None
    covered = files.covered()
    now, number = coverage(contents), 0
    for fragment, (path, rows) in now.items():
        there, before = covered.pop(fragment, ("", 0))
        number += before - rows if there == path else before + rows
    return number + sum(before for _, before in covered.values())


def _is_due(store: Store, contents: lance.LanceDataset, order_rows: int) -> bool:
    count = contents.count_rows("sid IS NOT NULL")
    if count < order_rows:
        return False
    lacking = outside(store, contents)
    return lacking is None or lacking > min(count // _OUTSIDE_SHARE, _MOST_OUTSIDE)


def write_order(contents: lance.LanceDataset, folder: str, part_rows: int = PART_ROWS) -> dict[str, Any]:
    """Writes the files of the order of a version into a folder. Returns the number of `items`, and the bytes of each of
    the `files`. Memory holds two parts."""
    sample = _sampled_keys(contents)
    depth = depth_of(sample)
    writers = {ITEMS: LanceFileWriter(f"{folder}/{ITEMS}", ITEMS_SCHEMA)}
    for number in range(1, depth + 1):
        writers[level_file(number)] = LanceFileWriter(f"{folder}/{level_file(number)}", LEVEL_SCHEMA)
    writers[ITEMS].add_schema_metadata(COVERED, json.dumps(coverage(contents)))
    levels = _Levels(depth, writers)
    with tempfile.TemporaryDirectory(prefix="fuseid-order-") as scratch:
        for part in _sorted_parts(contents, Path(scratch), sample, part_rows):
            writers[ITEMS].write_batch(part.select(["address"]).combine_chunks())
            levels.add(part)
    levels.finish()
    for writer in writers.values():
        writer.close()
    return {"items": levels.items, "files": {name: writer.size_bytes for name, writer in writers.items()}}


def _sampled_keys(contents: lance.LanceDataset) -> np.ndarray:
    """Keys spread over the table, sorted, with room for the longest ID."""
    stride = max(1, contents.count_rows() // _SAMPLE)
    depth, chosen, seen = 1, [pa.array([], pa.string())], 0
    for batch in contents.to_batches(columns=["sid"], filter="sid IS NOT NULL"):
        sids = batch["sid"]
        depth = max(depth, depth_of(id_keys(sids)))
        chosen.append(sids.take(pa.array(np.arange(-seen % stride, len(sids), stride))))
        seen += len(sids)
    return np.sort(id_keys(pa.concat_arrays(chosen), depth))


def _sorted_parts(contents: lance.LanceDataset, folder: Path, sample: np.ndarray, part_rows: int) -> Iterator[pa.Table]:
    """Key, content_id and address of all items with an ID, by key and then content_id."""
    parts = 1 + contents.count_rows() // part_rows
    splitters = sample[np.arange(1, parts) * len(sample) // parts] if len(sample) else sample
    depth = depth_of(sample)
    schema = pa.schema(
        [("key", pa.binary(sample.dtype.itemsize)), ("content_id", pa.string()), ("address", pa.uint64())]
    )
    spill = Spill(folder, "ids", len(splitters) + 1, schema)
    for batch in contents.to_batches(columns=["sid", "content_id"], filter="sid IS NOT NULL", with_row_id=True):
        keys = id_keys(batch["sid"], depth)
        rows = pa.table([fixed(keys), batch["content_id"], batch["_rowid"]], schema=schema)
        spill.write(rows, np.searchsorted(splitters, keys, "right").astype(np.uint16))
    spill.close()
    for part in range(spill.parts):
        rows = spill.read(part)
        if len(rows):
            yield rows.sort_by([("key", "ascending"), ("content_id", "ascending")]).combine_chunks()


class _Levels:
    """Takes the items in order and writes the rows of each level.

    The last rows of a part wait for the next one, which may have the next examples of their prefixes.
    """

    def __init__(self, depth: int, writers: dict[str, LanceFileWriter]) -> None:
        self.items = 0
        self._depth = depth
        self._writers = writers
        self._written = [0] * (depth + 2)
        self._before: np.ndarray | None = None
        self._waiting: pa.Table | None = None

    def add(self, part: pa.Table) -> None:
        part = part.select(["key", "content_id"])
        rows = part if self._waiting is None else pa.concat_tables([self._waiting, part])
        ready = max(0, len(rows) - len(EXAMPLES) + 1)
        self._write(rows, ready)
        self._waiting = rows.slice(ready)

    def finish(self) -> None:
        if self._waiting is not None:
            self._write(self._waiting, len(self._waiting))
        for depth in range(1, self._depth + 1):
            below = self._written[depth + 1] if depth < self._depth else 0
            end = {"code": [0], "first_item": [self.items], "first_child": [below]}
            self._put(depth, end | {name: pa.nulls(1, pa.string()) for name in EXAMPLES})

    def _write(self, rows: pa.Table, ready: int) -> None:
        """The prefixes that begin in the first `ready` rows."""
        if not ready:
            return
        numbers_NL = codes_of(from_fixed(rows["key"]))
        before = self._before if self._before is not None else np.full(self._depth, 0xFFFFFFFF, np.uint32)
        # changed: of each row and depth, whether its prefix is another one than that of the row before.
        previous_NL = np.concatenate([before[None], numbers_NL[:-1]])
        changed_NL = np.logical_or.accumulate(numbers_NL != previous_NL, axis=1)
        ids = rows["content_id"].combine_chunks()
        for depth in range(1, self._depth + 1):
            changed_N = changed_NL[:, depth - 1]
            starts = np.flatnonzero(changed_N[:ready])
            row = {"code": numbers_NL[starts, depth - 1], "first_item": (self.items + starts).astype(np.uint64)}
            if depth < self._depth:
                below = np.cumsum(changed_NL[:ready, depth]) - 1
                row["first_child"] = (self._written[depth + 1] + below[starts]).astype(np.uint64)
            else:
                row["first_child"] = np.zeros(len(starts), np.uint64)
            self._put(depth, row | _examples(ids, changed_N, starts))
        for depth in range(1, self._depth + 1):
            self._written[depth] += int(changed_NL[:ready, depth - 1].sum())
        self.items += ready
        self._before = numbers_NL[ready - 1].copy()

    def _put(self, depth: int, row: dict[str, Any]) -> None:
        table = pa.table([pa.array(row[field.name], field.type) for field in LEVEL_SCHEMA], schema=LEVEL_SCHEMA)
        if len(table):
            self._writers[level_file(depth)].write_batch(table.combine_chunks())


def _examples(ids: pa.Array, changed_N: np.ndarray, starts: np.ndarray) -> dict[str, pa.Array]:
    """The first items of each prefix that begins at `starts`; null where it has fewer."""
    found, valid = {}, np.ones(len(starts), bool)
    for number, name in enumerate(EXAMPLES):
        at = starts + number
        if number:
            valid &= at < len(ids)
            valid[valid] &= ~changed_N[at[valid]]
        found[name] = ids.take(pa.array(np.where(valid, at, 0), mask=~valid))
    return found
