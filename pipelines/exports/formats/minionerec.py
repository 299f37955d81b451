"""The format of MiniOneRec: JSON from item numbers to tokens and to titles, and a line of text for each item.

sft.py (`TokenExtender`) reads every token of `X.index.json` into the vocabulary; data.py reads title and description of
`X.item.json`; evaluate.py, minionerec_trainer.py and calc.py read the lines `sid<TAB>title<TAB>id`, in the first column
the tokens that may be generated; convert_dataset.py joins both. It opens its files in the locale's encoding: the JSON
files here are pure ASCII, by escapes, and the lines are UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from json.encoder import encode_basestring_ascii
from pathlib import Path
from string import ascii_lowercase
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput
from fuseid.pipelines.exports.columns import ExportInfo, column, ids_of, joined, spelled, write_text
from fuseid.pipelines.exports.formats.numbering import numbered
from fuseid.pipelines.exports.formats.tokens import token_tables

NAME = "minionerec"
COLLISIONS = (
    "An item with a digit has one token more, `<d_1>` after three levels, which index, lines and the score of calc.py "
    "hold; the title tasks of data.py read three tokens, so there items of equal codes become one, titled as the last. "
    "Items that share an ID have equal tokens, and calc.py counts them as one answer."
)
EXTRA: tuple[str, ...] = ("caption", "vlm_caption", "attributes")
SORTED = True
INDEX, ITEM, INFO = "items.index.json", "items.item.json", "items.info.txt"
# Characters that would end a line or a column: control characters, and the line ends of Unicode.
_BREAKS = r"[\x00-\x1f\x7f\x{85}\x{2028}\x{2029}]+"


def write(items: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
    """`items.index.json`, `items.item.json` and `items.info.txt`, one item a line, and the map `items.parquet`.

    The title is the attribute `title`, else the caption, else the VLM's caption, else the content_id; each run of tabs,
    line ends and other control characters in it becomes a space. The description is the attribute `description`, else
    a caption; its line ends stay, escaped in the JSON. Both are trimmed. Memory holds one chunk.
    Raises BadInput for more levels than there are letters.
    """
    if info.levels >= len(ascii_lowercase):
        raise BadInput(f"{NAME} names levels by letters and has 25 at most, this tokenizer has {info.levels}")
    sizes = (*info.codebook_sizes, info.largest_suffix + 1)
    quoted, plain = token_tables(NAME, sizes, '"', ", ", digit_0=False), token_tables(NAME, sizes, digit_0=False)
    with ExitStack() as files:
        index, item, lines = (files.enter_context((folder / name).open("wb")) for name in (INDEX, ITEM, INFO))
        for numbers_N, chunk in numbered(items, folder, info):
            first = int(numbers_N[0]) == 0
            codes_NM = ids_of(chunk, info.codebook_sizes)
            tokens = spelled(codes_NM, quoted)
            _write_json(index, joined(',\n"', numbers_N, '": [', tokens, "]"), first)
            title, description = texts_of(chunk)
            pairs = ('": {"title": ', _quoted(title), ', "description": ', _quoted(description), "}")
            _write_json(item, joined(',\n"', numbers_N, *pairs), first)
            write_text(lines, joined(spelled(codes_NM, plain), "\t", title, "\t", numbers_N, "\n"))
        for file in (index, item):
            file.write(b"\n}\n" if info.items else b"{}\n")


def texts_of(chunk: pa.Table) -> tuple[pa.Array, pa.Array]:
    """-> (titles of one line, descriptions), large_string [N], none null."""
    attributes = column(chunk, "attributes")
    captions = [_filled(column(chunk, name)) for name in ("caption", "vlm_caption")]
    titles = [_attribute(attributes, "title"), *captions, column(chunk, "content_id")]
    lines = [_filled(pc.replace_substring_regex(text.cast(pa.large_string()), _BREAKS, " ")) for text in titles]
    empty = pa.scalar("", pa.large_string())
    return pc.coalesce(*lines, empty), pc.coalesce(_attribute(attributes, "description"), *captions, empty)


def _filled(texts: pa.Array) -> pa.Array:
    """Trimmed texts, null if nothing is left."""
    trimmed = pc.utf8_trim_whitespace(texts.cast(pa.large_string()))
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.large_string()), trimmed)


def _attribute(attributes: pa.Array, key: str) -> pa.Array:
    """The texts under a key of JSON objects, null for objects without it; only rows that contain the key are parsed."""
    texts = attributes.cast(pa.large_string())
    rows = np.flatnonzero(pc.match_substring(texts, f'"{key}"').fill_null(False))
    values = np.full(len(texts), None, object)
    for row in rows.tolist():
        document = json.loads(texts[row].as_py())
        value = document.get(key) if isinstance(document, dict) else None
        # JSON may escape half a surrogate pair, which a text file cannot contain.
        values[row] = value.encode(errors="replace").decode() if isinstance(value, str) else None
    return _filled(pa.array(values, pa.large_string()))


def _quoted(texts: pa.Array) -> pa.Array:
    """The texts as JSON strings in ASCII."""
    return pa.array([encode_basestring_ascii(text) for text in texts.to_pylist()], pa.large_string())


def _write_json(file: BinaryIO, lines: pa.Array, first: bool) -> None:
    """Writes lines that each begin with a comma; the first line of all begins with the brace instead."""
    if first:
        file.write(b"{" + lines[0].as_py()[1:].encode())
        lines = lines.slice(1)
    write_text(file, lines)
