"""The format of MiniOneRec: one CSV per split, whose lists are Python literals, as its data.py reads them.

Its data.py takes `history_item_sid` and `item_sid`, the tokens of IDs, `history_item_id` and `item_id`, the numbers of
items, and `history_item_title` and `item_title`; sft.py and rl.py are each given the one CSV of a split.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from fuseid.pipelines.exports.formats import minionerec as ids
from fuseid.pipelines.exports.formats.texts import texts_of
from fuseid.pipelines.sequences.examples import Examples
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.options import SPLITS
from fuseid.pipelines.sequences.texts import json_text, kept_rows, of_histories, of_items, sid_texts

NAME = "minionerec"
TRAIN = "prefix"
EXTRA = ids.EXTRA
COLUMNS = (
    "user_id", "history_item_title", "item_title", "history_item_id", "item_id", "history_item_sid", "item_sid",
)  # fmt: skip
RESERVED = COLUMNS[1:]


def titles(rows: pa.Table) -> pa.Array:
    """The titles that `fuseid export ids --format minionerec` writes."""
    return texts_of(rows)[0]


def write(chunks: Iterator[Examples], items: Items, folder: Path, shard: int) -> None:
    """`train-00000.csv` and so on, which `finish` joins. Kept columns come last; values other than text and numbers are
    JSON."""
    for split, group in groupby(chunks, key=lambda examples: examples.split):
        with (folder / f"{split}-{shard:05d}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for number, examples in enumerate(group):
                if not number:
                    writer.writerow([*COLUMNS, *examples.kept.column_names])
                writer.writerows(_rows(examples, items))


def finish(folder: Path, items: Items) -> None:
    """Joins the parts into `train.csv`, `valid.csv` and `test.csv`."""
    for split in SPLITS:
        with (folder / f"{split}.csv").open("wb") as whole:
            for number, part in enumerate(sorted(folder.glob(f"{split}-*.csv"))):
                with part.open("rb") as file:
                    header = file.readline()
                    if not number:
                        whole.write(header)
                    shutil.copyfileobj(file, whole)
                part.unlink()


def _rows(examples: Examples, items: Items) -> Iterator[tuple[Any, ...]]:
    past_titles, target_titles = of_items(examples, lambda numbers: items.titles.take(numbers).to_pylist())
    sids, target_sids = of_items(examples, lambda numbers: sid_texts(items.codes_NM[numbers], bare=True).to_pylist())
    numbers = examples.item_H.tolist()
    for *facts, kept in zip(
        examples.user_ids.to_pylist(),
        of_histories(past_titles, examples.offsets_E),
        target_titles,
        of_histories(numbers, examples.offsets_E),
        examples.target_E.tolist(),
        of_histories(sids, examples.offsets_E),
        target_sids,
        kept_rows(examples),
        strict=True,
    ):
        yield (
            *facts,
            *(value if isinstance(value, str | int | float | None) else json_text(value) for value in kept.values()),
        )
