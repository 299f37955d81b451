"""Splits: targets and their histories, without any event later than the target or the cut."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.pipelines.sequences.examples import examples_of
from fuseid.pipelines.sequences.histories import Histories
from fuseid.pipelines.sequences.options import EVENTS, SPLITS, TRAIN, Options
from fuseid.pipelines.sequences.splits import targets_of

EVENT = pa.schema([("event", pa.string())])
# Few of each, so that there are ties, copies and users of every length.
ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "ü", "z9"]), st.integers(0, 2), st.integers(0, 12), st.sampled_from("xy")),
    max_size=40,
)
OPTIONS = st.builds(
    lambda by_time, cuts, most, least, events: Options(
        "by-time" if by_time else "leave-one-out",
        (min(cuts), max(cuts)) if by_time else (),
        max_history=max(most, least),
        min_history=min(most, least),
        min_events=events,
    ),
    st.booleans(),
    st.lists(st.integers(1, 12), min_size=2, max_size=2, unique=True),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 5),
)


def made(shard_of, rows, options: Options, train: str, **limits: int) -> list[tuple]:
    """(split, user, history of (item, time), target item, target time, target's event) of all examples in order."""
    table = shard_of(rows, EVENT)
    histories = Histories.of(table)
    kept = table.select(["event"])
    found = []
    max_history = 0 if train == EVENTS else options.max_history
    for chunk in examples_of(histories, targets_of(histories, options, train), max_history, kept, 0, 1, **limits):
        assert [histories.user_ids[int(number)].as_py() for number in chunk.users_E] == chunk.user_ids.to_pylist()
        for e, user in enumerate(chunk.user_ids.to_pylist()):
            at = slice(chunk.offsets_E[e], chunk.offsets_E[e + 1])
            past = list(zip(chunk.item_H[at].tolist(), chunk.time_H[at].tolist(), strict=True))
            target = int(chunk.target_E[e]), int(chunk.target_time_E[e]), chunk.kept["event"][e].as_py()
            found.append((chunk.split, user, past, *target))
    return found


def expected(rows, options: Options, train: str) -> list[tuple]:
    """The same by loops over users and their events."""
    by_user = defaultdict(list)
    for row in rows:
        if row not in by_user[row[0]]:
            by_user[row[0]].append(row)
    found = defaultdict(list)
    for user in sorted(by_user):
        events = sorted(by_user[user], key=lambda row: row[2])

        def split_of(place: int, events=events) -> str:
            if options.split == "leave-one-out":
                return {len(events) - 1: "test", len(events) - 2: "valid"}.get(place, "train")
            return SPLITS[sum(events[place][2] >= cut for cut in options.cuts)]

        splits = [split_of(place) for place in range(len(events))]
        for place, (_, item, time, event) in enumerate(events):
            split = splits[place]
            counted = [s for s in splits if options.split == "leave-one-out" or SPLITS.index(s) <= SPLITS.index(split)]
            if len(counted) < options.min_events or (train != EVENTS and place < options.min_history):
                continue
            is_last = place == len(events) - 1 or splits[place + 1] != "train"
            full = place >= options.max_history
            every = train in ("prefix", EVENTS)
            if split == "train" and not (every or is_last or (train == "window" and full)):
                continue
            past = [row[1:3] for row in events[max(0, place - options.max_history) : place]] * (train != EVENTS)
            found[split].append((split, user, past, item, time, event))
    return [example for split in SPLITS for example in found[split]]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(rows=ROWS, options=OPTIONS, train=st.sampled_from([*TRAIN, EVENTS]))
def test_examples_equal_those_of_a_plain_loop(shard_of, rows, options, train):
    assert made(shard_of, rows, options, train) == expected(rows, options, train)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(rows=ROWS, options=OPTIONS, train=st.sampled_from(TRAIN))
def test_no_split_sees_later_events(shard_of, rows, options, train):
    # A different time for each row identifies the events.
    rows = [(user, item, 100 * time + number, event) for number, (user, item, time, event) in enumerate(rows)]
    if options.cuts:
        options = Options("by-time", tuple(100 * cut for cut in options.cuts), None, options.max_history)
    found = made(shard_of, rows, options, train)
    targets = [(user, time) for _, user, _, _, time, _ in found]
    assert len(set(targets)) == len(targets), "an event is the target of two examples"
    first_target = {}
    for split, user, past, _, time, _ in found:
        assert all(when < time for _, when in past), "a history reaches to its target or beyond"
        first_target[split, user] = min(time, first_target.get((split, user), time))
    for split, user, past, _, time, _ in found:
        seen = [*(when for _, when in past), time]
        if options.split == "by-time":
            train_ends, valid_ends = options.cuts
            if split == "train":
                assert max(seen) < train_ends
            elif split == "valid":
                assert train_ends <= time < valid_ends
            else:
                assert valid_ends <= time
        else:
            for later in SPLITS[SPLITS.index(split) + 1 :]:
                assert max(seen) < first_target.get((later, user), np.inf)


def test_splits_of_a_few_events_are_as_worked_out_by_hand(shard_of):
    rows = [("u", item, 10 * place) for place, item in enumerate([0, 1, 2, 3, 4, 0])]

    def examples_by(train: str, **more: int) -> list[tuple]:
        return [
            (split, [item for item, _ in past], target)
            for split, _, past, target, _, _ in made(
                shard_of, [(*row, "x") for row in rows], Options(max_history=2, **more), train
            )
        ]

    ends = [("valid", [2, 3], 4), ("test", [3, 4], 0)]
    assert examples_by("prefix") == [("train", [0], 1), ("train", [0, 1], 2), ("train", [1, 2], 3), *ends]
    assert examples_by("window") == [("train", [0, 1], 2), ("train", [1, 2], 3), *ends]
    assert examples_by("last") == [("train", [1, 2], 3), *ends]
    assert examples_by("prefix", min_history=2) == [("train", [0, 1], 2), ("train", [1, 2], 3), *ends]
    assert examples_by("prefix", min_events=7) == []


def test_events_of_one_moment_keep_the_order_of_the_files(shard_of):
    rows = [("u", 3, 5, "x"), ("u", 1, 5, "x"), ("u", 2, 5, "x"), ("u", 0, 1, "x")]
    assert made(shard_of, rows, Options(), "prefix")[-1][2] == [(0, 1), (3, 5), (1, 5)]


def test_repeated_events_are_dropped_unless_a_kept_column_differs(shard_of):
    rows = [("u", 1, 5, "x"), ("u", 2, 5, "x"), ("u", 1, 5, "x"), ("u", 1, 5, "y"), ("v", 1, 5, "x"), ("u", 1, 5, "y")]
    histories = Histories.of(shard_of(rows, EVENT))
    assert histories.duplicates == 2
    assert histories.rows_E.tolist() == [0, 1, 3, 4]
    assert Histories.of(shard_of([row[:3] for row in rows])).duplicates == 3


@pytest.mark.parametrize("most", [1, 3, 7])
def test_chunk_size_does_not_change_the_examples(shard_of, most):
    rows = [(f"u{number % 3}", number % 5, number, "x") for number in range(40)]
    whole = made(shard_of, rows, Options(max_history=5), "prefix")
    assert made(shard_of, rows, Options(max_history=5), "prefix", chunk_events=most) == whole


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": "random"}, "unknown split 'random'; there are leave-one-out, by-time"),
        ({"train": "all"}, "unknown kind of training examples 'all'; there are prefix, window, last"),
        ({"train": EVENTS}, "unknown kind of training examples 'events'; there are prefix, window, last"),
        ({"min_history": 0}, "min_history= is at least 1"),
        ({"min_history": 51}, "at most max_history="),
        ({"min_events": 0}, "min_events= is at least 1"),
        ({"cuts": (1, 2)}, "cuts= belong to split='by-time'"),
        ({"split": "by-time"}, "takes two cuts="),
        ({"split": "by-time", "cuts": (1,)}, "takes two cuts="),
        ({"split": "by-time", "cuts": (2, 2)}, "must lie before the second"),
    ],
)
def test_invalid_options_are_refused(options, said):
    with pytest.raises(BadInput, match=said):
        Options(**options)
