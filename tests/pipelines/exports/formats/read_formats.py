"""Readers of the export formats by the plain libraries that trainers use: what was written comes back."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from fuseid.pipelines.exports.columns import IDS

Codes = Sequence[Sequence[int]]


def read(name: str, folder: Path) -> pa.Table:
    """-> content_id, codes and suffix of every item in an export of that format, sorted by content_id."""
    return READERS[name](folder).sort_by("content_id")


def parquet(folder: Path) -> pa.Table:
    return pq.read_table(sorted(folder.glob("ids-*.parquet"))).select(IDS.names)


def grid(folder: Path) -> pa.Table:
    return table_of(numbered(folder), torch.load(folder / "semantic_ids.pt", weights_only=True).T.tolist())


def static(folder: Path) -> pa.Table:
    return table_of(numbered(folder), np.load(folder / "sids_digit.npy", allow_pickle=False).tolist())


def minionerec(folder: Path) -> pa.Table:
    index = json.loads((folder / "items.index.json").read_text())
    assert list(index) == [str(number) for number in range(len(index))]
    levels = int(pq.read_schema(folder / "items.parquet").metadata[b"fuseid.levels"])
    codes = [[code_of(level, token) for level, token in enumerate(tokens)] for tokens in index.values()]
    return table_of(numbered(folder), [[*row, 0][: levels + 1] for row in codes])


def code_of(level: int, token: str) -> int:
    return int(re.fullmatch(rf"<{ascii_lowercase[level]}_(\d+)>", token)[1])


def openonerec(folder: Path) -> pa.Table:
    table = pq.read_table(folder / "pid2sid.parquet")
    assert table["pid"].to_pylist() == list(range(len(table)))
    return pa.Table.from_arrays([numbered(folder), table["sid"], table["suffix"]], schema=IDS)


def forge(folder: Path) -> pa.Table:
    (_, *sids), (_, *words) = (rows_of(folder / name) for name in ("item_sid.csv", "item_words.csv"))
    assert [row[0] for row in sids] == [row[0] for row in words]
    codes = [
        [*map(int, sid.split(",")), int(suffix or 0)] for (_, sid), (_, _, suffix) in zip(sids, words, strict=True)
    ]
    return table_of([row[0] for row in sids], codes)


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def torcheasyrec(folder: Path) -> pa.Table:
    assert (folder / "v1" / "manifest.json").is_file()
    table = pq.read_table(folder / "v1" / "item_to_sid")
    return table.select(["item_id", "codebook", "suffix"]).rename_columns(IDS.names).cast(IDS)


def cornac(folder: Path) -> pa.Table:
    rows = json.loads((folder / "semantic_ids.json").read_text())
    assert list(rows) == [str(number) for number in range(len(rows))]
    return table_of(numbered(folder), list(rows.values()))


def rectools(folder: Path) -> pa.Table:
    table = pq.read_table(folder / "item_features.parquet")
    rows = table.to_pydict()
    levels = len(set(rows["feature"]))
    assert rows["feature"] == [f"code_{level + 1}" for level in range(levels)] * (len(table) // max(1, levels))
    ids, codes, suffixes = (
        [rows[name][start : start + levels] for start in range(0, len(table), max(1, levels))]
        for name in ("id", "value", "suffix")
    )
    assert all(len(set(of_item)) == 1 for of_item in (*ids, *suffixes))
    return pa.table([[one[0] for one in ids], codes, [one[0] for one in suffixes]], schema=IDS)


def sidinspector(folder: Path) -> pa.Table:
    table = pq.read_table(folder / "sid_assignments.parquet")
    assert table["item_id"].to_pylist() == list(range(len(table)))
    levels = [name for name in table.schema.names if name.startswith("sid_level_")]
    assert levels == [f"sid_level_{level}" for level in range(len(levels))]
    codes = [list(row.values()) for row in table.select(levels).to_pylist()]
    assert table["sid"].to_pylist() == ["-".join(map(str, row)) for row in codes]
    return pa.table([numbered(folder), codes, table["suffix"]], schema=IDS)


def numbered(folder: Path) -> pa.Array:
    """The content_ids of `items.parquet`, by number."""
    table = pq.read_table(folder / "items.parquet")
    assert table["number"].to_pylist() == list(range(len(table)))
    return table["content_id"].combine_chunks()


def table_of(content_ids: pa.Array | list[str], codes_and_digits: Codes) -> pa.Table:
    codes = [row[:-1] for row in codes_and_digits]
    return pa.table([content_ids, codes, [row[-1] or None for row in codes_and_digits]], schema=IDS)


READERS: dict[str, Callable[[Path], pa.Table]] = {
    reader.__name__: reader
    for reader in (
        parquet,
        grid,
        minionerec,
        openonerec,
        forge,
        torcheasyrec,
        static,
        cornac,
        rectools,
        sidinspector,
    )
}
