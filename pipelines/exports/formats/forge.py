"""The form of FORGE (al_sid): CSV of items and their codes, and the words that stand for codes in its training texts.

SID_generation/infer_SID.py writes `item_id,SID` with "1,2,3", which SID_generation/ID_collision.sql takes up;
algr/calc_hr.py (`--item_sid_file`) and u2i/data/csv2json.py read a column for each level, `codebook_lv1`, ... behind
`base62_string`; algr/calc_hr.py and algr/runner.py know codes as the words C0 to C65535, 8,192 for each level.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from fuseid.core.errors import BadInput
from fuseid.pipelines.exports.columns import ExportInfo, chunks, codes_of, column, digits_of, joined, matrix, spelled
from fuseid.pipelines.exports.formats.base import ids_table, readable
from fuseid.pipelines.streams.prefetch import in_background

NAME = "forge"
COLLISIONS = (
    "FORGE lets items share codes: calc_hr.py takes a generated ID for all its items in the order of the rows. Their "
    "rows have equal SIDs and words, and `suffix` of item_words.csv, which FORGE does not read, keeps their digits."
)
EXTRA: tuple[str, ...] = ()
SORTED = True
SIDS, LEVELS, WORDS = "item_sid.csv", "item_codebooks.csv", "item_words.csv"
_STRIDE, _MOST_LEVELS = 8192, 8


def write(items: Iterator[pa.RecordBatch], folder: Path, about: ExportInfo) -> None:
    """`item_sid.csv` (item_id, SID), `item_codebooks.csv` (base62_string, codebook_lv1, ...) and `item_words.csv`
    (item_id, words, suffix), sorted by item_id, which is the content_id. Words are offset codes, C1C8194C16387.

    All texts are quoted, quotes in them doubled. pandas reads ids such as NA or 007 as something else unless told
    `dtype=str, keep_default_na=False`. Memory holds one chunk. Raises BadInput for codes beyond FORGE's words.
    """
    if about.levels > _MOST_LEVELS or max(about.codebook_sizes) > _STRIDE:
        raise BadInput(
            f"{NAME} has words for {_MOST_LEVELS} levels of {_STRIDE} codes, this tokenizer has codebooks of "
            f"{list(about.codebook_sizes)}; fit one that fits, or choose another --format"
        )
    names = [f"codebook_lv{level + 1}" for level in range(about.levels)]
    schemas = {
        SIDS: pa.schema([("item_id", pa.string()), ("SID", pa.large_string())]),
        LEVELS: pa.schema([("base62_string", pa.string()), *((name, pa.int32()) for name in names)]),
        WORDS: pa.schema([("item_id", pa.string()), ("words", pa.large_string()), ("suffix", pa.int32())]),
    }
    levels = list(enumerate(about.codebook_sizes))
    numbers = [joined("," * (level > 0), np.arange(size), "") for level, size in levels]
    words = [joined("C", np.arange(size) + level * _STRIDE, "") for level, size in levels]
    with ExitStack() as files:
        writers = {name: files.enter_context(csv.CSVWriter(folder / name, schemas[name])) for name in schemas}
        write_later = {name: files.enter_context(in_background(writer.write_batch)) for name, writer in writers.items()}
        for chunk in chunks(items, about):
            ids, suffix = column(chunk, "content_id"), column(chunk, "suffix")
            codes_NL = codes_of(column(chunk, "codes"), about.codebook_sizes)
            rows = {
                SIDS: [ids, spelled(codes_NL, numbers)],
                LEVELS: [ids, *map(pa.array, codes_NL.T)],
                WORDS: [ids, spelled(codes_NL, words), suffix],
            }
            for name, schema in schemas.items():
                write_later[name](pa.RecordBatch.from_arrays(rows[name], schema=schema))


def read(folder: Path) -> pa.Table:
    """From the SIDs, and the digits of item_words.csv. Raises BadInput where both are not of the same items."""
    with readable(folder, "an export of the format forge"):
        sids = _read(folder / SIDS, {"item_id": pa.string(), "SID": pa.string()})
        words = _read(folder / WORDS, {"item_id": pa.string(), "suffix": pa.int32()})
        if not sids["item_id"].equals(words["item_id"]):
            raise ValueError(f"{SIDS} and {WORDS} are not of the same items in the same order")
        parts = pc.split_pattern(column(sids, "SID"), ",")
        levels = len(parts[0]) if len(parts) else 1
        codes = pa.ListArray.from_arrays(parts.offsets, parts.flatten().cast(pa.int32()))
        return ids_table(column(sids, "item_id"), matrix(codes, levels), digits_of(column(words, "suffix")))


def _read(path: Path, types: dict[str, pa.DataType]) -> pa.Table:
    options = csv.ConvertOptions(column_types=types, include_columns=list(types), null_values=[""])
    return csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=options)
