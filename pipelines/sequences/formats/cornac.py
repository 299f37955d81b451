"""The format of Cornac, from 3.0 on: sessions, one line of text for each event, the target the last of its session.

`cornac.data.Reader().read(path, fmt="USIT")` reads lines of user, session, item and time, divided by tabs, and
`cornac.eval_methods.NextItemEvaluation.from_splits(..., fmt="USIT", mode="last")` predicts the last event of each
session in the test data. In the training data its models make parts of a session themselves, so they need only the last
event of a user, with all events before it. Items and users are numbers, because the reader divides and strips texts.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.pipelines.exports.columns import joined, write_text
from fuseid.pipelines.sequences.examples import Examples
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.options import SPLITS

NAME = "cornac"
TRAIN = "last"
EXTRA: tuple[str, ...] = ()
titles = None
RESERVED = ("session", "split", "user")
_SESSIONS = pa.schema(
    [("session", pa.string()), ("split", pa.string()), ("user", pa.int64()), ("user_id", pa.string())]
)


def write(chunks: Iterator[Examples], items: Items, folder: Path, shard: int) -> None:
    """`train-00000.tsv` and so on, which `finish` joins; a session is an example, named `train-00000-0`: split, shard
    and position; times are microseconds since 1970 UTC. `sessions/part-00000.parquet` has each session's user, number
    and name, and the kept columns of its target."""
    sessions = None
    for split, group in groupby(chunks, key=lambda examples: examples.split):
        first, prefix = 0, f"{split}-{shard:05d}"
        with (folder / f"{prefix}.tsv").open("wb") as file:
            for examples in group:
                numbers_E = np.arange(first, first + len(examples))
                write_text(file, _lines(examples, numbers_E, f"{prefix}-"))
                table = _table(examples, joined(f"{prefix}-", numbers_E).cast(pa.string()))
                if sessions is None:
                    path = folder / "sessions" / f"part-{shard:05d}.parquet"
                    path.parent.mkdir(exist_ok=True)
                    sessions = pq.ParquetWriter(path, table.schema, compression="zstd")
                sessions.write_table(table)
                first += len(examples)
    if sessions is not None:
        sessions.close()


def finish(folder: Path, items: Items) -> None:
    """Joins the parts into `train.tsv`, `valid.tsv` and `test.tsv`; `items.parquet` has the numbers of all items."""
    for split in SPLITS:
        with (folder / f"{split}.tsv").open("wb") as whole:
            for part in sorted(folder.glob(f"{split}-*.tsv")):
                with part.open("rb") as file:
                    shutil.copyfileobj(file, whole)
                part.unlink()
    items.write_numbers(folder)


def _lines(examples: Examples, numbers_E: np.ndarray, prefix: str) -> pa.Array:
    """The lines of all events, those of a session one after the other, large_string."""
    events_E, ends = np.diff(examples.offsets_E) + 1, examples.offsets_E[1:]
    users, sessions = np.repeat(examples.users_E, events_E), np.repeat(numbers_E, events_E)
    numbers = np.insert(examples.item_H, ends, examples.target_E)
    times = np.insert(examples.time_H, ends, examples.target_time_E)
    return joined(users, f"\t{prefix}", sessions, "\t", numbers, "\t", times, "\n")


def _table(examples: Examples, names: pa.Array) -> pa.Table:
    columns = [names, pa.repeat(examples.split, len(examples)), pa.array(examples.users_E), examples.user_ids]
    schema = pa.schema([*_SESSIONS, *examples.kept.schema])
    return pa.Table.from_arrays([*columns, *examples.kept.columns], schema=schema)
