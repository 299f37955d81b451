"""The format of Cornac, from 3.0 on: one JSON object from item numbers to codes, for its generative models.

cornac/models/letter/beauty_example.py (`load_semantic_ids`) reads four codes per item from such an object and
`align_semantic_ids` puts them in the order of its own item indices; cornac.models.LETTER takes the array as
`precomputed_semantic_ids`, cornac.models.DiffGRM as `item_sids`. Items are texts of numbers, as in the files of
`fuseid export sequences --format cornac`, because `cornac.data.Reader` divides lines at tabs and strips them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from fuseid.pipelines.exports.columns import ExportInfo, ids_of, joined, spelled, write_members
from fuseid.pipelines.exports.formats.numbering import numbered

NAME = "cornac"
COLLISIONS = (
    "The last code is the digit, 0 for the bare ID, so that rows differ: LETTER and DiffGRM add no level of their own. "
    "Items that share an ID have equal rows, and both models score them alike."
)
EXTRA: tuple[str, ...] = ()
SORTED = True
FILE = "semantic_ids.json"


def write(items: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
    """`semantic_ids.json`, {"0": [12, 240, 7, 0], ...}, L codes and the digit, and `items.parquet`, the map of the
    numbers to content_ids. Memory holds one chunk."""
    sizes = (*info.codebook_sizes, info.largest_suffix + 1)
    tables = [joined(", " if level else "", np.arange(size)) for level, size in enumerate(sizes)]
    with (folder / FILE).open("wb") as file:
        for numbers_N, chunk in numbered(items, folder, info):
            codes = spelled(ids_of(chunk, info.codebook_sizes), tables)
            write_members(file, joined(',\n"', numbers_N, '": [', codes, "]"), int(numbers_N[0]) == 0)
        file.write(b"\n}\n" if info.items else b"{}\n")
