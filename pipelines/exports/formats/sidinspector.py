"""The format of SIDInspector (SIDScope), which audits IDs before a model is trained on them.

sidinspector/interface.py names the tables and their columns; sidinspector/metrics.py (`validate_inputs`) casts item_id
to integers, and refuses items without metadata and nulls in `category`; levels are the columns `sid_level_0`, ..., and
items of one `sid` are aliases (arXiv:2606.10375).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.pipelines.exports.columns import ExportInfo, codes_of, column, joined, spelled
from fuseid.pipelines.exports.formats.numbering import numbered
from fuseid.pipelines.exports.formats.texts import attribute, texts_of
from fuseid.pipelines.streams.prefetch import in_background

NAME = "sidinspector"
COLLISIONS = (
    "Items of equal codes have one `sid`, because SIDInspector counts such aliases; `suffix`, which it does not read, "
    "keeps the digit."
)
EXTRA: tuple[str, ...] = ("caption", "vlm_caption", "attributes")
SORTED = True
SIDS, METADATA = "sid_assignments.parquet", "item_metadata.parquet"
# The name of the data set: SIDInspector compares the methods of one.
DATASET = "catalogue"
_METADATA = pa.schema(
    [("item_id", pa.int64()), ("title", pa.string()), ("text", pa.string()), ("category", pa.string())]
)


def write(items: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
    """`sid_assignments.parquet` (item_id, sid_level_0, ..., sid, method, dataset, suffix), `item_metadata.parquet`
    (item_id, title, text, category), and `items.parquet`, the map of item_id, a number, to content_id.

    method: the tokenizer. title and text: title and description as in the format minionerec. category: the attribute
    of this name, an empty text for items without it; no item has it: no such column. Memory holds one chunk.
    """
    levels = [(f"sid_level_{level}", pa.int32()) for level in range(info.levels)]
    texts = [(name, pa.string()) for name in ("sid", "method", "dataset")]
    schema = pa.schema([("item_id", pa.int64()), *levels, *texts, ("suffix", pa.int32())])
    tables = [joined("-" if level else "", np.arange(size)) for level, size in enumerate(info.codebook_sizes)]
    categories = 0
    with ExitStack() as files:
        writers = {
            name: files.enter_context(pq.ParquetWriter(folder / name, fields, compression="zstd"))
            for name, fields in ((SIDS, schema), (METADATA, _METADATA))
        }
        write_later = {name: files.enter_context(in_background(writer.write_batch)) for name, writer in writers.items()}
        for numbers_N, chunk in numbered(items, folder, info):
            codes_NL = codes_of(column(chunk, "codes"), info.codebook_sizes)
            numbers, sids = pa.array(numbers_N), spelled(codes_NL, tables).cast(pa.string())
            constants = (pa.repeat(text, len(chunk)) for text in (info.tokenizer_id, DATASET))
            rows = [numbers, *map(pa.array, codes_NL.T), sids, *constants, column(chunk, "suffix")]
            write_later[SIDS](pa.RecordBatch.from_arrays(rows, schema=schema))
            category = attribute(column(chunk, "attributes"), "category")
            categories += len(category) - category.null_count
            about = [text.cast(pa.string()) for text in (*texts_of(chunk), pc.fill_null(category, ""))]
            write_later[METADATA](pa.RecordBatch.from_arrays([numbers, *about], schema=_METADATA))
    if not categories:
        _drop_category(folder / METADATA)


def _drop_category(path: Path) -> None:
    """Writes the metadata again without categories: SIDInspector would report one that all items have."""
    schema = _METADATA.remove(_METADATA.get_field_index("category"))
    whole = path.with_name("with_category.parquet")
    path.rename(whole)
    with pq.ParquetWriter(path, schema, compression="zstd") as file, pq.ParquetFile(whole) as written:
        for batch in written.iter_batches(columns=schema.names):
            file.write_batch(batch)
    whole.unlink()
