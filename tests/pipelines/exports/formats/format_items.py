"""Items as a snapshot yields them, for the tests of the formats."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from fuseid.pipelines.exports.columns import IDS, ExportInfo
from fuseid.pipelines.exports.formats.base import ExportFormat
from fuseid.pipelines.exports.snapshot import ITEMS

EXTRA = ("caption", "vlm_caption", "attributes")
SCHEMA = pa.schema([*ITEMS, *((name, pa.string()) for name in EXTRA)])
SIZES = (256, 256, 256)


def item(content_id: str, codes: list[int], suffix: int | None = None, **extra: str | None) -> dict[str, Any]:
    sid = "-".join(map(str, codes)) + ("" if suffix is None else f".{suffix}")
    row = {"content_id": content_id, "kind": "image", "sid": sid, "codes": codes, "suffix": suffix}
    return {**row, **dict.fromkeys(EXTRA), **extra}


def table_of(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Sorted as a snapshot sorts, by the bytes of content_id."""
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["content_id"].encode()), schema=SCHEMA)


def info_of(table: pa.Table, sizes: tuple[int, ...] = SIZES) -> ExportInfo:
    suffixes = [suffix for suffix in table["suffix"].to_pylist() if suffix is not None]
    return ExportInfo(sizes, len(table), max(suffixes, default=0), "rq-kmeans-0123456789abcdef")


def export(
    form: ExportFormat, table: pa.Table, folder: Path, sizes: tuple[int, ...] = SIZES, batch_rows: int | None = None
) -> Path:
    """Writes with only the columns that the format asks for; returns the folder, which is made."""
    folder.mkdir(parents=True)
    columns = table.select([*IDS.names, *form.EXTRA])
    form.write(iter(columns.to_batches(batch_rows)), folder, info_of(table, sizes))
    return folder


def ids_of(table: pa.Table) -> pa.Table:
    return table.select(["content_id", "codes", "suffix"]).combine_chunks()


def many(rows: int) -> pa.Table:
    """Few different codes, so that most collide; suffixes with gaps, as deletions leave them."""
    codes_NL = np.random.default_rng(5).integers(0, 12, (rows, 3)).astype(np.int32)
    buckets = np.unique(codes_NL, axis=0, return_inverse=True)[1]
    # As rows come, every second digit of a bucket is missing, but that of the first.
    order = np.argsort(buckets, kind="stable")
    starts = np.searchsorted(buckets[order], buckets[order])
    digits = np.empty(rows, np.int32)
    digits[order] = 2 * (np.arange(rows) - starts)
    suffix = pa.array(digits, mask=digits == 0)
    names = [f"id-{number:06d}" for number in range(rows)]
    sids = [
        "-".join(map(str, codes)) + f".{digit}" * (digit > 0)
        for codes, digit in zip(codes_NL.tolist(), digits.tolist(), strict=True)
    ]
    offsets = pa.array(np.arange(0, 3 * rows + 1, 3, dtype=np.int32))
    codes = pa.ListArray.from_arrays(offsets, pa.array(codes_NL.reshape(-1)))
    nulls = pa.nulls(rows, pa.string())
    return pa.Table.from_arrays([names, ["image"] * rows, sids, codes, suffix, names, nulls, nulls], schema=SCHEMA)


texts = st.text(st.characters(codec="utf-8"), max_size=12)
attributes = st.none() | st.builds(
    json.dumps,
    st.dictionaries(st.sampled_from(["title", "description", "category"]), texts | st.integers() | st.none()),
    ensure_ascii=st.booleans(),
)


@st.composite
def catalogues(draw: st.DrawFn, levels: int | None = None) -> tuple[pa.Table, tuple[int, ...]]:
    """-> (items, codebook sizes): any ids and texts, codebooks so small that codes collide, suffixes with gaps."""
    sizes = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 256]), min_size=levels or 1, max_size=levels or 4)))
    rows = []
    for content_id in draw(st.lists(texts, unique=True, max_size=8)):
        codes = [draw(st.integers(0, size - 1)) for size in sizes]
        extra = {"caption": draw(st.none() | texts), "vlm_caption": draw(st.none() | texts)}
        rows.append(item(content_id, codes, draw(st.none() | st.integers(1, 9)), **extra, attributes=draw(attributes)))
    return table_of(rows), sizes
