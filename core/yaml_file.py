"""A YAML file as a mapping, with the line of every key; what is not valid is said in plain words, with its line."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from fuseid.core.errors import ConfigError
from fuseid.core.reasons import reason

Key = tuple[str, ...]
# What PyYAML says, as a pattern of its context and problem -> what a person can do about it.
_WORDS = (
    (r"found character '\\t'", "a tab begins here; indent with spaces"),
    (r"mapping values are not allowed here", "a second `: ` on one line; put text with a colon in quotes"),
    (r"could not find expected ':'", "the line is no `key: value`"),
    (r"flow sequence.*expected ',' or '\]'", "the list that began with [ has no ] or lacks a comma"),
    (r"flow mapping.*expected ',' or '\}'", "the section that began with { has no } or lacks a comma"),
    (r"flow node", "a list or section in brackets is not closed, or has a comma too many"),
    (r"quoted scalar.*found unexpected", "the quote that began here is not closed"),
    (r"quoted scalar.*found unknown escape", "a backslash in double quotes; use single quotes"),
    (r"found undefined alias '?(.*?)'?$", r"*\1 refers to an anchor that is not in the lines above"),
    (r"found duplicate anchor", "an anchor of this name is there already"),
    (r"expected (?:<block end>|the node content|<document start>)", "it is indented unlike the lines above"),
    (r"could not determine a constructor for the tag '(.*)'", r"the tag \1 is not known; write the value without it"),
    (r"expected a single document", "a second document begins; a configuration is one"),
    (r"unhashable key", "a key is a list or a section; keys are words"),
    (r"expected a mapping or list of mappings for merging", "<< takes an anchor of a section"),
    (r"cannot start any token", "a value cannot begin with this character; put it in quotes"),
    (r"alphabetic or numeric character|expected alphanumeric", "* and & begin an anchor; put other text in quotes"),
)  # fmt: skip


class YamlFile:
    """data: its content. path: as messages show it."""

    def __init__(self, path: str | Path) -> None:
        """Raises ConfigError, with one line that names what is wrong and where."""
        self.path = path
        self._lines: dict[Key, int] = {}
        text = self._text()
        try:
            loader = _Loader(text)
            node = loader.get_single_node()
            self._note(node)
            data = None if node is None else loader.construct_document(node)
        except yaml.MarkedYAMLError as error:
            line = _line_of(error, text)
            raise self._refused(line, f"{_words(error)}{_shown_line(text, line)}") from None
        except yaml.reader.ReaderError as error:
            line = text[: error.position].count("\n") + 1
            raise self._refused(line, f"the character {chr(error.character)!a} is not allowed in YAML") from None
        except RecursionError:
            raise ConfigError(f"config {path}: it has too many sections within sections") from None
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise self._refused(1, f"a configuration is a mapping of sections, such as `clip:`, not {_kind(data)}")
        self.data: dict[Any, Any] = data

    def line(self, key: Key) -> int | None:
        """The line of a key, counted from 1, or of the section nearest above it that is in the file."""
        return next((self._lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self._lines), None)

    def _text(self) -> str:
        try:
            raw = Path(self.path).read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read config {self.path}: {reason(error)}") from None
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ConfigError(f"config {self.path} is in UTF-16; save it as UTF-8")
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            raise self._refused(line, f"{reason(error)}; save the file as UTF-8") from None

    def _note(self, node: yaml.Node | None) -> None:
        """Notes the lines of all keys. Raises ConfigError for a key that a section has twice."""
        for key, line, is_twice in _keys(node, (), set()):
            if is_twice:
                where = f"{'.'.join(key)} is there twice, first in line {self._lines[key]}"
                raise self._refused(line, f"{where}; leave one of them out")
            self._lines.setdefault(key, line)

    def _refused(self, line: int, what: str) -> ConfigError:
        return ConfigError(f"config {self.path}, line {line}: {what}")


def _keys(node: yaml.Node | None, above: Key, seen: set[int]) -> Iterator[tuple[Key, int, bool]]:
    """(key, line, whether its section has it already) of every key below a node, aliases left out."""
    if not isinstance(node, yaml.MappingNode) or id(node) in seen:
        return
    seen.add(id(node))
    names = set()
    for name, value in node.value:
        if isinstance(name, yaml.ScalarNode):
            key = (*above, str(name.value))
            yield key, name.start_mark.line + 1, name.value in names
            names.add(name.value)
            yield from _keys(value, key, seen)


class _Loader(yaml.SafeLoader):
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError):
            # A number of thousands of digits, or a date such as 2024-13-01.
            text = str(getattr(node, "value", ""))
            what = f"{text[:40]}{'...' * (len(text) > 40)} is no value that can be read; put text in quotes"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from None


def _words(error: yaml.MarkedYAMLError) -> str:
    said = f"{error.context or ''}: {error.problem or ''}"
    if said.startswith(": ") and said.endswith("put text in quotes"):
        return said[2:]
    for pattern, words in _WORDS:
        if found := re.search(pattern, said):
            return found.expand(words) if found.groups() else words
    return "this is not valid YAML"


def _line_of(error: yaml.MarkedYAMLError, text: str) -> int:
    """The line to look at: where a quote or bracket that is not closed began, else where reading failed."""
    opened = error.context_mark if error.context and re.search("flow|quoted", error.context) else None
    mark = opened or error.problem_mark or error.context_mark
    last = max(1, len(text.splitlines()))
    return last if mark is None else min(mark.line + 1, last)


def _shown_line(text: str, number: int) -> str:
    lines = text.splitlines()
    line = lines[number - 1].strip() if number <= len(lines) else ""
    return f": {line[:60]!r}" if line else ""


def _kind(value: object) -> str:
    return {list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false"}.get(
        type(value), "a single value"
    )
