"""Items below a prefix of an ID, page by page in the order of IDs, and the prefixes that are one code longer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fuseid.core.errors import BadInput, StoreError
from fuseid.core.surface import option
from fuseid.pipelines.search.cursors import Cursor, query_digest
from fuseid.pipelines.search.id_order import After, IdOrder, IdOrders, OrderLost, files_read, rows_at
from fuseid.pipelines.search.id_scan import scanned_children, scanned_page
from fuseid.pipelines.search.view import View, with_key
from fuseid.pipelines.store.messages import no_ids
from fuseid.pipelines.store.rows import below_prefix

# The key of the metadata of results that has the cursor of the next page.
NEXT = "fuseid.next"
CHILDREN = 1000
_PREFIX = re.compile(r"[0-9]+(-[0-9]+)*(-|\.[0-9]+)?")
_LARGEST = 2**31 - 1
# With a condition, so many items are read on in ID order before the table is scanned for the rest.
_READ_ON, _FIRST_READ = 8192, 256
_CHILD = pa.schema(
    [("code", pa.int64()), ("prefix", pa.string()), ("items", pa.int64()), ("examples", pa.list_(pa.string()))]
)


@dataclass(frozen=True)
class Prefix:
    """suffix: of one ID, for which `codes` are all of its codes."""

    codes: tuple[int, ...]
    suffix: int | None = None

    @classmethod
    def of(cls, sid: str) -> Prefix:
        """Raises BadInput for what is no prefix."""
        if not _PREFIX.fullmatch(sid):
            raise BadInput(f"not an ID or ID prefix: {sid!r}; the form is 12, 12-240, 12-240-7 or 12-240-7.1")
        base, _, suffix = sid.rstrip("-").partition(".")
        return cls(tuple(map(_number, base.split("-"))), _number(suffix) if suffix else None)

    def __str__(self) -> str:
        base = "-".join(map(str, self.codes))
        return base if self.suffix is None else f"{base}.{self.suffix}"

    @property
    def possible(self) -> bool:
        """Whether its numbers are such as codes can be."""
        return max(*self.codes, self.suffix or 0, 0) <= _LARGEST

    def has(self, sid: str) -> bool:
        """Whether an ID is below it."""
        return (
            (sid + "-").replace(".", "-.", 1).startswith(str(self) + "-") if self.suffix is None else sid == str(self)
        )


def _number(digits: str) -> int:
    """One of any length, of which Python does not convert all, is no less too large for a code."""
    digits = digits.lstrip("0")
    return int(digits or 0) if len(digits) <= len(str(_LARGEST)) else _LARGEST + 1


@dataclass(frozen=True)
class _Page:
    """positions: see `Piece`, None for rows that a scan found."""

    rows: list[dict[str, Any]]
    positions: list[int | None]
    more: bool


def by_prefix(
    view: View, orders: IdOrders, sid: str, k: int, where: str | None, columns: Sequence[str], after: Cursor | None
) -> pa.Table:
    """The metadata of the result has the cursor of the next page under NEXT, unless this one is the last. Raises
    BadInput for what is no prefix and the cursor of another query, StoreError without IDs."""
    prefix = Prefix.of(sid)
    if not view.has_ids:
        raise StoreError(no_ids(view.store.uri))
    query = query_digest(sid=str(prefix), where=where)
    begin = None
    if after is not None:
        after.check(query, option("sid", str(prefix)) + (" with this condition" if where else ""))
        sid_before, id_before, position = after.last
        begin = After(str(sid_before), str(id_before), None if position is None else int(position))
    page = _Page([], [], False)
    if prefix.possible:
        wanted = [*with_key(columns), *(["sid"] if "sid" not in columns else [])]
        page = _page(view, orders, prefix, k, where, wanted, begin)
    found = view.table([{**row, "score": None} for row in page.rows], columns)
    if not page.more:
        return found
    last = (page.rows[-1]["sid"], page.rows[-1]["content_id"], page.positions[-1])
    return found.replace_schema_metadata({NEXT: str(Cursor(view.version, view.commit, query, last))})


def children(view: View, orders: IdOrders, sid: str | None, k: int, after: Cursor | None) -> pa.Table:
    """The prefixes one code longer: `code`, `prefix`, the number of `items` and up to three content_ids as `examples`,
    by code; without `sid` the first codes. An ID that ends there is not among them. Raises as `by_prefix`."""
    prefix = Prefix(()) if sid is None else Prefix.of(sid)
    if prefix.suffix is not None:
        raise BadInput(f"{sid} is a whole ID; children are of a prefix, of the form 12 or 12-240")
    if not view.has_ids:
        raise StoreError(no_ids(view.store.uri))
    query = query_digest(children=str(prefix))
    code = 0
    if after is not None:
        after.check(query, f"the children of {str(prefix) or 'all IDs'}")
        code = int(after.last[0] or 0)
    found, order = None, orders.of(view) if prefix.possible else None
    if order is not None:
        try:
            found = order.children(prefix.codes, code, k + 1)
        except OrderLost:
            orders.lost(view)
    if found is None:
        found = scanned_children(view.contents, str(prefix), code, k + 1) if prefix.possible else []
    shown = found[:k]
    table = pa.table(
        [
            [each.code for each in shown],
            [str(Prefix((*prefix.codes, each.code))) for each in shown],
            [each.items for each in shown],
            [each.examples for each in shown],
        ],
        schema=_CHILD,
    )
    if len(found) <= k:
        return table
    following = Cursor(view.version, view.commit, query, (shown[-1].code + 1,))
    return table.replace_schema_metadata({NEXT: str(following)})


def below(view: View, sid: str, where: str | None) -> str:
    """The SQL condition for items below a prefix that fulfil `where`. Raises what `by_prefix` raises."""
    prefix = Prefix.of(sid)
    if not view.has_ids:
        raise StoreError(no_ids(view.store.uri))
    return below_prefix(str(prefix)) + (f" AND ({where}\n)" if where else "")


def _page(
    view: View, orders: IdOrders, prefix: Prefix, k: int, where: str | None, columns: list[str], begin: After | None
) -> _Page:
    # One whole ID is found through the index on IDs.
    order = orders.of(view) if prefix.suffix is None else None
    if order is not None:
        try:
            return _read_on(view, order, prefix, k, where, columns, begin)
        except OrderLost:
            orders.lost(view)
    return _scanned(view, prefix, k, where, columns, begin)


def _read_on(
    view: View, order: IdOrder, prefix: Prefix, k: int, where: str | None, columns: list[str], begin: After | None
) -> _Page:
    rows: list[dict[str, Any]] = []
    positions: list[int | None] = []
    read = 0
    pieces = (
        order.pieces(prefix.codes, begin, k, columns)
        if where is None
        else order.pieces(prefix.codes, begin, max(_FIRST_READ, 4 * k))
    )
    for piece in pieces:
        addresses = piece.addresses_N if where is not None else piece.addresses_N[: k - len(rows)]
        found = {}
        if where is None and piece.rows is not None:
            found = {row["_rowid"]: row for row in piece.rows.to_pylist()}
        lacking = addresses[[address not in found for address in addresses.tolist()]]
        # With a condition an error may be about that.
        with files_read() if where is None else nullcontext():
            rows_read = rows_at(view.contents, lacking, columns, where)
        found |= {row["_rowid"]: row for row in rows_read.to_pylist()}
        for address, position in zip(addresses.tolist(), piece.positions_N.tolist(), strict=False):
            row = found.get(address)
            if row is None and where is not None:
                continue
            if (
                row is None
                or row["sid"] is None
                or not prefix.has(row["sid"])
                or (rows and _place(row) < _place(rows[-1]))
            ):
                raise OrderLost  # it is not an order of this table
            if len(rows) == k:
                return _Page(rows, positions, True)
            rows.append(row)
            positions.append(position)
        if where is None and len(rows) == k:
            return _Page(rows, positions, piece.more or len(addresses) < len(piece.addresses_N))
        read += len(addresses)
        if where is not None and read >= _READ_ON and piece.more:
            last = After(rows[-1]["sid"], rows[-1]["content_id"], positions[-1]) if rows else begin
            rest = _scanned(view, prefix, k - len(rows), where, columns, last)
            return _Page(rows + rest.rows, positions + rest.positions, rest.more)
    return _Page(rows, positions, False)


def _scanned(view: View, prefix: Prefix, k: int, where: str | None, columns: list[str], begin: After | None) -> _Page:
    addresses = scanned_page(view.contents, str(prefix), begin, k + 1, where)
    chosen = addresses[:k]
    found = {row["_rowid"]: row for row in rows_at(view.contents, chosen, columns).to_pylist()}
    return _Page([found[address] for address in chosen.tolist()], [None] * len(chosen), len(addresses) > k)


def _place(row: dict[str, Any]) -> tuple[tuple[int, ...], int, str]:
    prefix = Prefix.of(row["sid"])
    return prefix.codes, prefix.suffix or 0, row["content_id"]
