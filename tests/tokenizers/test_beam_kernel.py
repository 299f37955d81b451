"""The compiled search finds the codes that torch's operations find, whatever the numbers."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.tokenizers import beam_kernel, residual_search
from fuseid.tokenizers.residual_search import ResidualSearch


@pytest.fixture
def counted(monkeypatch):
    """Rows that the compiled search was given, and of these the rows that it left to torch."""
    seen = {"rows": 0, "left": 0}
    search = beam_kernel.search

    def counting(added, *arguments):
        search(added, *arguments)
        seen["rows"] += len(added)
        seen["left"] += int(arguments[-1].sum())

    monkeypatch.setattr(beam_kernel, "search", counting)
    return seen


def codes(monkeypatch, search: ResidualSearch, vectors: np.ndarray, beam: int) -> tuple[np.ndarray, np.ndarray]:
    """-> by torch, compiled."""
    found = []
    for rows in (2**62, -1):
        monkeypatch.setattr(residual_search, "_FEW_ROWS", rows)
        found.append(search.codes(torch.from_numpy(vectors), beam).numpy())
    return found[0], found[1]


def searched(books: list[np.ndarray], prices: list[np.ndarray] | None = None) -> ResidualSearch:
    prices = prices or [np.zeros(len(book)) for book in books]
    return ResidualSearch(*([torch.from_numpy(part.astype(np.float32)) for part in parts] for parts in (books, prices)))


SHAPES = [(256, 256, 256), (256, 256, 256, 256), (64, 1024), (8, 8, 4), (37, 20, 11, 9), (100, 7, 512), (16,) * 6]


@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("beam", [2, 5, 8])
def test_codes_are_those_of_torch(sizes, beam, monkeypatch, counted):
    generator = np.random.default_rng(sum(sizes) + beam)
    books = [generator.normal(size=(size, 24)) / 2**level for level, size in enumerate(sizes)]
    prices = [generator.normal(size=size) / 10 for size in sizes]
    vectors = (1.5 * generator.normal(size=(1100, 24))).astype(np.float32)
    by_torch, compiled = codes(monkeypatch, searched(books, prices), vectors, beam)
    assert counted["rows"] == len(vectors)
    assert counted["left"] < len(vectors) / 20
    assert np.array_equal(compiled, by_torch)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.integers(0, 1000),
    st.lists(st.sampled_from([5, 8, 24, 64, 240]), min_size=2, max_size=4),
    st.integers(2, 5),
    st.integers(1, 3),
)
def test_codes_are_those_of_torch_when_costs_are_equal(seed, sizes, beam, values):
    """Vectors and codes of few small integers: most costs occur several times."""
    generator = np.random.default_rng(seed)
    books = [generator.integers(-values, values + 1, size=(size, 3)) for size in sizes]
    vectors = generator.integers(-values, values + 1, size=(200, 3)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        by_torch, compiled = codes(patch, searched(books), vectors, beam)
    assert np.array_equal(compiled, by_torch)


def test_of_equal_codes_at_the_last_level_the_lowest_is_found_without_torch(monkeypatch, counted):
    generator = np.random.default_rng(3)
    first, last = generator.normal(size=(64, 8)), generator.normal(size=(64, 8)) / 4
    vectors = generator.normal(size=(500, 8)).astype(np.float32)
    by_torch, compiled = codes(monkeypatch, searched([first, np.repeat(last, 4, axis=0)]), vectors, 5)
    assert counted["left"] == 0
    assert np.array_equal(compiled, by_torch)
    assert (compiled[:, 1] % 4 == 0).all()


def test_enormous_numbers_are_left_to_torch(monkeypatch, counted):
    generator = np.random.default_rng(4)
    books = [generator.normal(size=(32, 8)) for _ in range(3)]
    vectors = generator.normal(size=(600, 8)).astype(np.float32)
    vectors[7] *= np.float32(1e37)
    by_torch, compiled = codes(monkeypatch, searched(books), vectors, 5)
    assert counted["rows"] == 600 - 512
    assert np.array_equal(compiled, by_torch)


@pytest.mark.parametrize(("sizes", "beam"), [((32,), 5), ((4, 32), 5), ((32, 32), 9), ((32, 32), 1)])
def test_what_it_does_not_have_is_done_by_torch(sizes, beam, monkeypatch, counted):
    generator = np.random.default_rng(5)
    search = searched([generator.normal(size=(size, 8)) for size in sizes])
    by_torch, compiled = codes(monkeypatch, search, generator.normal(size=(100, 8)).astype(np.float32), beam)
    assert counted["rows"] == 0
    assert np.array_equal(compiled, by_torch)


def test_without_numba_torch_finds_the_codes(monkeypatch, counted):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else found(name))
    generator = np.random.default_rng(6)
    search = searched([generator.normal(size=(32, 8)) for _ in range(3)])
    codes(monkeypatch, search, generator.normal(size=(100, 8)).astype(np.float32), 5)
    assert counted["rows"] == 0


def test_it_is_loaded_when_a_process_has_encoded_many_rows(monkeypatch, counted):
    generator = np.random.default_rng(7)
    search = searched([generator.normal(size=(32, 8)) for _ in range(3)])
    vectors = torch.from_numpy(generator.normal(size=(100, 8)).astype(np.float32))
    monkeypatch.setattr(residual_search, "_done", 0)
    monkeypatch.setattr(residual_search, "_FEW_ROWS", 250)
    for rows in (0, 0, 100, 200):
        search.codes(vectors, 5)
        assert counted["rows"] == rows
