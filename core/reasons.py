"""The reason of a failure in plain words, for messages that show it: not the words of Python."""

from __future__ import annotations

import json

# What these say is for the developer of the library that raised them.
_INTERNAL = (AssertionError, AttributeError, LookupError, NameError, NotImplementedError, TypeError, ZeroDivisionError)


def reading_reason(error: Exception) -> str:
    """Why a text or a JSON document cannot be used. The text of other errors is taken as our own."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}"
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON: the error is in line {error.lineno}, column {error.colno}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def library_reason(error: Exception) -> str:
    """Why a library failed, in one line: its text, unless that is about the library's own code."""
    text = " ".join(str(error).split())
    if isinstance(error, _INTERNAL) or not text:
        return f"the library that reads it fails on it ({type(error).__name__})"
    return f"{type(error).__name__}: {text}"


def json_type(value: object) -> str:
    """What a JSON value is, in JSON's words."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "null" if value is None else type(value).__name__)
