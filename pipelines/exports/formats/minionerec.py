"""The format of MiniOneRec: JSON from item numbers to tokens and to titles, and a line of text for each item.

sft.py (`TokenExtender`) reads every token of `X.index.json` into the vocabulary; data.py reads title and description of
`X.item.json`; evaluate.py, minionerec_trainer.py and calc.py read the lines `sid<TAB>title<TAB>id`, in the first column
the tokens that may be generated; convert_dataset.py joins both. It opens its files in the locale's encoding: the JSON
files here are pure ASCII, by escapes, and the lines are UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from json.encoder import encode_basestring_ascii
from pathlib import Path
from string import ascii_lowercase

import pyarrow as pa

from fuseid.core.errors import BadInput
from fuseid.pipelines.exports.columns import ExportInfo, ids_of, joined, spelled, write_members, write_text
from fuseid.pipelines.exports.formats.numbering import numbered
from fuseid.pipelines.exports.formats.texts import texts_of
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
            write_members(index, joined(',\n"', numbers_N, '": [', tokens, "]"), first)
            title, description = texts_of(chunk)
            pairs = ('": {"title": ', _quoted(title), ', "description": ', _quoted(description), "}")
            write_members(item, joined(',\n"', numbers_N, *pairs), first)
            write_text(lines, joined(spelled(codes_NM, plain), "\t", title, "\t", numbers_N, "\n"))
        for file in (index, item):
            file.write(b"\n}\n" if info.items else b"{}\n")


def _quoted(texts: pa.Array) -> pa.Array:
    """The texts as JSON strings in ASCII."""
    return pa.array([encode_basestring_ascii(text) for text in texts.to_pylist()], pa.large_string())
