"""A table of keys on disk answers as a dictionary does, whatever the keys, their batches and their order."""

from __future__ import annotations

import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuseid.pipelines.streams import key_table
from fuseid.pipelines.streams.key_table import KeyHash, KeyTable

# Any text, the empty one, texts that begin alike, and texts longer than the factors that a hash makes at first.
KEYS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.text("ab\0", max_size=4),
    st.builds(lambda end, times: "x" * times + end, st.sampled_from(["", "a", "\0", "日"]), st.integers(0, 5000)),
)


def arrays(keys, cuts):
    """The keys in Arrow arrays of uneven length, some of them slices of larger ones."""
    bounds = [0, *sorted({cut % (len(keys) + 1) for cut in cuts}), len(keys)]
    whole = pa.array(keys, pa.string())
    for number, (start, end) in enumerate(pairwise(bounds)):
        part = whole.slice(start, end - start)
        yield part if number % 2 else pa.array(part.to_pylist(), pa.string())


@pytest.fixture(params=["in memory", "in files"])
def kept(request, monkeypatch):
    if request.param == "in files":
        monkeypatch.setattr(key_table, "_IN_MEMORY", -1)


# Each example makes tables of its own.
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(KEYS, max_size=30, unique=True), st.lists(KEYS, max_size=20), st.lists(st.integers(0, 40), max_size=4))
def test_a_table_finds_what_a_dictionary_finds(kept, keys, others, cuts):
    rng = np.random.default_rng(len(keys))
    numbers = rng.integers(0, 2**64, (2, len(keys)), dtype=np.uint64)
    expected = {key: tuple(numbers[:, i].tolist()) for i, key in enumerate(keys)}
    with tempfile.TemporaryDirectory() as folder:
        table = KeyTable(Path(folder), "keys", values=2)
        at = 0
        for part in arrays(keys, cuts):
            table.add(part, *numbers[:, at : at + len(part)])
            at += len(part)
        assert table.close().count == 0
        assert table.count == len(keys)
        wanted = [*others, *keys[::-1], *keys[:3]]
        for part in arrays(wanted, cuts):
            found, values = table.find(part)
            assert found.tolist() == [key in expected for key in part.to_pylist()]
            assert [*zip(*values.tolist(), strict=True)] == [expected.get(key, (0, 0)) for key in part.to_pylist()]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(KEYS, min_size=1, max_size=20), st.lists(st.integers(0, 40), max_size=4))
def test_keys_that_were_added_more_than_once_are_a_table_of_their_own(kept, keys, cuts):
    with tempfile.TemporaryDirectory() as folder:
        table = KeyTable(Path(folder), "keys")
        for part in arrays(keys, cuts):
            table.add(part)
        repeated = table.close()
        times = Counter(keys)
        assert repeated.count == sum(count > 1 for count in times.values())
        found, _ = repeated.find(pa.array(keys, pa.string()))
        assert found.tolist() == [times[key] > 1 for key in keys]


def test_tables_that_are_written_in_several_pieces_find_all_keys(tmp_path, monkeypatch):
    monkeypatch.setattr(key_table, "_GATHERED", 1000)
    table = KeyTable(tmp_path, "keys", values=1)
    for start in range(0, 20_000, 700):
        numbers = np.arange(start, min(start + 700, 20_000))
        table.add(pa.array([f"item-{number}" for number in numbers]), numbers)
    assert table.close().count == 0
    files = sorted(path for path in tmp_path.iterdir() if "repeated" not in path.name)
    assert len(files) == 64
    assert sum(path.stat().st_size for path in files) == 20_000 * 24
    # Nothing is said about the order of keys, so every partition has its share.
    assert max(path.stat().st_size for path in files) < 2 * 20_000 * 24 / 64
    order = np.random.default_rng(0).permutation(40_000)
    found, values = table.find(pa.array([f"item-{number}" for number in order]))
    assert (found == (order < 20_000)).all()
    assert (values[0] == np.where(order < 20_000, order, 0)).all()


def test_a_key_that_occurs_in_two_pieces_is_found_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(key_table, "_GATHERED", 10)
    table = KeyTable(tmp_path, "keys")
    for start in range(0, 100, 10):
        table.add(pa.array([f"{number}" for number in range(start, start + 10)]))
    table.add(pa.array(["42"]))
    repeated = table.close()
    assert repeated.count == 1
    assert repeated.find(pa.array(["41", "42"]))[0].tolist() == [False, True]


@pytest.mark.parametrize("empty", [pa.array([], pa.string()), pa.array(["a"]).slice(1), pa.nulls(0, pa.string())])
def test_no_keys_at_all(kept, tmp_path, empty):
    table = KeyTable(tmp_path, "keys", values=1)
    table.add(empty, np.empty(0))
    assert (table.count, table.close().count) == (0, 0)
    found, values = table.find(empty)
    assert (found.shape, values.shape) == ((0,), (1, 0))
    found, values = table.find(pa.array(["a", ""]))
    assert (found.tolist(), values.tolist()) == ([False, False], [[0, 0]])


def test_texts_of_the_same_bytes_have_the_same_hash_wherever_they_lie(tmp_path):
    hashed = KeyHash()
    texts = ["", "\0", "\0\0", "a", "a\0", "\0a", "ab", "ba", "日本", "x" * 10_000, "x" * 10_000 + "y"]
    whole = hashed(pa.array(texts))
    assert len({tuple(each) for each in whole.T.tolist()}) == len(texts)
    for start in range(len(texts)):
        for end in range(start, len(texts) + 1):
            assert (hashed(pa.array(texts).slice(start, end - start)) == whole[:, start:end]).all()
            assert (hashed(pa.array(texts[start:end], pa.string())) == whole[:, start:end]).all()


def test_hashes_of_two_tables_differ(tmp_path):
    keys = pa.array([f"{number}" for number in range(50)])
    assert not (KeyHash()(keys) == KeyHash()(keys)).any()


def test_every_bit_of_a_hash_depends_on_a_short_key():
    hashes = KeyHash()(pa.array([chr(number) for number in range(1, 128)]))
    bits = (hashes[..., None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert (bits.mean(1) > 0.2).all()
    assert (bits.mean(1) < 0.8).all()
