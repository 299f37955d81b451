"""The items of one version in the order of their IDs: those of the stored order, and in memory those that it lacks."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from fuseid.pipelines.search.view import View
from fuseid.pipelines.store.id_keys import codes_of, depth_of, fixed, from_fixed, id_keys, key_after, key_of
from fuseid.pipelines.store.id_order import EXAMPLES, OrderFiles, coverage, named
from fuseid.pipelines.store.store import Store

# With more items outside the stored order memory would grow; then the table is scanned for each page.
MOST_OUTSIDE = 250_000
_MOST_READ = 4096
# Items in memory that are read along with those of a piece, in case that they come between them.
_ALONG = 4
_KEY = ("sid", "content_id")
_READ = 1 << 16
_VERSIONS = 4


class OrderLost(Exception):
    """The files of a stored order are gone, damaged, or not of this table."""


@dataclass(frozen=True)
class After:
    """The item behind which a page begins. position: of the item after it in the stored order, if that is known."""

    sid: str
    content_id: str
    position: int | None = None


@dataclass(frozen=True)
class Piece:
    """Some items in order. addresses: uint64 [N]. positions: int64 [N], where the stored order goes on after each.
    more: whether others follow. rows: those that were read to find the order, with `_rowid`, some of them of no item of
    the piece; None if there was no need."""

    addresses_N: np.ndarray
    positions_N: np.ndarray
    more: bool
    rows: pa.Table | None


@dataclass
class Child:
    """A prefix that is one code longer than another. examples: content_ids of up to three of its items."""

    code: int
    items: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Held:
    """Items in memory, by key and then content_id. keys: bytes [N]. addresses: uint64 [N]."""

    keys_N: np.ndarray
    ids: pa.Array
    addresses_N: np.ndarray

    @classmethod
    def of(cls, batches: Sequence[pa.RecordBatch]) -> Held:
        """batches: sid, content_id and _rowid."""
        if not batches:
            return cls(np.empty(0, "S12"), pa.array([], pa.string()), np.empty(0, np.uint64))
        rows = pa.Table.from_batches(batches)
        keys = fixed(id_keys(rows["sid"]))
        table = pa.table({"key": keys, "content_id": rows["content_id"], "address": rows["_rowid"]})
        table = table.sort_by([("key", "ascending"), ("content_id", "ascending")]).combine_chunks()
        return cls(from_fixed(table["key"]), table["content_id"].combine_chunks(), table["address"].to_numpy())

    def within(self, codes: Sequence[int]) -> tuple[int, int]:
        """The first and the end of the items that begin with these codes."""
        if not codes:
            return 0, len(self.keys_N)
        first, end = np.searchsorted(self.keys_N, np.array([key_of(codes), key_after(codes)]))
        return int(first), int(end)

    def up_to(self, key: bytes, content_id: str) -> int:
        """How many items come before this one, and itself."""
        first, end = (int(np.searchsorted(self.keys_N, np.array([key]), side)[0]) for side in ("left", "right"))
        return first + bisect_right(self.ids[first:end].to_pylist(), content_id)

    def entries(self, first: int, end: int) -> list[tuple[bytes, str, int]]:
        """Key, content_id and address."""
        parts = (self.keys_N[first:end].tolist(), self.ids[first:end].to_pylist(), self.addresses_N[first:end].tolist())
        return list(zip(*parts, strict=True))


class IdOrder:
    """files: the stored order, None without one. dead: int64, sorted: positions in it whose items are deleted, or are
    `held` in memory."""

    def __init__(self, contents: lance.LanceDataset, files: OrderFiles | None, dead: np.ndarray, held: Held) -> None:
        self._contents = contents
        self._files = files
        self._dead = dead
        self._held = held

    @classmethod
    def open(
        cls, contents: lance.LanceDataset, files: OrderFiles | None, most_outside: int = MOST_OUTSIDE
    ) -> IdOrder | None:
        """None if there are too many items outside the stored order. Raises OrderLost."""
        with files_read():
            covered = files.covered() if files is not None else {}
        now = coverage(contents)
        kept = {number for number, (path, _) in now.items() if path and covered.get(number, ("", 0))[0] == path}
        held = _held(contents, {*now} - kept, most_outside)
        if held is None:
            return None
        if files is None:
            return cls(contents, None, np.empty(0, np.int64), held)
        changed = {number for number in kept if covered[number] != now[number]}
        with files_read():
            dead = _dead(contents, files, {*covered} - kept, changed)
        return cls(contents, files, dead, held) if len(dead) <= most_outside else None

    def pieces(
        self, codes: Sequence[int], after: After | None, size: int, columns: Sequence[str] = _KEY
    ) -> Iterator[Piece]:
        """The items that begin with these codes, behind `after`: the first piece has up to `size`, later ones more.
        columns: of the rows that are read, sid and content_id among them. Raises OrderLost."""
        with files_read():
            node = None if self._files is None else self._files.find(codes)
        start, stop = (0, 0) if node is None else node.items
        first, end = self._held.within(codes)
        passed: tuple[bytes, str] | None = None
        if after is not None:
            passed = (id_keys(pa.array([after.sid])).tolist()[0], after.content_id)
            first = max(first, self._held.up_to(*passed))
            if after.position is not None:
                start, passed = max(start, after.position), None
            elif node is not None and self._files is not None:
                with files_read():
                    start = max(start, self._files.position([*map(int, after.sid.partition(".")[0].split("-"))]))
        while start < stop or first < end:
            until = min(stop, start + size)
            positions = self._alive(start, until)
            with files_read():
                addresses = self._addresses_of(positions)
            entries, rows = None, None
            if first < end or passed is not None:
                rows = self._rows(addresses, self._held.addresses_N[first : min(first + _ALONG, end)], columns)
                entries = _entries(rows, addresses, positions + 1, passed)
                upto = self._held.up_to(*entries[-1][:2]) if entries else first
                upto = min(max(upto, first + size if until >= stop else first), end)
                entries += [(*entry, -1) for entry in self._held.entries(first, upto)]
                entries.sort()
                first = upto
            more = first < end or bool(stop - until - int(self._count_dead(until, stop)))
            if entries is None:
                yield Piece(addresses, positions + 1, more, None)
            else:
                yield _piece(entries, start, more, rows)
            start, size = until, min(2 * size, _MOST_READ)

    def children(self, codes: Sequence[int], code: int, most: int) -> list[Child]:
        """The first `most` prefixes that are one code longer, from this code on. Raises OrderLost."""
        found = {} if self._files is None else self._stored_children(codes, code, most)
        first, end = self._held.within(codes)
        if first < end and depth_of(self._held.keys_N) > len(codes):
            numbers_N = codes_of(self._held.keys_N[first:end])[:, len(codes)]
            for number, at, count in zip(*np.unique(numbers_N, return_index=True, return_counts=True), strict=True):
                if number > code:  # the code plus one; 0 for items whose ID ends here
                    child = found.setdefault(int(number) - 1, Child(int(number) - 1))
                    child.items += int(count)
                    begin = first + int(at)
                    child.examples += self._held.ids[begin : min(begin + int(count), begin + len(EXAMPLES))].to_pylist()
        chosen = [found[number] for number in sorted(found)][:most]
        for child in chosen:
            del child.examples[len(EXAMPLES) :]
        return chosen

    def _stored_children(self, codes: Sequence[int], code: int, most: int) -> dict[int, Child]:
        assert self._files is not None
        found: dict[int, Child] = {}
        lacking: dict[int, np.ndarray] = {}
        with files_read():
            node = self._files.find(codes)
            # Those whose items are all gone are left out, and others come in.
            while node is not None and len(found) < most:
                rows = self._files.children(node, code, most)
                firsts_N = rows["first_item"].to_numpy().astype(np.int64)
                ends_N = firsts_N + rows["items"].to_numpy().astype(np.int64)
                counts_N = ends_N - firsts_N - self._count_dead(firsts_N, ends_N)
                for row, items in zip(rows.to_pylist(), counts_N.tolist(), strict=True):
                    if items:
                        child = found[row["code"] - 1] = Child(row["code"] - 1, items)
                        first, end = row["first_item"], row["first_item"] + row["items"]
                        names = [row[name] for name in EXAMPLES if row[name]]
                        dead = set(self._dead_in(first, first + len(names)).tolist())
                        child.examples += [name for at, name in enumerate(names, first) if at not in dead]
                        if len(child.examples) < min(items, len(EXAMPLES)):
                            lacking[child.code] = self._addresses_of(self._first_alive(first, end, len(EXAMPLES)))
                if len(rows) < most:
                    break
                code = rows["code"][-1].as_py()
        if lacking:
            keys = _keys(self._rows(np.concatenate([*lacking.values()]), np.empty(0, np.uint64), _KEY))
            for number, addresses in lacking.items():
                found[number].examples[:] = [keys[address][1] for address in addresses.tolist()]
        return found

    def _rows(self, addresses: np.ndarray, along: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """The rows at both. Raises OrderLost for an item of the stored order that is not there."""
        with files_read():
            rows = rows_at(self._contents, np.concatenate([addresses, along]), columns)
        if len(rows) < len(addresses) + len(along) or rows["sid"].null_count:
            raise OrderLost
        return rows

    def _first_alive(self, first: int, end: int, count: int) -> np.ndarray:
        size = count
        while len(found := self._alive(first, min(end, first + size))) < count and first + size < end:
            size *= 2
        return found[:count]

    def _alive(self, start: int, until: int) -> np.ndarray:
        """Positions, int64."""
        positions = np.arange(start, max(start, until))
        dead = self._dead_in(start, until)
        return np.delete(positions, dead - start) if len(dead) else positions

    def _dead_in(self, start: int, until: int) -> np.ndarray:
        if not len(self._dead):
            return self._dead
        first, end = np.searchsorted(self._dead, [start, max(start, until)])
        return self._dead[first:end]

    def _count_dead(self, start: Any, until: Any) -> Any:
        """The number of dead positions between two, or between pairs [N]."""
        return np.searchsorted(self._dead, until) - np.searchsorted(self._dead, start)

    def _addresses_of(self, positions: np.ndarray) -> np.ndarray:
        """positions: ascending -> uint64 [N]"""
        if self._files is None or not len(positions):
            return np.empty(0, np.uint64)
        start = int(positions[0])
        return self._files.addresses(start, int(positions[-1]) + 1 - start)[positions - start]


class IdOrders:
    """The orders of the versions that were read last."""

    def __init__(self) -> None:
        self._orders: OrderedDict[tuple[int, str], IdOrder | None] = OrderedDict()
        self._files: dict[str, OrderFiles | None] = {}

    def of(self, view: View) -> IdOrder | None:
        """None if the table is to be scanned."""
        key = view.key
        if key not in self._orders:
            try:
                self._orders[key] = IdOrder.open(view.contents, self._opened(view.store, view.contents))
            except OrderLost:
                # A small table is sorted in memory.
                self._orders[key] = IdOrder.open(view.contents, None)
        self._orders.move_to_end(key)
        while len(self._orders) > _VERSIONS:
            self._orders.popitem(last=False)
        return self._orders[key]

    def lost(self, view: View) -> None:
        """This version is scanned from now on."""
        self._orders[view.key] = None

    def _opened(self, store: Store, contents: lance.LanceDataset) -> OrderFiles | None:
        name = (named(contents) or {"name": ""})["name"]
        if name not in self._files:
            with files_read():
                # Most often all versions that are read have the same.
                self._files = {name: OrderFiles.of(store, contents)}
        return self._files[name]


def rows_at(
    contents: lance.LanceDataset, addresses: np.ndarray, columns: Sequence[str], where: str | None = None
) -> pa.Table:
    """Those of the rows at these addresses that are there and fulfil a condition, in no particular order, with their
    `_rowid`. Raises OSError for addresses in fragments that the table does not have."""
    if not len(addresses):
        return contents.schema.empty_table().select(list(columns)).append_column("_rowid", pa.array([], pa.uint64()))
    if where is None:
        # Half the time of a condition on row numbers.
        return contents._take_rows(addresses.tolist(), columns=[*columns, "_rowid"])
    condition = f"_rowid IN ({', '.join(map(str, addresses.tolist()))}) AND ({where}\n)"  # a comment may end it
    return contents.to_table(columns=list(columns), filter=condition, with_row_id=True)


@contextmanager
def files_read() -> Iterator[None]:
    """Raises OrderLost for what Lance raises about files that are gone or damaged, and rows that are not there."""
    try:
        yield
    except OrderLost:
        raise
    except BaseException as error:
        # A panic of Lance, which damaged bytes may cause, is not an Exception and cannot be imported.
        if (
            isinstance(error, OSError | ValueError | LookupError | RuntimeError)
            or type(error).__name__ == "PanicException"
        ):
            raise OrderLost from error
        raise


def _keys(rows: pa.Table) -> dict[int, tuple[bytes, str]]:
    """Key and content_id by address."""
    parts = (id_keys(rows["sid"]).tolist(), rows["content_id"].to_pylist())
    return dict(zip(rows["_rowid"].to_pylist(), zip(*parts, strict=True), strict=True))


def _entries(
    rows: pa.Table, addresses: np.ndarray, positions: np.ndarray, passed: tuple[bytes, str] | None
) -> list[tuple[bytes, str, int, int]]:
    """Key, content_id, address and position of items of the stored order, without those up to `passed`."""
    keys = _keys(rows)
    entries = [(*keys[a], a, p) for a, p in zip(addresses.tolist(), positions.tolist(), strict=True)]
    return entries if passed is None else [entry for entry in entries if entry[:2] > passed]


def _piece(entries: list[tuple[bytes, str, int, int]], start: int, more: bool, rows: pa.Table | None) -> Piece:
    """start: where the stored order goes on after items that come before any of it."""
    positions = np.maximum.accumulate([start, *(position for *_, position in entries)])[1:]
    return Piece(np.array([entry[2] for entry in entries], np.uint64), positions, more, rows)


def _held(contents: lance.LanceDataset, fragments: set[str], most: int) -> Held | None:
    """The items of these fragments; None if there are more."""
    lacking = [fragment for fragment in contents.get_fragments() if str(fragment.fragment_id) in fragments]
    batches, count = [], 0
    if lacking:
        scan = contents.scanner(["sid", "content_id"], "sid IS NOT NULL", fragments=lacking, with_row_id=True)
        for batch in scan.to_batches():
            batches.append(batch)
            count += batch.num_rows
            if count > most:
                return None
    return Held.of(batches)


def _dead(contents: lance.LanceDataset, files: OrderFiles, gone: set[str], changed: set[str]) -> np.ndarray:
    """int64, sorted: the positions of items in fragments that are gone, and of deleted rows in those that changed."""
    if not gone and not changed:
        return np.empty(0, np.int64)
    alive = {int(number): _alive_rows(contents, int(number)) for number in changed}
    found = []
    for start in range(0, files.items, _READ):
        addresses = files.addresses(start, _READ)
        fragments, rows = addresses >> np.uint64(32), (addresses & np.uint64(0xFFFFFFFF)).astype(np.int64)
        dead = np.isin(fragments, np.array([*map(int, gone)], np.uint64))
        for number, alive_N in alive.items():
            here = np.flatnonzero(fragments == number)
            dead[here] = ~alive_N[rows[here]]
        found.append(start + np.flatnonzero(dead))
    return np.concatenate([np.empty(0, np.int64), *found])


def _alive_rows(contents: lance.LanceDataset, number: int) -> np.ndarray:
    """bool, by the place of each row in a fragment."""
    fragment = contents.get_fragment(number)
    assert fragment is not None
    alive = np.zeros(fragment.physical_rows, bool)
    scan = contents.scanner(columns=[], fragments=[fragment], with_row_id=True)
    for batch in scan.to_batches():
        alive[(batch["_rowid"].to_numpy() & np.uint64(0xFFFFFFFF)).astype(np.int64)] = True
    return alive
