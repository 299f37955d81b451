"""The format of RecTools: item features in its flat form, one row for each item and level.

rectools/dataset/dataset.py (`Dataset.construct`) takes the table as `item_features_df`, and
rectools/dataset/features.py (`SparseFeatures.from_flatten`) makes one column of every feature and value that
`cat_item_features` names; SASRecModel and BERT4RecModel add an embedding of each to that of the item.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.pipelines.exports.columns import ExportInfo, chunks, codes_of, column
from fuseid.pipelines.streams.prefetch import in_background

NAME = "rectools"
COLLISIONS = (
    "Items of equal codes have equal features; RecTools tells them apart by its embedding of the item. `suffix`, which "
    "RecTools does not read, keeps the digit."
)
EXTRA: tuple[str, ...] = ()
SORTED = True
FILE = "item_features.parquet"
_SCHEMA = pa.schema([("id", pa.string()), ("feature", pa.string()), ("value", pa.int32()), ("suffix", pa.int32())])


def write(items: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
    """`item_features.parquet`: id, which is the content_id, feature (`code_1`, ...), value (the code) and suffix; the
    levels of an item are L rows one after the other. Memory holds one chunk."""
    names = pa.array([f"code_{level + 1}" for level in range(info.levels)])
    with (
        pq.ParquetWriter(folder / FILE, _SCHEMA, compression="zstd") as file,
        in_background(file.write_batch) as write_later,
    ):
        for chunk in chunks(items, info):
            codes_NL = codes_of(column(chunk, "codes"), info.codebook_sizes)
            of_item = pa.array(np.repeat(np.arange(len(codes_NL)), info.levels))
            of_level = pa.array(np.tile(np.arange(info.levels), len(codes_NL)))
            ids, suffixes = (column(chunk, name).take(of_item) for name in ("content_id", "suffix"))
            rows = [ids, names.take(of_level), pa.array(codes_NL.reshape(-1)), suffixes]
            write_later(pa.RecordBatch.from_arrays(rows, schema=_SCHEMA))
