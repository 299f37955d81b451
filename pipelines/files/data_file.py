"""A file with rows of data: its format by its name, its compression by its bytes, and its text, which is UTF-8."""

from __future__ import annotations

import codecs
import io
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from fuseid.core.errors import BadInput
from fuseid.pipelines.files.compression import ENDINGS, codec_of, decompressed, shown_by

_FORMATS = {
    ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv",
    ".txt": "txt", ".npy": "npy",
}  # fmt: skip
SEPARATORS = {"csv": ",", "tsv": "\t"}
# As messages list them.
TABLES = ("parquet", "jsonl", "csv", "tsv")
NAMES = ".parquet, .jsonl, .csv or .tsv (the last three also .gz or .zst)"
_HEAD_BYTES = 4096
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip


def format_of(name: str) -> str | None:
    """The format that the ending of a name stands for, in any case; None for another ending."""
    stem, ending = os.path.splitext(name.lower())
    if ending in ENDINGS:
        found = _FORMATS.get(os.path.splitext(stem)[1])
        return None if found in ("parquet", "npy") else found
    return _FORMATS.get(ending)


def ending_of(name: str) -> str:
    """The ending of a name, with that before it if it is one of a compressed file."""
    stem, ending = os.path.splitext(name)
    return os.path.splitext(stem)[1] + ending if ending.lower() in ENDINGS else ending


@dataclass(frozen=True, slots=True)
class DataFile:
    """A local file. shown: how messages name it, which is not its path if it is a copy."""

    path: Path
    format: str
    shown: str

    @contextmanager
    def bytes(self) -> Iterator[BinaryIO]:
        """The decompressed bytes of text in UTF-8. Raises as `decompressed`, and BadInput for text in UTF-16 or 32."""
        self._check_encoding()
        with decompressed(self.path, self.shown) as stream:
            yield stream

    @contextmanager
    def lines(self, most_chars: int, newline: str | None = None) -> Iterator[Iterator[str]]:
        """The lines of text, without a byte order mark. newline: see `open`.

        Raises as `bytes`. Reading raises BadInput for a line longer than `most_chars`, or not UTF-8.
        """
        with self.bytes() as stream, io.TextIOWrapper(stream, "utf-8-sig", newline=newline) as text:
            yield self._checked(text, most_chars)

    def _checked(self, text: io.TextIOWrapper, most_chars: int) -> Iterator[str]:
        try:
            for number, line in enumerate(iter(partial(text.readline, most_chars), ""), 1):
                if len(line) == most_chars and line[-1] not in "\r\n":
                    raise BadInput(f"{self.shown}, line {number} has more than {most_chars} characters")
                yield line
        except UnicodeDecodeError:
            raise BadInput(self.encoding_problem()) from None

    def encoding_problem(self) -> str:
        """Where text that cannot be read is not UTF-8, in one line with the remedy. Raises as `bytes`."""
        number = 0
        with self.bytes() as stream:
            # All encodings that are likely here end a line by this byte, and UTF-8 has it in no other character.
            for number, line in enumerate(stream, 1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    if not line.endswith(b"\n") and error.end == len(line) and "end of data" in error.reason:
                        return f"{self.shown}, line {number} ends within a character: the file was cut off"
                    byte = line[error.start]
                    return (
                        f"{self.shown}, line {number}: the byte 0x{byte:02X} is not UTF-8; if it is "
                        f"{bytes([byte]).decode('cp1252', 'replace')!r} in cp1252: {self._converted('cp1252')}"
                    )
        return f"{self.shown} is not UTF-8; convert it: {self._converted('cp1252')}"

    def separator_problem(self, names: list[str]) -> str | None:
        """What is wrong with a header that has one column, because another separator is used; None if nothing is."""
        if len(names) != 1:
            return None
        others = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
        other = next((sign for sign in others if sign in names[0]), None)
        if other is None or other == SEPARATORS[self.format]:
            return None
        right = next((ending for ending, sign in SEPARATORS.items() if sign == other), None)
        if right is not None:
            return f"{self.shown}, line 1: the columns are separated by {others[other]}; name such a file .{right}"
        code = f"import csv, sys; csv.writer(sys.stdout).writerows(csv.reader(sys.stdin, delimiter={other!r}))"
        return (
            f"{self.shown}, line 1: the columns are separated by {others[other]}, not commas; convert it: "
            f"{shown_by(self.path, self.shown)} | python3 -c {shlex.quote(code)} > NEW.csv"
        )

    def _check_encoding(self) -> None:
        with decompressed(self.path, self.shown) as stream:
            head = stream.read(_HEAD_BYTES)
        found = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
        if found is None and head[:64].count(0) * 3 > len(head[:64]):
            found = "utf-16le" if head[1:64:2].count(0) > head[:64:2].count(0) else "utf-16be"
        if found is not None:
            raise BadInput(f"{self.shown}, line 1: the text is {found.upper()}, not UTF-8: {self._converted(found)}")

    def _converted(self, encoding: str) -> str:
        name = shlex.quote(self.shown)
        if codec_of(self.path) is None:
            return f"iconv -f {encoding} -t utf-8 {name} > NEW.{self.format}"
        return f"{shown_by(self.path, self.shown)} | iconv -f {encoding} -t utf-8 > NEW.{self.format}"
