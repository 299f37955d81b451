"""Filters find exactly the items for which the same condition is true in Python, whatever their attributes are."""

from __future__ import annotations

import json
import operator
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.pipelines.search.filters import (
    AllOf,
    AnyOf,
    Attribute,
    Filter,
    Has,
    Kind,
    Not,
    Present,
    Tag,
    Updated,
)
from fuseid.pipelines.sources.item import canonical

COMPARED = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
HAS = {
    "media": lambda row: row["media_hash"] is not None,
    "picture": lambda row: row["media_hash"] is not None and row["kind"] == "image",
    "video": lambda row: row["media_hash"] is not None and row["kind"] == "video",
    "tags": lambda row: bool(row["vlm_tags"]) or any(fulfils(row, Present(name)) for name in ("tags", "tag")),
}


# The oracle


def matches(value: Any, keys: list[str]) -> list[Any]:
    """The values at the end of a path, which enters the elements of arrays."""
    values = [value]
    for number, key in enumerate(keys):
        if number:
            values = [inner for each in values for inner in (each if isinstance(each, list) else [each])]
        values = [each[key] for each in values if isinstance(each, dict) and key in each]
    return values


def found(row: dict[str, Any], name: str) -> list[Any] | None:
    """The values of an attribute; None without one."""
    keys = [name] if name in row["attributes"] or not all(name.split(".")) else name.split(".")
    return matches(row["attributes"], keys) or None


def elements(values: list[Any] | None) -> list[Any]:
    """Lists are entered, also within lists."""
    return [each for value in values or [] for each in (elements(value) if isinstance(value, list) else [value])]


def alike(one: Any, other: Any) -> bool:
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (one, other))
    return numbers or (type(one) is type(other) and isinstance(one, str | bool))


def compares(symbol: str, one: Any, other: Any) -> bool:
    if not alike(one, other):
        return False
    if isinstance(one, float) or isinstance(other, float):  # as doubles
        one, other = float(one), float(other)
    return COMPARED[symbol](one, other)


def texts(value: Any) -> list[str]:
    """All text inside a value, except keys."""
    if isinstance(value, dict | list):
        return [text for each in (value.values() if isinstance(value, dict) else value) for text in texts(each)]
    return [value] if isinstance(value, str) else []


def fulfils(row: dict[str, Any], part: Filter) -> bool:
    match part:
        case Kind(kinds):
            return row["kind"] in kinds
        case Tag(tag):
            listed = [each for name in ("tags", "tag") for each in elements(found(row, name))]
            return any(compares("=", each, tag) for each in listed) or tag in (row["vlm_tags"] or [])
        case Present(name):
            return found(row, name) not in (None, [None], [[]])
        case Attribute(name, "~", text):
            needle = re.compile(re.escape(text), re.IGNORECASE)
            return any(needle.search(each) for value in found(row, name) or [] for each in texts(value))
        case Attribute(name, "!=", value):
            return fulfils(row, Present(name)) and not fulfils(row, Attribute(name, "=", value))
        case Attribute(name, symbol, value):
            return any(compares(symbol, each, value) for each in elements(found(row, name)))
        case Updated(symbol, moment):
            return row["updated_at"] is not None and COMPARED[symbol](row["updated_at"], moment)
        case Has(name):
            return HAS[name](row) if name in HAS else row[name] is not None
        case AllOf(filters):
            return all(fulfils(row, each) for each in filters)
        case AnyOf(filters):
            return any(fulfils(row, each) for each in filters)
        case Not(inner):
            return not fulfils(row, inner)
    raise AssertionError(part)


# Random catalogues and filters


