"""The format of FORGE (al_sid): CSV of items and their codes, and the words for codes in its training texts.

SID_generation/infer_SID.py writes `item_id,SID` with "1,2,3", which SID_generation/ID_collision.sql reads;
algr/calc_hr.py (`--item_sid_file`) and u2i/data/csv2json.py read a column for each level, `codebook_lv1`, ... after
`base62_string`; in algr/calc_hr.py and algr/runner.py codes are the words C0 to C65535, 8,192 for each level.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from fuseid.core.errors import BadInput
from fuseid.core.surface import option
from fuseid.pipelines.exports.columns import ExportInfo, chunks, codes_of, column, joined, spelled
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


def write(items: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
    """`item_sid.csv` (item_id, SID), `item_codebooks.csv` (base62_string, codebook_lv1, ...) and `item_words.csv`
    (item_id, words, suffix), sorted by item_id, which is the content_id. Words are offset codes, C1C8194C16387.

    All texts are quoted, and quotes in them doubled. pandas reads ids such as NA or 007 as other values unless it gets
    `dtype=str, keep_default_na=False`. Memory holds one chunk. Raises BadInput for codes beyond FORGE's words.
    """
    if info.levels > _MOST_LEVELS or max(info.codebook_sizes) > _STRIDE:
        raise BadInput(
            f"{NAME} has words for {_MOST_LEVELS} levels of {_STRIDE} codes, this tokenizer has codebooks of "
            f"{list(info.codebook_sizes)}; fit one that fits, or choose another {option('format')}"
        )
    names = [f"codebook_lv{level + 1}" for level in range(info.levels)]
    schemas = {
        SIDS: pa.schema([("item_id", pa.string()), ("SID", pa.large_string())]),
        LEVELS: pa.schema([("base62_string", pa.string()), *((name, pa.int32()) for name in names)]),
        WORDS: pa.schema([("item_id", pa.string()), ("words", pa.large_string()), ("suffix", pa.int32())]),
    }
    levels = list(enumerate(info.codebook_sizes))
    numbers = [joined("," * (level > 0), np.arange(size), "") for level, size in levels]
    words = [joined("C", np.arange(size) + level * _STRIDE, "") for level, size in levels]
    with ExitStack() as files:
        writers = {name: files.enter_context(csv.CSVWriter(folder / name, schemas[name])) for name in schemas}
        write_later = {name: files.enter_context(in_background(writer.write_batch)) for name, writer in writers.items()}
        for chunk in chunks(items, info):
            ids, suffix = column(chunk, "content_id"), column(chunk, "suffix")
            codes_NL = codes_of(column(chunk, "codes"), info.codebook_sizes)
            rows = {
                SIDS: [ids, spelled(codes_NL, numbers)],
                LEVELS: [ids, *map(pa.array, codes_NL.T)],
                WORDS: [ids, spelled(codes_NL, words), suffix],
            }
            for name, schema in schemas.items():
                write_later[name](pa.RecordBatch.from_arrays(rows[name], schema=schema))
