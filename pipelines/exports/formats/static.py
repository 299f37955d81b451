"""The format of STATIC (youtube/static-constraint-decoding): a sorted matrix of codes, from which it builds its index.

static_decoding/csr_utils.py (`build_static_index`) takes it as `fresh_sids` [N, L] and relies on the order without
checking it: an unsorted array gives a wrong index. Codes are without offsets; its `vocab_size` is the largest codebook.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from fuseid.pipelines.exports.columns import ExportInfo
from fuseid.pipelines.exports.formats.by_codes import by_codes
from fuseid.pipelines.exports.formats.numbering import items_writer

NAME = "static"
COLLISIONS = (
    "Items of equal codes are equal rows of `sids.npy`, one leaf of the index, and `items.parquet` names them all. "
    "`sids_digit.npy`, in the same order, has the digit as a last column, 0 for the bare ID, so that rows differ."
)
EXTRA: tuple[str, ...] = ()
SORTED = False
SIDS, DIGITS = "sids.npy", "sids_digit.npy"


def write(items: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
    """`sids.npy`, int32 [N, L], `sids_digit.npy`, int32 [N, L + 1], and `items.parquet`, their content_ids by row.

    Rows are sorted by codes, then digit, then content_id. Memory holds one part of the sort; the arrays are written
    part by part.
    """
    with (
        (folder / SIDS).open("wb") as sids,
        (folder / DIGITS).open("wb") as digits,
        items_writer(folder, info) as write_content_ids,
    ):
        _write_header(sids, (info.items, info.levels))
        _write_header(digits, (info.items, info.levels + 1))
        for part in by_codes(items, folder, info):
            write_content_ids(part.content_ids)
            sids.write(np.ascontiguousarray(part.codes_NL, "<i4").data)
            digits.write(np.ascontiguousarray(part.ids_NM, "<i4").data)


def _write_header(file: BinaryIO, shape: tuple[int, int]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<i4", "fortran_order": False, "shape": shape})
