"""Reasons are in our own words, whatever raised."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from fuseid.core.reasons import json_type, library_reason, reading_reason


def raised(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (b"ab\xff".decode, "it is not UTF-8: byte 2 is 0xff"),
        (lambda: json.loads('{\n"a": }'), "it is not JSON: the error is in line 2, column 6"),
        (lambda: json.loads("[" * 10**6), "it is nested too deeply"),
        (lambda: open("/nowhere/at/all"), "No such file or directory"),  # noqa: SIM115
        (lambda: json.loads(""), "it is not JSON: the error is in line 1, column 1"),
    ],
)
def test_why_a_text_cannot_be_read(call, reason):
    assert reading_reason(raised(call)) == reason


@pytest.mark.parametrize("call", [lambda: [].get("a"), [].pop, lambda: {}["a"], lambda: None + 1])
def test_errors_of_a_librarys_own_code_are_named_not_quoted(call):
    error = raised(call)
    assert library_reason(error) == f"the library that reads it fails on it ({type(error).__name__})"


def test_what_a_library_says_about_a_file_is_kept_in_one_line():
    assert library_reason(ValueError("bad\n  header")) == "ValueError: bad header"


def test_types_are_those_of_json():
    values = [True, 1, 1.5, "a", [], {}, None]
    assert list(map(json_type, values)) == [
        "true or false", "a number", "a number", "text", "a list", "an object", "null",
    ]  # fmt: skip
