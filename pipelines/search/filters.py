"""Filters: conditions on items as typed objects, each of which is one SQL condition.

Every condition is true or false, never null, so that `~` finds exactly the other items.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from fuseid.core.errors import BadInput
from fuseid.core.names import check_known
from fuseid.core.records import KINDS
from fuseid.core.text import storable
from fuseid.pipelines.search import json_sql
from fuseid.pipelines.search.json_sql import Value
from fuseid.pipelines.search.keywords import plain
from fuseid.pipelines.store.rows import sql_list, sql_string

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "~")
# Attributes that hold tags; `vlm_tags`, the generated ones, is a column.
TAG_ATTRIBUTES = ("tags", "tag")
# What an item may have, besides columns and attributes.
HAS = {
    "media": "media_hash IS NOT NULL",
    "picture": "(media_hash IS NOT NULL AND kind = 'image')",
    "video": "(media_hash IS NOT NULL AND kind = 'video')",
    "tags": f"({' OR '.join(json_sql.present(name) for name in TAG_ATTRIBUTES)} OR array_length(vlm_tags) > 0 IS TRUE)",
}
ATTRIBUTE = "attr:"
_MOST_CHARS = 1000


@dataclass(frozen=True)
class Filter:
    """A condition on items. Made by the functions below, combined by `&` (and), `|` (or) and `~` (not):

        Filter.kind("video") & Filter.attr("views", ">=", 1000) & ~Filter.tag("animal")

    Each of them raises BadInput for what no item can fulfil: a kind that there is not, a value of the wrong type.
    """

    def sql(self) -> str:
        """The condition for a query of `contents`; never null, and in parentheses if it has parts."""
        raise NotImplementedError

    def parts(self) -> Iterator[Filter]:
        """The filters that this one is made of; itself, if it is no combination."""
        yield self

    def __and__(self, other: Filter) -> Filter:
        if not isinstance(other, Filter):
            return NotImplemented
        return AllOf((*_of(AllOf, self), *_of(AllOf, other)))

    def __or__(self, other: Filter) -> Filter:
        if not isinstance(other, Filter):
            return NotImplemented
        return AnyOf((*_of(AnyOf, self), *_of(AnyOf, other)))

    def __invert__(self) -> Filter:
        return Not(self)

    @staticmethod
    def kind(*kinds: str) -> Filter:
        """Items of one of these kinds: image, video, text."""
        return Kind(kinds)

    @staticmethod
    def tag(tag: str) -> Filter:
        """Items whose attribute `tags` or `tag` is this text or a list with it, or for which the VLM generated it."""
        return Tag(tag)

    @staticmethod
    def attr(name: str, operator: str | None = None, value: Value | date | None = None) -> Filter:
        """Items with an attribute, or one in this relation to a value: = != < <= > >= or ~ (contains, in any case).

        name: a key. If it has points and an item has no such key, a path: `maker.country`, also through lists of
        objects. A list fulfils the condition if one of its elements does, also of lists within it; != is for items
        whose attribute is there and has no such value. Values are compared with those of the same type: numbers, text
        (by its characters; also dates, in the form 2026-01-31), booleans.
        """
        if operator is None and value is None:
            return Present(name)
        if operator is None or value is None:
            raise BadInput(f"a filter on attribute {name!r} takes both an operator and a value, or neither")
        value = plain(value)
        return Attribute(name, operator, value.isoformat() if isinstance(value, date) else value)

    @staticmethod
    def since(when: str | date, attribute: str | None = None) -> Filter:
        """Items written at a moment or later, or on a day or later; with `attribute`: whose date this is. Days begin,
        and times without a zone are, in UTC; dates in attributes are compared as text."""
        moment = parsed_moment(when)
        if attribute is not None:
            return Attribute(attribute, ">=", _as_text(when, moment))
        return Updated(">=", _in_utc(moment))

    @staticmethod
    def until(when: str | date, attribute: str | None = None) -> Filter:
        """Like `since`: items written at a moment or before, or on a day, until its end, or before."""
        moment = parsed_moment(when)
        if isinstance(moment, datetime):
            if attribute is None:
                return Updated("<=", _in_utc(moment))
            return Attribute(attribute, "<=", _as_text(when, moment))
        if moment == date.max:
            last = datetime.max.replace(tzinfo=UTC)
            return Updated("<=", last) if attribute is None else Attribute(attribute, "<=", f"{moment.isoformat()}U")
        after = moment + timedelta(days=1)
        return Updated("<", _in_utc(after)) if attribute is None else Attribute(attribute, "<", after.isoformat())

    @staticmethod
    def has(name: str) -> Filter:
        """Items that have it: a column of `contents` (caption, sid, clip_image, ...), `media`, `picture`, `video`,
        `tags`, or an attribute as `attr:NAME`."""
        _check_text("what items have", name)
        return Present(name[len(ATTRIBUTE) :]) if name.startswith(ATTRIBUTE) else Has(name)

    @staticmethod
    def every(filters: Iterable[Filter]) -> Filter:
        """Items that fulfil all of them."""
        return AllOf(tuple(filters))


@dataclass(frozen=True)
class Kind(Filter):
    kinds: tuple[str, ...]

    def __post_init__(self) -> None:
        for kind in self.kinds:
            _check_text("a kind", kind)
            check_known("kind", kind, KINDS)

    def sql(self) -> str:
        return f"kind IN ({sql_list(self.kinds)})" if self.kinds else "false"


@dataclass(frozen=True)
class Tag(Filter):
    name: str

    def __post_init__(self) -> None:
        _check_text("a tag", self.name)

    def sql(self) -> str:
        listed = [json_sql.compared(name, "=", self.name) for name in TAG_ATTRIBUTES]
        return f"({' OR '.join(listed)} OR array_has(vlm_tags, {sql_string(self.name)}) IS TRUE)"


@dataclass(frozen=True)
class Present(Filter):
    """Items with an attribute that is not null, nor an empty list."""

    name: str

    def __post_init__(self) -> None:
        _check_text("the name of an attribute", self.name)

    def sql(self) -> str:
        return json_sql.present(self.name)


@dataclass(frozen=True)
class Attribute(Filter):
    name: str
    operator: str
    value: Value

    def __post_init__(self) -> None:
        _check_text("the name of an attribute", self.name)
        if self.operator not in OPERATORS:
            raise BadInput(f"no operator of attributes: {self.operator!r}; there are {' '.join(OPERATORS)}")
        of = f"attribute {self.name!r}"
        if not isinstance(self.value, str | bool | int | float):
            raise BadInput(f"{of} takes text, a number, a boolean or a date, got {type(self.value).__name__}")
        if self.operator == "~":
            if not isinstance(self.value, str):
                raise BadInput(f"~ looks for text in {of}, got {self.value!r}")
            _check_text(f"what ~ looks for in {of}", self.value)
            if len(self.value) > _MOST_CHARS:
                raise BadInput(f"~ looks for up to {_MOST_CHARS} characters in {of}, got {len(self.value)}")
        elif isinstance(self.value, bool):
            if self.operator not in ("=", "!="):
                raise BadInput(f"{of}: a boolean is compared by = or !=, got {self.operator}")
        elif not isinstance(self.value, str) and not _is_finite(self.value):
            raise BadInput(f"{of} is compared with finite numbers, got {str(self.value)[:40]}")

    def sql(self) -> str:
        if self.operator == "~":
            return json_sql.contains(self.name, str(self.value))
        if self.operator == "!=":
            return f"({json_sql.present(self.name)} AND NOT {json_sql.compared(self.name, '=', self.value)})"
        return json_sql.compared(self.name, self.operator, self.value)


@dataclass(frozen=True)
class Updated(Filter):
    """Items that were written at that time. moment: with a time zone."""

    operator: str
    moment: datetime

    def sql(self) -> str:
        utc = self.moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
        return f"(updated_at IS NOT NULL AND updated_at {self.operator} TIMESTAMP '{utc}')"


@dataclass(frozen=True)
class Has(Filter):
    """name: a key of HAS, or a column, which is checked where there is a table (`filter_names`)."""

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.name):
            raise BadInput(f"items have no {self.name!r}; a filter names a column, {', '.join(HAS)} or {ATTRIBUTE}NAME")

    def sql(self) -> str:
        return HAS.get(self.name, f"{self.name} IS NOT NULL")


@dataclass(frozen=True)
class AllOf(Filter):
    filters: tuple[Filter, ...]

    def sql(self) -> str:
        return f"({' AND '.join(each.sql() for each in self.filters)})" if self.filters else "true"

    def parts(self) -> Iterator[Filter]:
        for each in self.filters:
            yield from each.parts()


@dataclass(frozen=True)
class AnyOf(Filter):
    filters: tuple[Filter, ...]

    def sql(self) -> str:
        return f"({' OR '.join(each.sql() for each in self.filters)})" if self.filters else "false"

    def parts(self) -> Iterator[Filter]:
        for each in self.filters:
            yield from each.parts()


@dataclass(frozen=True)
class Not(Filter):
    inner: Filter

    def sql(self) -> str:
        return f"NOT ({self.inner.sql()})"

    def parts(self) -> Iterator[Filter]:
        yield from self.inner.parts()


def _of(kind: type[AllOf] | type[AnyOf], one: Filter) -> tuple[Filter, ...]:
    """The parts of a combination of this kind, whose condition so has no more parentheses than necessary."""
    return one.filters if isinstance(one, kind) else (one,)


def parsed_moment(when: str | date) -> date | datetime:
    """A date, or a date and time, from ISO 8601 text. Raises BadInput for anything else."""
    if isinstance(when, date):
        return when
    try:
        return date.fromisoformat(when) if len(when) <= len("2026-01-31") else datetime.fromisoformat(when)
    except (TypeError, ValueError):
        raise BadInput(f"not a date: {when!r}; the form is 2026-01-31 or 2026-01-31T14:00:00Z") from None


def _in_utc(moment: date | datetime) -> datetime:
    if not isinstance(moment, datetime):
        return datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise BadInput(f"not a date: {moment.isoformat()!r} is outside the years 1 to 9999 in UTC") from None


def _as_text(when: str | date, moment: date | datetime) -> str:
    """A time stays as it was typed, with its zone; a date has one form."""
    return when if isinstance(when, str) and isinstance(moment, datetime) else moment.isoformat()


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _check_text(what: str, text: str) -> None:
    if not isinstance(text, str) or not storable(text):
        raise BadInput(f"{what} is a text of at least one character, got {text!r}")
