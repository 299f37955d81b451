"""The examples of an exported folder of sequences as arrays: histories and targets as item numbers."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.core.errors import BadInput, unusable
from fuseid.core.reasons import reason
from fuseid.core.surface import command
from fuseid.pipelines.jobs.progress import Progress, tracked
from fuseid.pipelines.sequences.options import SPLITS

_BATCH = 8192
_COLUMNS = ["user_id", "split", "items", "target"]


@dataclass(frozen=True)
class TestHistories:
    """history_EH: int32, the newest H items of each history, oldest first, -1 after the last. target_E: int32.
    user_E: strings."""

    history_EH: np.ndarray
    target_E: np.ndarray
    user_E: np.ndarray

    def __len__(self) -> int:
        return len(self.target_E)

    def rows(self, rows: np.ndarray) -> TestHistories:
        return TestHistories(self.history_EH[rows], self.target_E[rows], self.user_E[rows])


@dataclass(frozen=True)
class Sequences:
    """train, valid and test, the first two sampled. targets_N: how often each item is a target in the whole training
    split; seen_N: bool, whether it occurs there at all, as target or in a history. counts: examples by split."""

    train: TestHistories
    valid: TestHistories
    test: TestHistories
    targets_N: np.ndarray
    seen_N: np.ndarray
    counts: dict[str, int]


def read_sequences(
    folder: Path, content_ids: pa.Array, *, history: int, train: int, valid: int, users: int, progress: Progress
) -> Sequences:
    """Reads the Parquet files of `folder` once, and the users of its test split before that. Of the training and the
    validation split at most so many examples are kept, a random sample that is always the same; of the test split all
    examples of at most `users` users, those with the lowest hashes.

    content_ids: of the items, by number. Raises BadInput for a split without examples, or an item not among them.
    """
    files = sorted(folder.glob("part-*.parquet"))
    total = sum(_opened(file).metadata.num_rows for file in files)
    test_users = pa.array(_lowest(files, users), pa.string())
    drawn = {"train": _Draw(train), "valid": _Draw(valid), "test": _Draw(None)}
    targets_N = np.zeros(len(content_ids), np.int64)
    seen_N = np.zeros(len(content_ids), bool)
    counts = dict.fromkeys(SPLITS, 0)
    for batch in tracked(_batches(files, _COLUMNS), "read", total, progress):
        for split in SPLITS:
            part = batch.filter(pc.equal(batch["split"], split))
            counts[split] += part.num_rows
            if split == "test":
                part = part.filter(pc.is_in(part["user_id"], test_users))
            if not part.num_rows:
                continue
            target_E, items = (
                _numbers(part["target"], content_ids),
                _numbers(pc.list_flatten(part["items"]), content_ids),
            )
            if split == "train":
                targets_N += np.bincount(target_E, minlength=len(targets_N))
                seen_N[target_E] = seen_N[items] = True
            lengths_E = pc.list_value_length(part["items"]).to_numpy(zero_copy_only=False)
            drawn[split].add(
                TestHistories(
                    _newest(items, lengths_E, history), target_E, part["user_id"].to_numpy(zero_copy_only=False)
                )
            )
    for split in ("train", "test"):
        if not counts[split]:
            raise BadInput(
                f"{folder} has no example of the {split} split; export sequences of more or longer histories"
            )
    none = TestHistories(np.empty((0, history), np.int32), np.empty(0, np.int32), np.empty(0, object))
    kept = {split: draw.all() or none for split, draw in drawn.items()}
    return Sequences(**kept, targets_N=targets_N, seen_N=seen_N, counts=counts)


def first_tested(folder: Path) -> int:
    """The time of the first event of the test split, in microseconds. Raises BadInput if it is empty."""
    times = []
    for batch in _batches(sorted(folder.glob("part-*.parquet")), ["split", "target_timestamp"]):
        time = pc.min(batch.filter(pc.equal(batch["split"], "test"))["target_timestamp"].cast(pa.int64())).as_py()
        times += [] if time is None else [time]
    if not times:
        raise BadInput(f"{folder} has no example of the test split; export sequences of more or longer histories")
    return int(min(times))


class _Draw:
    """A sample of at most `limit` of all examples added, each equally likely; all of them without a limit."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._generator = np.random.default_rng(0)
        self._parts: list[tuple[np.ndarray, TestHistories]] = []

    def add(self, examples: TestHistories) -> None:
        self._parts.append((self._generator.random(len(examples)), examples))
        if self._limit is not None and sum(len(keys) for keys, _ in self._parts) > 2 * self._limit + _BATCH:
            self._cut()

    def all(self) -> TestHistories | None:
        if self._parts:
            self._cut()
        return self._parts[0][1] if self._parts else None

    def _cut(self) -> None:
        keys = np.concatenate([keys for keys, _ in self._parts])
        parts = [examples for _, examples in self._parts]
        joined = TestHistories(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in TestHistories.__annotations__)
        )
        if self._limit is not None and len(keys) > self._limit:
            rows = np.sort(np.argpartition(keys, self._limit)[: self._limit])
            keys, joined = keys[rows], joined.rows(rows)
        self._parts = [(keys, joined)]


def _opened(file: Path) -> pq.ParquetFile:
    try:
        opened = pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise unusable(f"cannot read {file}: {reason(error)}", error) from None
    missing = [name for name in _COLUMNS if name not in opened.schema_arrow.names]
    if missing:
        raise BadInput(
            f"{file} has no column {missing[0]}; "
            f"{command('export sequences', 'DB', interactions='FILE', out='NEW_FOLDER')} writes it"
        )
    return opened


def _batches(files: list[Path], columns: list[str]) -> Iterator[pa.RecordBatch]:
    for file in files:
        yield from _opened(file).iter_batches(batch_size=_BATCH, columns=columns)


def _lowest(files: list[Path], users: int) -> list[str]:
    names: set[str] = set()
    for batch in _batches(files, ["user_id", "split"]):
        names.update(pc.unique(batch.filter(pc.equal(batch["split"], "test"))["user_id"]).to_pylist())
    return heapq.nsmallest(users, names, key=lambda name: (hashlib.blake2b(name.encode()).digest(), name))


def _numbers(values: pa.Array, content_ids: pa.Array) -> np.ndarray:
    found = pc.index_in(values, value_set=content_ids)
    if found.null_count:
        unknown = values.filter(pc.is_null(found))[0].as_py()
        raise BadInput(f"the sequences name {unknown!r}, which has no ID; export them again")
    return found.to_numpy(zero_copy_only=False)


def _newest(items: np.ndarray, lengths_E: np.ndarray, history: int) -> np.ndarray:
    """The newest items of concatenated lists, int32 [E, H]."""
    ends_E = np.cumsum(lengths_E)
    places_EH = np.maximum(ends_E - history, ends_E - lengths_E)[:, None] + np.arange(history)
    inside = places_EH < ends_E[:, None]
    return np.where(inside, items[np.where(inside, places_EH, 0)] if len(items) else 0, -1).astype(np.int32)
