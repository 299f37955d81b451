"""Many queries one after the other, at one version: what each of them found, or why it found nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from fuseid.core.errors import FuseidError, Stopped
from fuseid.core.text import storable
from fuseid.pipelines.search.keywords import check_names, value_of
from fuseid.pipelines.search.prefixes import NEXT

# Queries whose texts are encoded together.
_TOGETHER = 256
# What is the same for all queries, and therefore given once.
_COMMON = ("columns", "timeout")
NOTHING = "no item was found"

Search = Callable[..., pa.Table]
Query = Mapping[str, Any] | FuseidError
"""The keywords of `Catalog.search`; or why there are none."""


@dataclass(frozen=True)
class Answer:
    """number: of the query. found: its results, none if there is an `error`."""

    number: int
    found: pa.Table
    error: str | None = None

    def rows(self) -> pa.Table:
        """The results with the number of the query, `query`, and their `rank`, from 1 on; the last row of a page that
        another one follows has its cursor, `next`; a single row with an `error` for a query without results."""
        count = len(self.found) or 1
        found = self.found if len(self.found) else _nulls(self.found.schema)
        ranks = pa.array(range(1, count + 1), pa.int32()) if self.error is None else pa.nulls(1, pa.int32())
        columns = {"query": pa.array([self.number] * count, pa.int64()), "rank": ranks}
        columns |= dict(zip(found.column_names, found.columns, strict=True))
        following = (self.found.schema.metadata or {}).get(NEXT.encode())
        columns["next"] = pa.array([*[None] * (count - 1), following and following.decode()], pa.string())
        return pa.table({**columns, "error": pa.array([self.error] * count, pa.string())})


class Answers:
    """An iterator of one `Answer` for each query, in their order. version: of `contents`, which all of them read."""

    def __init__(
        self,
        search: Search,
        prepare: Callable[[list[str]], None],
        empty: pa.Table,
        version: int,
        queries: Iterable[tuple[int, Query]],
        common: Mapping[str, Any],
    ) -> None:
        """prepare: is called with the texts of some queries before they are answered. empty: what a search that finds
        nothing returns. common: keywords of all queries that do not have their own."""
        self.version = version
        self.schema = Answer(0, empty, NOTHING).rows().schema
        self._answers = self._all(search, prepare, empty, iter(queries), dict(common))

    def __iter__(self) -> Iterator[Answer]:
        return self._answers

    def __next__(self) -> Answer:
        return next(self._answers)

    def table(self) -> pa.Table:
        """The rows of all answers that are left, see `Answer.rows`."""
        return pa.concat_tables([self.schema.empty_table(), *(answer.rows() for answer in self)])

    def _all(
        self,
        search: Search,
        prepare: Callable[[list[str]], None],
        empty: pa.Table,
        queries: Iterator[tuple[int, Query]],
        common: dict[str, Any],
    ) -> Iterator[Answer]:
        while some := list(islice(queries, _TOGETHER)):
            prepare([text for _, query in some if isinstance(query, Mapping) for text in _texts(query)])
            for number, query in some:
                error: str | None = None
                found = empty
                try:
                    if isinstance(query, FuseidError):
                        raise query
                    check_query(search, query)
                    found = search(**{**common, **query})
                    error = None if len(found) else NOTHING
                except Stopped:
                    raise
                except FuseidError as failed:
                    error = storable(str(failed))
                yield Answer(number, found, error)


def check_query(search: Search, query: Mapping[str, Any]) -> None:
    """Raises BadInput for what is no query, a keyword that `search` does not take, and for a value of another type
    than it takes."""
    check_names(search, query, _COMMON)
    for name, value in query.items():
        value_of(search, name, value)


def _texts(query: Mapping[str, Any]) -> list[str]:
    text = query.get("text")
    return [each for each in (text if isinstance(text, list | tuple) else [text]) if isinstance(each, str)]


def _nulls(schema: pa.Schema) -> pa.Table:
    """A single row of nulls."""
    return pa.table([pa.nulls(1, field.type) for field in schema], schema=schema)