# A few values each, so that they often meet, and then any.
few_names = st.sampled_from(["a", "b", "tags", "a.b"])
names = few_names | st.sampled_from(["tag", "a.b.c", "k e'y\"", "ключ", "\\", "\n", "$.*", "a:=1", "\u0000"])
few_words = st.sampled_from(["", "a", "A", "1"])
words = st.one_of(
    few_words,
    st.sampled_from(["ab", "12", "true", "null", "n", "\\n", "\n", "'", '"', "2024-05-01", "é", "É"]),
    st.text(alphabet=st.sampled_from("aBé'\"\\\n\t\u0001:,]}[{😀日%_.*$ 0"), max_size=5),
    st.text(max_size=6),
)
few_numbers = st.sampled_from([0, 1, -1, 0.5, 1.0])
numbers = st.one_of(
    few_numbers,
    st.sampled_from([-0.5, 0.1, 1e300, 5e-324, -1e-7, 2**53, 2**53 + 1, 2.0**53, -(2**63), 2**64 - 1, 2**70]),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
few_scalars = st.one_of(few_words, few_numbers, st.booleans(), st.none())
scalars = st.one_of(few_scalars, words, numbers)
lists = st.lists(few_scalars | st.lists(few_scalars, max_size=3), max_size=4)
nested = st.one_of(
    scalars,
    lists,
    st.lists(scalars, max_size=3),
    st.dictionaries(st.sampled_from(["b", "b.c"]), scalars | lists, max_size=2),
    st.lists(few_scalars | st.dictionaries(st.just("b"), few_scalars | lists, max_size=1), max_size=3),
    st.dictionaries(names, st.dictionaries(names, scalars, max_size=2), max_size=2),
)
moments = st.sampled_from(
    [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=12 * n) for n in range(4)]
    + [datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
)
rows = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["image", "video", "text"]),
        "caption": st.none() | st.just("words"),
        "media_hash": st.none() | st.just("00"),
        "vlm_tags": st.none() | st.lists(words, max_size=2),
        "updated_at": st.none() | moments,
        "attributes": st.dictionaries(names, nested, max_size=3),
    }
)
comparable = st.one_of(few_words, few_numbers, words, numbers)
leaves = st.one_of(
    st.builds(Filter.kind, st.sampled_from(["image", "video", "text"])),
    st.builds(Filter.tag, words.filter(bool)),
    st.builds(Filter.attr, few_names | names),
    st.builds(Filter.attr, few_names | names, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), comparable),
    st.builds(Filter.attr, few_names | names, st.sampled_from(["=", "!="]), st.booleans()),
    st.builds(Filter.attr, few_names | names, st.just("~"), words.filter(bool)),
    st.builds(Filter.since, moments),
    st.builds(Filter.until, st.one_of(moments, st.dates(date(2025, 12, 31), date(2026, 1, 3)), st.just(date.max))),
    st.builds(Filter.has, st.sampled_from(["caption", "media", "picture", "video", "tags", "updated_at"])),
)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(operator.and_, inner, inner), st.builds(operator.or_, inner, inner), st.builds(operator.invert, inner)
    ),
    max_leaves=4,
)
SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("kind", pa.string()),
        ("caption", pa.string()),
        ("media_hash", pa.string()),
        ("vlm_tags", pa.list_(pa.string())),
        ("updated_at", pa.timestamp("us", tz="UTC")),
        ("attributes", pa.json_()),
    ]
)


def table_of(found: list[dict[str, Any]], path: Path) -> lance.LanceDataset:
    written = [{**row, "number": n, "attributes": canonical(row["attributes"])} for n, row in enumerate(found)]
    columns = {field.name: pa.array([row[field.name] for row in written], field.type) for field in SCHEMA}
    return lance.write_dataset(pa.table(columns, schema=SCHEMA), str(path), mode="overwrite")


def check(catalogue: list[dict[str, Any]], asked: list[Filter], path: Path) -> None:
    table = table_of(catalogue, path)
    stored = [{**row, "attributes": json.loads(canonical(row["attributes"]))} for row in catalogue]
    for each in asked:
        got = table.to_table(columns=["number"], filter=each.sql())["number"].to_pylist()
        assert got == [n for n, row in enumerate(stored) if fulfils(row, each)], each


catalogues = st.lists(rows, min_size=1, max_size=12), st.lists(filters, min_size=1, max_size=12)
quiet = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=40, **quiet)
@given(*catalogues)
def test_a_filter_finds_what_it_is_true_for(tmp_path, catalogue, asked):
    check(catalogue, asked, tmp_path / "table.lance")


