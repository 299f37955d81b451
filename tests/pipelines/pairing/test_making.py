"""Every method agrees with its definition, however the events are divided and whoever works."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fuseid.pipelines.engagement.numbering import Numbering
from fuseid.pipelines.jobs.progress import Lines
from fuseid.pipelines.pairing.events import EventFiles
from fuseid.pipelines.pairing.making import Making, Parts
from fuseid.pipelines.pairing.options import Options
from fuseid.pipelines.pairing.runners import LocalPairRunner
from fuseid.pipelines.sequences.interactions import EVENTS

from .brute_force import Event, Weights, weights_of

START = 1_714_564_800
SHARED = {
    "until": [None, None, "some"], "leave_out": [0, 0, 1, 2], "max_history": [3, 6, 500], "most": [1, 2, 50],
    "least": [1, 1, 2],
}  # fmt: skip
CLOSE = {"window": [1, 2, 3], "session": [None, 2.5], "by_distance": [False, True]}
OWN = {
    "window": {**CLOSE, "popularity": [0.0, 0.3, 0.5, 1.0]},
    "swing": {"alpha": [0.0, 1.0, 5.0], "most_users": [2, 3, 100]},
    "cooccurrence": {**CLOSE, "smoothing": [0.5, 0.75, 1.0]},
}


def drawn(method: str, generator: np.random.Generator) -> tuple[list[Event], Options]:
    """Some events, with items that users use again, equal times and copies; and some options."""
    users, items, count = generator.integers([2, 4, 10], [9, 12, 90]).tolist()
    rows = zip(
        generator.integers(0, users, count).tolist(), generator.integers(0, items, count).tolist(),
        (START + 50 * generator.integers(0, 60, count)).tolist(), strict=True,
    )  # fmt: skip
    events = [(f"u{user}", f"{'aBé'[item % 3]}{item}", time) for user, item, time in rows]
    chosen = {name: values[generator.integers(len(values))] for name, values in {**SHARED, **OWN[method]}.items()}
    if chosen["until"]:
        chosen["until"] = events[generator.integers(count)][2] * 10**6
    if chosen["max_history"] < 500 and "window" in chosen:
        chosen["window"] = min(chosen["window"], chosen["max_history"])
    return events, Options(method, **chosen)


def made(
    events: Sequence[Event], options: Options, folder: Path, shards: int, part_rows: int, batch: int = 7
) -> tuple[Weights, Making]:
    folder.mkdir()
    users, items, times = zip(*events, strict=True)
    micros = pa.array([time * 10**6 for time in times], pa.int64()).cast(EVENTS.field("timestamp").type)
    table = pa.table([pa.array(users), pa.array(items), micros], schema=EVENTS)
    numbering = Numbering()
    files = EventFiles(table.to_batches(max_chunksize=batch), numbering, options.until, folder, shards, rows=batch)
    ids, rank = numbering.ranked()
    making = Making(files, len(ids), rank, options, folder, LocalPairRunner(), Lines(), part_rows)
    found: Weights = {}
    names = ids.to_pylist()
    for first, second, weight in making.pieces() if files.kept else ():
        for one, other, value in zip(first.tolist(), second.tolist(), weight.tolist(), strict=True):
            found[names[one], names[other]] = value
    assert list(found) == sorted(found, key=lambda pair: (pair[0].encode(), pair[1].encode()))
    assert len(found) == making.pairs
    return found, making


def check(found: Weights, true: Weights, most: int) -> None:
    """A pair is there if it is among the best of one of its items; of equal weights, either may be."""
    assert set(found) <= set(true)
    assert list(found.values()) == pytest.approx([true[pair] for pair in found], rel=1e-5)
    of_item: dict[str, list[float]] = defaultdict(list)
    for (one, other), weight in true.items():
        of_item[one].append(weight)
        of_item[other].append(weight)
    least = {item: sorted(values, reverse=True)[:most][-1] for item, values in of_item.items()}
    for pair, weight in true.items():
        bound = min(least[name] for name in pair)
        assert pair in found or weight <= bound * (1 + 1e-5)
        assert pair not in found or weight >= bound * (1 - 1e-5)
    for item, values in of_item.items():
        assert sum(item in pair for pair in found) >= min(most, len(values))


@pytest.mark.parametrize("method", OWN)
def test_pairs_are_those_of_the_definition(tmp_path, method):
    generator = np.random.default_rng(4)
    pairs = 0
    for trial in range(60):
        events, options = drawn(method, generator)
        found, making = made(events, options, tmp_path / f"{trial}-one", shards=1, part_rows=1 << 20)
        true = weights_of(events, options)
        # Where information is next to nothing, rounding decides whether there is any.
        if any(weight < 1e-6 for weight in {**true, **found}.values()):
            continue
        check(found, true, options.most)
        again, _ = made(events, options, tmp_path / f"{trial}-many", shards=3, part_rows=4)
        check(again, true, options.most)
        used = [event for event in dict.fromkeys(events) if options.until is None or event[2] * 10**6 < options.until]
        counts = making.counts
        assert (counts.events + counts.left_out, counts.duplicates) == (len(used), sum(
            options.until is None or event[2] * 10**6 < options.until for event in events
        ) - len(used))  # fmt: skip
        assert options.leave_out or counts.users == len({user for user, *_ in used})
        pairs += len(found)
    assert pairs > 200


@pytest.mark.parametrize("method", OWN)
def test_the_number_of_threads_changes_no_bit(tmp_path, monkeypatch, method):
    generator = np.random.default_rng(2)
    rows = generator.integers(0, [60, 40, 90_000], (900, 3)).tolist()
    events = [(f"u{user}", f"i{item}", START + time) for user, item, time in rows]
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        found.append(made(events, Options(method, least=1), tmp_path / str(cores), shards=4, part_rows=300, batch=200))
    assert found[0][0] == found[1][0]
    assert len(found[0][0]) > 100
    assert found[0][1].coverage.table() == found[1][1].coverage.table()
    assert math.isclose(found[0][1].coverage.table()[0]["covered"], 1)


def test_parts_are_ranges_that_together_have_every_item():
    generator = np.random.default_rng(0)
    for count in (1, 5, 1000):
        load = generator.zipf(1.5, count) % 10_000
        parts = Parts.of(load, rows=int(load.sum()), part_rows=max(1, int(load.sum()) // 20))
        numbers = parts.of_items(np.arange(count))
        assert (np.diff(numbers.astype(int)) >= 0).all()
        assert (parts.starts[0], parts.starts[-1], int(numbers[-1])) == (0, count, parts.count - 1)
        loads = np.bincount(numbers, load + 1, parts.count)
        assert loads.max() <= (load + 1).sum() / 20 + load.max() + 2
