"""The format of GRID: one tensor of codes whose columns are items, and the map of their numbers.

Its configs/experiment/tiger_train_flat.yaml hands `torch.load(open(semantic_id_path, "rb"))` to the data set as
`semantic_id_map`, and src/data/loading/components/pre_processing.py (`map_sparse_id_to_semantic_id`) looks the items of
a sequence up in it as columns. Its own digit (src/utils/tensor_utils.py, `deduplicate_rows_in_tensor`) is 0 for an item
alone and 1 to n for n items of equal codes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from fuseid.pipelines.exports.columns import ExportInfo, codes_of, column, digits_of
from fuseid.pipelines.exports.formats.numbering import numbered

NAME = "grid"
COLLISIONS = (
    "The last row holds the digit, 0 for the bare ID, so that columns differ; unlike GRID's own digits, which count "
    "from 1 where codes collide, an item's digit stays when others come. Items that share an ID are equal columns."
)
EXTRA: tuple[str, ...] = ()
SORTED = True
FILE = "semantic_ids.pt"


def write(items: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
    """`semantic_ids.pt`, int64 [L + 1, N], and `items.parquet`, the map of N numbers to content_ids.

    The tensor is one array: it is filled in a memory-mapped file, whose pages the system can write to disk, and saved
    from there.
    """
    import torch

    with tempfile.TemporaryFile(dir=folder) as scratch:
        codes_MN = _zeros(scratch, info.levels + 1, info.items)
        for numbers_N, chunk in numbered(items, folder, info):
            at = slice(numbers_N[0], numbers_N[-1] + 1)
            codes_MN[:-1, at] = codes_of(column(chunk, "codes"), info.codebook_sizes).T
            codes_MN[-1, at] = digits_of(column(chunk, "suffix"))
        torch.save(torch.from_numpy(codes_MN), folder / FILE)


def _zeros(scratch: object, rows: int, columns: int) -> np.ndarray:
    if columns == 0:
        return np.zeros((rows, 0), np.int64)
    return np.memmap(scratch, np.int64, "w+", shape=(rows, columns))  # type: ignore[call-overload]
