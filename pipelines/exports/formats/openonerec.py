"""The format of OpenOneRec: Parquet of item numbers and codes, and of item numbers and captions.

data/onerec_data/pretrain/item_understand.py (and every other script of data/onerec_data) reads `pid` and `sid` with
`pandas.read_parquet`, takes an integer pid and the first three of a sid's codes, and writes the text that the column
`text` holds; it reads `pid` and `dense_caption` likewise and drops empty captions. Each level has 8,192 tokens
(pretrain/scripts/expand_qwen3_vocab.sh).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.core.errors import BadInput
from fuseid.core.surface import option
from fuseid.pipelines.exports.columns import ExportInfo, codes_of, column, joined, lists_of, spelled
from fuseid.pipelines.exports.formats.numbering import numbered
from fuseid.pipelines.exports.formats.tokens import token_tables
from fuseid.pipelines.streams.prefetch import in_background
from fuseid.tokenizers.vocabulary import BEGIN, END

NAME = "openonerec"
COLLISIONS = (
    "The text of an ID has no place for a digit: items of equal codes have equal texts, and a generated text names all "
    "of them. Each has its own pid, and `suffix`, which OpenOneRec does not read, keeps its digit."
)
EXTRA: tuple[str, ...] = ("caption", "vlm_caption")
SORTED = True
SIDS, CAPTIONS = "pid2sid.parquet", "pid2caption.parquet"
_LEVELS, _CODES = 3, 8192
_SIDS = pa.schema([("pid", pa.int64()), ("sid", pa.list_(pa.int32())), ("suffix", pa.int32()), ("text", pa.string())])
_CAPTIONS = pa.schema([("pid", pa.int64()), ("dense_caption", pa.string())])


def write(items: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
    """`pid2sid.parquet`, `pid2caption.parquet` (the VLM's caption, else the item's own; items without one are left out)
    and the map `items.parquet`. Memory holds one chunk.

    Raises BadInput for another number of levels than three, or more than 8,192 codes: OpenOneRec would cut them off.
    """
    if info.levels != _LEVELS or max(info.codebook_sizes) > _CODES:
        raise BadInput(
            f"{NAME} holds {_LEVELS} levels of {_CODES} codes at most, this tokenizer has codebooks of "
            f"{list(info.codebook_sizes)}; fit one that fits, or choose another {option('format')}"
        )
    tables = token_tables(NAME, info.codebook_sizes)
    with (
        pq.ParquetWriter(
            folder / SIDS, _SIDS, compression="zstd", use_dictionary=["sid.list.element", "suffix"]
        ) as sids,
        pq.ParquetWriter(folder / CAPTIONS, _CAPTIONS, compression="zstd", use_dictionary=False) as captions,
        in_background(sids.write_table) as write_sids,
        in_background(captions.write_table) as write_captions,
    ):
        for numbers_N, chunk in numbered(items, folder, info):
            codes_NL = codes_of(column(chunk, "codes"), info.codebook_sizes)
            text = joined(BEGIN, spelled(codes_NL, tables), END)
            pids = pa.array(numbers_N)
            rows = [pids, lists_of(codes_NL), column(chunk, "suffix"), text.cast(pa.string())]
            write_sids(pa.Table.from_arrays(rows, schema=_SIDS))
            captioned = pc.coalesce(_filled(column(chunk, "vlm_caption")), _filled(column(chunk, "caption")))
            write_captions(pa.Table.from_arrays([pids, captioned], schema=_CAPTIONS).filter(captioned.is_valid()))


def _filled(texts: pa.Array) -> pa.Array:
    """Null for texts of only white space."""
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(texts), ""), pa.scalar(None, pa.string()), texts)
