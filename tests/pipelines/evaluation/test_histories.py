"""Reading exported sequences: histories equal those of a plain loop, and samples are always the same."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.pipelines.evaluation.histories import read_sequences
from fuseid.pipelines.jobs.progress import Lines
from fuseid.pipelines.sequences.options import SPLITS

NAMES = pa.array([f"i{n}" for n in range(8)])
SCHEMA = pa.schema([("user_id", pa.string()), ("split", pa.string()), ("items", pa.list_(pa.string())),
                    ("target", pa.string())])  # fmt: skip


def write(folder, rows, files=1):
    """rows: (user, split, history, target), items by number."""
    folder.mkdir(exist_ok=True)
    for number in range(files):
        part = [
            (user, split, [f"i{n}" for n in items], f"i{target}") for user, split, items, target in rows[number::files]
        ]
        columns = [list(column) for column in zip(*part, strict=True)] or [[]] * 4
        pq.write_table(pa.table(columns, schema=SCHEMA), folder / f"part-{number:05d}.parquet")
    return folder


def read(folder, history=3, train=10_000, valid=10_000, users=10_000):
    return read_sequences(folder, NAMES, history=history, train=train, valid=valid, users=users, progress=Lines())


item = st.integers(0, 7)
histories = st.lists(item, min_size=1, max_size=5)
rows_of = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(SPLITS), histories, item), max_size=20)


@settings(deadline=None, max_examples=40)
@given(rows_of, st.integers(1, 4))
def test_examples_equal_those_in_the_files(tmp_path_factory, rows, history):
    rows = [("a", "train", [0], 1), *rows, ("b", "test", [2, 1], 0)]
    found = read(write(tmp_path_factory.mktemp("s"), rows), history)
    for split in ("train", "valid", "test"):
        wanted = [(user, items[-history:], target) for user, own, items, target in rows if own == split]
        part = getattr(found, split)
        got = [
            (user, [number for number in row if number >= 0], target)
            for user, row, target in zip(part.user_E, part.history_EH.tolist(), part.target_E.tolist(), strict=True)
        ]
        assert got == wanted
        assert part.history_EH.shape == (len(wanted), history)
        assert found.counts[split] == len(wanted)
    train = [(items, target) for _, split, items, target in rows if split == "train"]
    for number in range(8):
        assert found.targets_N[number] == sum(target == number for _, target in train)
        assert found.seen_N[number] == any(number in (*items, target) for items, target in train)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    generator = np.random.default_rng(0)
    rows = [
        (f"u{n % 50}", split, generator.integers(0, 8, 4).tolist(), int(generator.integers(0, 8)))
        for split in ("train", "valid", "test")
        for n in range(400)
    ]
    return write(tmp_path_factory.mktemp("many"), rows, files=3)


def test_draws_are_even_without_repeats_and_always_the_same(many):
    found, again, whole = read(many, train=100, valid=7), read(many, train=100, valid=7), read(many)
    assert (len(found.train), len(found.valid), len(found.test)) == (100, 7, 400)
    assert (found.train.history_EH == again.train.history_EH).all()
    assert (found.targets_N == whole.targets_N).all()
    # A hundred of four hundred rows over fifty users of eight rows each: about two rows of each user.
    counts = np.unique(found.train.user_E, return_counts=True)[1]
    assert len(counts) > 35
    assert counts.max() <= 7


def test_a_limit_of_users_takes_all_examples_of_some_and_fewer_of_them_are_a_part(many):
    ten, five = (set(read(many, users=count).test.user_E) for count in (10, 5))
    assert (len(ten), len(five)) == (10, 5)
    assert five < ten
    assert len(read(many, users=10).test) == 80


def test_unusable_sequences_are_refused_by_name(tmp_path):
    with pytest.raises(BadInput, match="no example of the train split"):
        read(write(tmp_path / "no-train", [("a", "test", [1], 2)]))
    with pytest.raises(BadInput, match="no example of the test split"):
        read(write(tmp_path / "no-test", [("a", "train", [1], 2)]))
    with pytest.raises(BadInput, match="'i9', which has no ID"):
        read(write(tmp_path / "unknown", [("a", "train", [1], 2), ("a", "test", [9], 2)]))
    folder = write(tmp_path / "other", [("a", "train", [1], 2)])
    pq.write_table(pa.table({"x": [1]}), folder / "part-00001.parquet")
    with pytest.raises(BadInput, match="no column user_id"):
        read(folder)
    (folder / "part-00001.parquet").write_bytes(b"no Parquet")
    with pytest.raises(BadInput, match="cannot read"):
        read(folder)
