"""The ID order: immutable files beside the tables that list the items of one version of `contents` in the order of
their IDs, with the prefixes at each depth (docs/decisions/0022-id-order.md).

`id_order/NAME/items.lance` has the address of each item; `level-D.lance` has a row for each prefix of D codes, and for
each run of items with fewer codes: the code plus one (0 for fewer), its first item, its first row in the next level,
and three items as examples; then one row at the end. `contents` names the order in its configuration, so each version
of it names its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from lance.file import LanceFileReader

from fuseid.pipelines.store.store import Store, filesystem

FOLDER, KEY = "id_order", "id_order"
ITEMS = "items.lance"
COVERED = "fuseid.covered"
ITEMS_SCHEMA = pa.schema([("address", pa.uint64())])
EXAMPLES = ("example_0", "example_1", "example_2")
LEVEL_SCHEMA = pa.schema(
    [
        ("code", pa.uint32()),
        ("first_item", pa.uint64()),
        ("first_child", pa.uint64()),
        *((name, pa.string()) for name in EXAMPLES),
    ]
)
NUMBERS = ("code", "first_item", "first_child")
# A range of codes that is longer is halved until it is read as a whole.
_READ_CODES = 4096
_TIME = "%Y%m%dT%H%M%S"


def level_file(depth: int) -> str:
    return f"level-{depth}.lance"


def coverage(contents: lance.LanceDataset) -> dict[str, tuple[str, int]]:
    """By fragment: the file that has the IDs of its rows, and how many are not deleted. Files are written once, and
    deleted rows do not come back: a fragment of which both are the same has the same rows with the same IDs."""
    field = next(field.id() for field in contents.lance_schema.fields() if field.name() == "sid")
    found = {}
    for fragment in contents.get_fragments():
        facts = fragment.metadata
        path = next((file.path for file in facts.files if field in file.fields), "")
        found[str(fragment.fragment_id)] = (path, facts.num_rows)
    return found


def named(contents: lance.LanceDataset) -> dict[str, Any] | None:
    """What a version says about its order: `name`, `items`, `files` with the bytes of each, and `former`, the orders
    before it with the time at which they were replaced. None without one."""
    value = contents.config().get(f"fuseid.{KEY}")
    found: dict[str, Any] | None = None if value is None else json.loads(value)
    return found if found and found.get("name") else None


@dataclass(frozen=True)
class Node:
    """A prefix. items, children: the first and the end, in the order and in the level below it."""

    depth: int
    items: tuple[int, int]
    children: tuple[int, int]


class OrderFiles:
    """The files of one order. Every method may raise OSError or ValueError if they are gone or damaged."""

    def __init__(self, folder: str, depth: int, items: int) -> None:
        self._folder = folder
        self._readers: dict[Any, LanceFileReader] = {}
        self._first_level: pa.Table | None = None
        self.depth, self.items = depth, items

    @classmethod
    def of(cls, store: Store, contents: lance.LanceDataset) -> OrderFiles | None:
        """The order that a version names; None if it names none. Raises ValueError if a file is missing or has another
        size, which Lance would not survive."""
        facts = named(contents)
        if facts is None:
            return None
        if broken := broken_files(store, contents):
            raise ValueError(next(iter(broken)))
        return cls(f"{store.uri.rstrip('/')}/{FOLDER}/{facts['name']}", len(facts["files"]) - 1, facts["items"])

    def covered(self) -> dict[str, tuple[str, int]]:
        """The `coverage` of the version from which the order was made."""
        metadata = self._reader(ITEMS).metadata().schema.metadata or {}
        return {number: (path, rows) for number, (path, rows) in json.loads(metadata[COVERED.encode()]).items()}

    def addresses(self, start: int, count: int) -> np.ndarray:
        """uint64 [count]: of the items from `start` on."""
        count = min(count, self.items - start)
        if count <= 0:
            return np.empty(0, np.uint64)
        read = self._reader(ITEMS).read_range(start, count, batch_size=count).to_table()
        return read["address"].to_numpy()

    def find(self, codes: Sequence[int]) -> Node | None:
        """None if no item begins with these codes."""
        found = self._descend(codes)
        return found if isinstance(found, Node) else None

    def position(self, codes: Sequence[int]) -> int:
        """The first item whose ID begins with these codes, or comes after them."""
        found = self._descend(codes[: self.depth])
        return found.items[0] if isinstance(found, Node) else found

    def _descend(self, codes: Sequence[int]) -> Node | int:
        """The prefix; or the first item after it, if no item begins with it."""
        items, rows = (0, self.items), (0, self._reader(level_file(1)).num_rows() - 1)
        for depth, code in enumerate(codes, 1):
            if depth > self.depth:
                return items[1]
            first, end = self._narrowed(depth, rows, code + 1)
            here = self._rows(depth, first, end + 1, NUMBERS)
            numbers, firsts, children = (here[name].to_numpy() for name in NUMBERS)
            at = int(np.searchsorted(numbers[:-1], code + 1))
            if at == end - first or numbers[at] != code + 1:
                return int(firsts[at])
            items = (int(firsts[at]), int(firsts[at + 1]))
            rows = (int(children[at]), int(children[at + 1]))
        return Node(len(codes), items, rows)

    def children(self, node: Node, code: int, most: int) -> pa.Table:
        """The prefixes one code longer, from this code on: a table of LEVEL_SCHEMA and `items`."""
        first, end = node.children
        if node.depth == self.depth or first >= end:
            return LEVEL_SCHEMA.empty_table().append_column("items", pa.array([], pa.uint64()))
        depth = node.depth + 1
        if code > 0:
            first = self._at_least(depth, (first, end), code + 1)
        # The first row may be that of the items whose ID ends here.
        found = self._rows(depth, first, min(end, first + most + 1) + 1, tuple(LEVEL_SCHEMA.names))
        firsts = found["first_item"].to_numpy()
        found = found[:-1].append_column("items", pa.array(np.diff(firsts), pa.uint64()))
        ended = len(found) > 0 and found["code"][0].as_py() == 0
        return found[int(ended) :][:most]

    def _at_least(self, depth: int, rows: tuple[int, int], code: int) -> int:
        """The first of the rows whose code is not less."""
        first, end = self._narrowed(depth, rows, code)
        return first + int(np.searchsorted(self._rows(depth, first, end, NUMBERS)["code"].to_numpy(), code))

    def _narrowed(self, depth: int, rows: tuple[int, int], code: int) -> tuple[int, int]:
        """A range of few rows in which, or at whose end, the first row is whose code is not less."""
        first, end = rows
        while end - first > _READ_CODES:
            middle = (first + end) // 2
            if self._rows(depth, middle, middle + 1, NUMBERS)["code"][0].as_py() < code:
                first = middle + 1
            else:
                end = middle
        return first, end

    def _rows(self, depth: int, first: int, end: int, columns: tuple[str, ...]) -> pa.Table:
        if end <= first:
            return LEVEL_SCHEMA.empty_table().select(list(columns))
        if depth == 1 and columns == NUMBERS and end <= _READ_CODES:
            # Every search begins here.
            if self._first_level is None:
                self._first_level = self._read(1, 0, min(self._reader(level_file(1)).num_rows(), _READ_CODES), NUMBERS)
            return self._first_level[first:end]
        return self._read(depth, first, end, columns)

    def _read(self, depth: int, first: int, end: int, columns: tuple[str, ...]) -> pa.Table:
        reader = self._reader(level_file(depth), columns)
        return reader.read_range(first, end - first, batch_size=end - first).to_table()

    def _reader(self, name: str, columns: tuple[str, ...] | None = None) -> LanceFileReader:
        if (name, columns) not in self._readers:
            path = f"{self._folder}/{name}"
            self._readers[name, columns] = LanceFileReader(path, columns=None if columns is None else list(columns))
        return self._readers[name, columns]


def order_files(store: Store, contents: lance.LanceDataset) -> dict[str, int]:
    """Bytes by path below the database of the files of the order that a version names."""
    facts = named(contents)
    return {} if facts is None else {f"{FOLDER}/{facts['name']}/{file}": size for file, size in facts["files"].items()}


def broken_files(store: Store, contents: lance.LanceDataset) -> list[str]:
    """What is wrong with the files of the order that a version names, one text for each that is missing or not as it
    was written."""
    fs, root = filesystem(store.uri)
    found = []
    for path, size in order_files(store, contents).items():
        try:
            there = fs.info(f"{root}/{path}")["size"]
        except FileNotFoundError:
            found.append(f"{path} is missing")
            continue
        if there != size:
            found.append(f"{path} has {there} bytes of {size}")
    return found


def new_name() -> str:
    import secrets

    return f"{datetime.now(UTC).strftime(_TIME)}-{secrets.token_hex(4)}"


def remove_old_orders(store: Store, keep: timedelta) -> None:
    """Removes orders that were replaced longer ago, which no reader reads any more, and what killed runs left."""
    if not store.has_contents():
        return
    fs, root = filesystem(store.uri)
    folder = f"{root}/{FOLDER}"
    if not fs.isdir(folder):
        return
    facts = named(store.dataset("contents")) or {"name": None, "former": {}}
    for path in fs.ls(folder, detail=False):
        name = path.rstrip("/").rpartition("/")[2]
        since = facts["former"].get(name) or name.partition("-")[0]
        if name != facts["name"] and _is_before(since, datetime.now(UTC) - keep):
            fs.rm(path, recursive=True)


def _is_before(text: str, limit: datetime) -> bool:
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC) <= limit
    except ValueError:
        return False


def replaced(facts: dict[str, Any] | None, keep: timedelta) -> dict[str, str]:
    """`former` of the next order: those of this one that may still be there, and this one itself."""
    if facts is None:
        return {}
    now = datetime.now(UTC)
    left = {name: since for name, since in facts["former"].items() if not _is_before(since, now - keep)}
    return left | {facts["name"]: now.strftime(_TIME)}
