"""Errors of other libraries in one line of plain words: the cause, without their classes, their advice, or positions in
their source code."""

from __future__ import annotations

import errno
import json
import os
import re
from typing import Any

from fuseid.core.errors import FuseidError, ItemError

_MOST_CHARS = 300
_FAULTS = (LookupError, TypeError, AttributeError, AssertionError, NameError, ArithmeticError, NotImplementedError)

# Positions in source code: of Rust and C++ after a comma, of Rust's own library, of a Python file.
_POSITION = re.compile(
    r",?\s*(?:\(?[\w.~-]*/[\w./@~+-]*\.(?:rs|cc|cpp|hpp|h):\d+(?::\d+)?\)?|location: Location \{[^}]*\})"
)
# What follows the cause: stacks of C++, and advice on how to use the library.
_ADVICE = re.compile(
    r"\s*(?:Exception raised from|frame #0|CUDA kernel errors might|Please (?:file|specify)|For more information|"
    r"See https?:|Check the documentation|If you trust|If this is a private|Traceback \(most recent)[\s\S]*"
)
_ADDRESS = re.compile(r"\s*<[\w.]+ object at 0x[0-9a-f]+>")
# What libraries put before a message to say which part of them it comes from.
_PREFIX = re.compile(
    r"(?:\[Errno -?\d+\]|[A-Z][A-Za-z]*Error(?:\(\w+\))?:|lance error:|Invalid (?:user )?input[:,]|"
    r"(?:[A-Z][A-Za-z/]* ){1,3}error:|[A-Z]+ parse error:|IO Error:|"
    r"Error during planning:|Error (?:parsing function|while deserializing|"
    r"performing list request|applying filter expression to batch):|Error (?:resolving|optimizing)[^:]*:(?= ))\s*"
)
# Messages that say less to a person than to those who wrote them; the last part of a message that fits is replaced.
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        (r".*\((?:sql parser error: )?Expected: (.*), found: (.*?)(?: at Line: .*)?\)$", r"\1 is expected, found \2"),
        (r".*Error (?:pars|tokeniz)ing statement: .*\((?:sql parser error: )?([^()]*?)(?: at Line: [^()]*)?\)$", r"\1"),
        (r".*No field named ([^.\s]+?)\.(?: Valid fields are (.*?)\.?)?$", r"there is no column \1; there are \2"),
        (r".*Received literal \w+\((.*)\) and could not convert to literal of type '(\w+)'.*", r"\1 is no \2"),
        (r".*\(regex parse error: .* error: (.*)\)$", r"the regular expression is not valid: \1"),
        (r"The filter (.*) does not return a boolean", r"\1 is neither true nor false"),
        (r".*Invalid range \d+\.\.\d+ for object of size (\d+) bytes.*", r"a file is cut short, to \1 bytes"),
        (r".*does not have sufficient data, len: (\d+).*", r"a file is cut short, to \1 bytes"),
        (r"Dataset at path (\S+) was not found.*", r"there is no Lance table at \1"),
        (r"(?:Generic N/A error: |Not found: Wrapped error: )?Not found: (\S+)", r"\1 is missing"),
        (
            r"Failed to read all data for array.*|mmap length is greater than file size.*|cannot reshape array of .*",
            "its end is missing",
        ),
        (r".*CSV conversion error to string: invalid UTF8 data", "a text is not UTF-8"),
        (r"(.*)\. in row (\d+)", r"\1, in row \2"),
        (r".*magic bytes not found in footer.*", "it is no Parquet file, or its end is missing"),
        (r".*Parquet file size is 0 bytes.*", "it is empty"),
        (r".*Couldn't deserialize thrift.*|.*TProtocolException.*", "its content is damaged"),
        (r".*(?:contains pickled|Object arrays cannot be loaded).*", "it holds objects of Python, which are not read"),
        (r".*Weights only load failed.*", "it holds objects of Python, which are not read, or is damaged"),
        (r".*<Code>(\w+)</Code>\s*<Message>(.*?)</Message>.*", r"the server answers \1: \2"),
        (r".*returned non-2xx status code: (\d+[^:]*).*", r"the server answers \1"),
        (r".*Error performing \w+ (https?://[^/\s]+)\S* in .* - (?:HTTP error: )?.*", r"\1 does not answer"),
        (r".*HTTPS?ConnectionPool\(host='([^']+)'.*", r"\1 does not answer"),
        (r".*Could not connect to the endpoint URL: \"(https?://[^/\"]+).*", r"\1 does not answer"),
        (r"An error occurred \((\w+)\)[^:]*: (.*)", r"the server answers \1: \2"),
        (r"Header does not contain the correct keys: .*", "its header is damaged"),
        (r"(.*?)\s+LINE \d+: .*", r"\1"),  # DuckDB shows the query
    )
)
_LITERAL = re.compile(r"\b(?:U?Int\d+|Float\d+|Utf8|Boolean)\(([^()]*)\)")


def reason(error: BaseException) -> str:
    """Why something failed, in one line, to be put after "cannot read FILE: ". An error of fuseid keeps its message."""
    if isinstance(error, FuseidError | ItemError):
        return str(error)
    inner = getattr(error, "cause", None)  # of Ray, the error that a task raised
    if isinstance(inner, BaseException) and inner is not error:
        return reason(inner)
    known = _known(error)
    return (known if known is not None else _reduced(str(error)) or _named(error))[:_MOST_CHARS]


def is_fault(error: BaseException) -> bool:
    """Whether an error that nothing expected is one of a program, not of what the program was given."""
    return isinstance(error, _FAULTS)


def library_reason(error: BaseException) -> str:
    """Like `reason`, for an error that a library raised on one item: what a fault says is about the library's code."""
    return f"the library that reads it fails on it ({type(error).__name__})" if is_fault(error) else reason(error)


def json_type(value: object) -> str:
    """What a JSON value is, in JSON's words."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def _known(error: BaseException) -> str | None:
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[:1].lower()}{error.msg[1:]}, at line {error.lineno}, column {error.colno}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, KeyError) and error.args:
        return f"it lacks {error.args[0]!r}"
    if isinstance(error, OSError) and error.errno is not None:
        words: Any = os.strerror(error.errno) if error.errno in errno.errorcode else error.strerror
        # S3 and other file systems put their own words into an error of the system.
        return _reduced(str(error)) if isinstance(error, FileNotFoundError) and _is_remote(error) else str(words)
    return None


def _is_remote(error: OSError) -> bool:
    return "bucket" in str(error)


def _reduced(text: str) -> str:
    text = " ".join(_ADDRESS.sub("", _POSITION.sub("", _ADVICE.sub("", text))).split())
    before = None
    while before != text:
        before, text = text, _PREFIX.sub("", text, count=1) if _PREFIX.match(text) else text
    for pattern, words in _WORDS:
        if match := pattern.fullmatch(text):
            text = match.expand(words)
            break
    text = _LITERAL.sub(r"\1", text)
    if "there are " in text:
        text = _columns(text)
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text.strip().rstrip(".:;,")


def _columns(text: str) -> str:
    """Without the columns that Lance adds."""
    said, _, names = text.partition("; there are ")
    shown = [name.strip(" `") for name in names.split(",") if not name.strip(" `").startswith("_row")]
    return f"{said}; there are {', '.join(shown)}" if any(shown) else said


def _named(error: BaseException) -> str:
    """An error without words, by the words of its class: `ConnectionResetError` -> "connection reset"."""
    name = re.sub(r"(?:Error|Exception)$", "", type(error).__name__) or type(error).__name__
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
