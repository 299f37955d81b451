"""Many queries one after the other, at one version: what each of them found, or why it found nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, get_type_hints

import pyarrow as pa
from pydantic import ConfigDict, TypeAdapter, ValidationError

from fuseid.core.errors import BadInput, FuseidError, Stopped
from fuseid.core.names import unknown

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
        """The results with the number of the query, `query`, and their `rank`, from 1 on; a single row with an `error`
        for a query without results."""
        count = len(self.found) or 1
        found = self.found if len(self.found) else _nulls(self.found.schema)
        ranks = pa.array(range(1, count + 1), pa.int32()) if self.error is None else pa.nulls(1, pa.int32())
        columns = {"query": pa.array([self.number] * count, pa.int64()), "rank": ranks}
        columns |= dict(zip(found.column_names, found.columns, strict=True))
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
                    error = str(failed)
                yield Answer(number, found, error)


def check_query(search: Search, query: Mapping[str, Any]) -> None:
    """Raises BadInput for a keyword that `search` does not take, and for a value of another type than it takes."""
    form = _form(search)
    for name, value in query.items():
        if name not in form:
            raise unknown("key of a query", str(name), form)
        try:
            form[name].validate_python(value)
        except ValidationError as error:
            what = error.errors(include_url=False, include_context=False)[0]["msg"]
            raise BadInput(f"{name}: {what[:1].lower()}{what[1:]}, got {str(value)[:80]!r}") from None


@cache
def _form(search: Search) -> dict[str, TypeAdapter[Any]]:
    """What the value of each keyword is, by its annotation."""
    function = getattr(search, "__func__", search)
    types = get_type_hints(function)
    config = ConfigDict(strict=True, arbitrary_types_allowed=True)
    names = [name for name in inspect.signature(function).parameters if name not in ("self", *_COMMON)]
    return {name: TypeAdapter(types[name], config=config) for name in names}


def _texts(query: Mapping[str, Any]) -> list[str]:
    text = query.get("text")
    return [each for each in (text if isinstance(text, list | tuple) else [text]) if isinstance(each, str)]


def _nulls(schema: pa.Schema) -> pa.Table:
    """A single row of nulls."""
    return pa.table([pa.nulls(1, field.type) for field in schema], schema=schema)