@pytest.mark.slow
@settings(max_examples=200, **quiet)
@given(*catalogues)
def test_many_filters_find_what_they_are_true_for(tmp_path, catalogue, asked):
    check(catalogue, asked, tmp_path / "table.lance")


# What a filter refuses, and what it takes


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Filter.kind("vidoe"), "did you mean video?"),
        (lambda: Filter.kind(["video"]), "a kind is a text"),  # type: ignore[arg-type]
        (lambda: Filter.has(5), "what items have is a text"),  # type: ignore[arg-type]
        (lambda: Filter.tag(""), "at least one character"),
        (lambda: Filter.attr(""), "at least one character"),
        (lambda: Filter.attr("views", ">="), "both an operator and a value"),
        (lambda: Filter.attr("views", "=>", 3), "no operator of attributes: '=>'; there are = != <"),
        (lambda: Filter.attr("views", "=", float("nan")), "finite numbers, got nan"),
        (lambda: Filter.attr("views", "=", 10**400), "finite numbers, got 1000"),
        (lambda: Filter.attr("views", "=", [3]), "text, a number, a boolean or a date, got list"),
        (lambda: Filter.attr("views", "~", 3), "~ looks for text in attribute 'views', got 3"),
        (lambda: Filter.attr("views", "~", ""), "at least one character"),
        (lambda: Filter.attr("views", "~", "a" * 1001), "up to 1000 characters"),
        (lambda: Filter.attr("organic", "<", True), "compared by = or !="),
        (lambda: Filter.since("yesterday"), "not a date: 'yesterday'; the form is 2026-01-31"),
        (lambda: Filter.until("2026-02-30"), "not a date"),
        (lambda: Filter.since("0001-01-01T00:00:00+02:00"), "outside the years 1 to 9999"),
        (lambda: Filter.has("caption OR true"), "items have no 'caption OR true'"),
    ],
)
def test_what_no_item_can_fulfil_is_refused(make, said):
    with pytest.raises(BadInput, match=re.escape(said)):
        make()


def test_numbers_of_numpy_are_numbers():
    for value, same in ((np.int64(3), 3), (np.float32(0.5), 0.5), (np.bool_(True), True), (np.str_("a"), "a")):
        assert Filter.attr("views", "=", value) == Filter.attr("views", "=", same)
    with pytest.raises(TypeError):
        Filter.kind("video") & "organic"  # type: ignore[operator]


def test_days_are_whole_and_moments_are_exact():
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert Filter.since("2026-01-01") == Filter.since(date(2026, 1, 1)) == Updated(">=", noon.replace(hour=0))
    assert Filter.until("2026-01-01") == Updated("<", datetime(2026, 1, 2, tzinfo=UTC))
    assert Filter.since("2026-01-01T14:00:00+02:00") == Filter.since("2026-01-01T12:00:00") == Updated(">=", noon)
    assert Filter.until(noon) == Updated("<=", noon)
    assert Filter.since("20260101", "listed") == Attribute("listed", ">=", "2026-01-01")
    assert Filter.until("2026-01-31", "listed") == Attribute("listed", "<", "2026-02-01")
    assert Filter.until("2026-01-31T12:00Z", "listed") == Attribute("listed", "<=", "2026-01-31T12:00Z")
    assert Filter.attr("listed", ">", date(2026, 1, 1)) == Attribute("listed", ">", "2026-01-01")


def test_filters_are_values_and_long_combinations_are_flat(tmp_path):
    assert len({Filter.tag("a") & Filter.tag("b"), Filter.tag("a") & Filter.tag("b"), ~Filter.tag("a")}) == 2
    row = {"kind": "text", "caption": None, "media_hash": None, "vlm_tags": None, "updated_at": None}
    catalogue = [{**row, "attributes": {"a": n}} for n in range(3)]
    each = Filter.attr("a", "=", 1)
    for number in range(200):
        each = each & ~Filter.attr("b", "=", number)
    assert isinstance(each, AllOf)
    assert len(list(each.parts())) == len(each.filters) == 201
    check(catalogue, [each, Filter.every([]), AnyOf(())], tmp_path / "table.lance")
