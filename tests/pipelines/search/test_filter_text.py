"""Filters as they are typed: what is a number, what is text, and what is answered with one line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.core.surface import shell
from fuseid.pipelines.search.filter_text import attribute, typed
from fuseid.pipelines.search.filters import OPERATORS, Filter


@pytest.mark.parametrize(
    ("text", "name", "operator", "value"),
    [
        ("style=noto", "style", "=", "noto"),
        ("style==noto", "style", "=", "noto"),
        ("style <> noto", "style", "!=", "noto"),
        ("views>=1000", "views", ">=", 1000),
        ("views < -1.5e3", "views", "<", -1500.0),
        ("sku=9007199254740993", "sku", "=", 9007199254740993),
        ('sku="12"', "sku", "=", "12"),
        ("zip=007", "zip", "=", "007"),
        ("name=12 monkeys", "name", "=", "12 monkeys"),
        ("organic=true", "organic", "=", True),
        ("organic=True", "organic", "=", "True"),
        ('style=""', "style", "=", ""),
        ("listed>2024-05-01", "listed", ">", "2024-05-01"),
        ("price~42", "price", "~", "42"),
        ("cook.minutes<=9", "cook.minutes", "<=", 9),
        ('"a=b>c"=="d\\"e"', "a=b>c", "=", 'd"e'),
        ("page=https://a.example/?b=c", "page", "=", "https://a.example/?b=c"),
    ],
)
def test_what_is_typed_is_a_typed_value(text, name, operator, value):
    found = attribute(text)
    assert found == Filter.attr(name, operator, value)
    assert type(found.value) is type(value)


def test_a_name_alone_asks_whether_it_is_there():
    assert attribute("style") == attribute(' "style" ') == Filter.attr("style")


@given(st.text(min_size=1), st.sampled_from(OPERATORS), st.text(min_size=1))
def test_every_name_and_text_can_be_typed_in_double_quotes(name, operator, value):
    import json

    assert attribute(f"{json.dumps(name)}{operator}{json.dumps(value)}") == Filter.attr(name, operator, value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least one character"),
        ("=3", "--attr cannot be '=3'; the form is NAME=VALUE"),
        ("views>=", "--attr 'views>=' has no value"),
        ("views=>3", 'text with such characters is in double quotes: ">3"'),
        ("style='noto'", 'text with such characters is in double quotes: "noto"'),
        ('style="noto', "the text after the double quote is not JSON"),
        ('"style=noto', "a double quote is not closed"),
        ('"style" noto', "the form is NAME=VALUE"),
        ("style=null", 'null is no value; the text is "null"'),
        ("views<1e999", "finite numbers"),
        ("organic<true", "compared by = or !="),
    ],
)
def test_what_cannot_be_meant_is_answered_with_the_form(text, said):
    with shell(), pytest.raises(BadInput, match=re.escape(said)):
        attribute(text)


def test_options_together_are_one_filter():
    found = typed(["video", "image"], ["animal"], ["views>=1000"], "2026-01-01", "listed=2026-01-31", ["caption"])
    assert found == Filter.every(
        [
            Filter.kind("video", "image"), Filter.tag("animal"), Filter.attr("views", ">=", 1000),
            Filter.since("2026-01-01"), Filter.until("2026-01-31", "listed"), Filter.has("caption"),
        ]
    )  # fmt: skip
    assert typed() is None
