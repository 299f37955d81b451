"""Prices of codes and of pairs of codes: what they become for given counts, and that they settle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseid.tokenizers.code_counts import CodeCounts, normalised_entropy
from fuseid.tokenizers.code_pairs import Prices, energies
from fuseid.tokenizers.residual_search import ResidualSearch

SIZES = (3, 4, 2)


def random_prices(seed: int) -> Prices:
    random = np.random.default_rng(seed)
    codes = [torch.from_numpy(random.random(size, np.float32)) for size in SIZES]
    pairs = [torch.from_numpy(random.random((3, 4), np.float32)), torch.from_numpy(random.random((7, 2), np.float32))]
    pairs[0][pairs[0] < 0.5] = 0
    return Prices(codes, pairs)


def counts_of(*codes: tuple[int, ...]) -> CodeCounts:
    return CodeCounts.of(np.array(codes), SIZES)


def test_codes_and_pairs_that_are_used_evenly_keep_the_price_zero():
    even = counts_of(*((one, two, three) for one in range(3) for two in range(4) for three in range(2)))
    none = Prices.none(SIZES, torch.device("cpu"))
    moved = none.moved_codes(even, [1.0] * 4, 0.1).moved_pairs(even, [1.0] * 4, 0.1)
    assert not any(part.any() for part in (*moved.codes, *moved.pairs))


def test_a_price_moves_towards_the_logarithm_of_use_by_a_share_of_the_way():
    counts = counts_of(*[(0, 0, 0)] * 5, (1, 0, 0))
    moved = Prices.none(SIZES, torch.device("cpu")).moved_codes(counts, [10.0, 1.0, 2.0, 1e9], 0.1)
    strength = 0.1 * 10
    target = strength * np.log((np.array([5, 1, 0]) + 1) / (2 + 1))
    assert moved.codes[0].numpy() == pytest.approx(0.008 * 1.0 / strength * target, rel=1e-6)
    # However far apart the codewords are, half of the way is the most.
    assert moved.codes[2].numpy() == pytest.approx(0.5 * strength * np.log(np.array([7, 1]) / 4), rel=1e-6)


def test_only_pairs_that_occur_more_often_than_by_chance_have_a_price():
    counts = counts_of(*[(0, 0, 0)] * 6, *[(1, 1, 1)] * 6)
    (first, _) = Prices.none(SIZES, torch.device("cpu")).moved_pairs(counts, [1.0] * 4, 0.1).pairs
    assert first[0, 0] > 0
    assert first[1, 1] > 0
    assert int((first > 0).sum()) == 2


def test_energies_do_not_depend_on_where_codewords_lie_but_on_how_they_differ():
    counts = counts_of((0, 0, 0), (0, 1, 0), (2, 1, 1))
    books = [torch.randn(size, 5, generator=torch.Generator().manual_seed(size)) for size in SIZES]
    moved = [book + 100 for book in books]
    assert energies(moved, counts, 7.0) == pytest.approx(energies(books, counts, 7.0), rel=1e-3)
    assert energies(books, counts, 7.0)[0] == 7.0
    first = books[0].numpy()
    spread = np.square(first[[0, 0, 2]] - first[[0, 0, 2]].mean(0)).sum(1).mean()
    assert energies(books, counts, 7.0)[1] == pytest.approx(spread, rel=1e-5)


def test_prices_settle_into_even_use_without_swinging():
    random = np.random.default_rng(0)
    # Nine in ten rows lie around one codeword.
    books = [torch.from_numpy(random.standard_normal((8, 4)).astype(np.float32)) for _ in range(2)]
    rows = (
        books[0][np.where(random.random(4000) < 0.9, 0, random.integers(0, 8, 4000))]
        + books[1][random.integers(0, 8, 4000)]
    )
    rows = rows + 0.5 * torch.from_numpy(random.standard_normal(rows.shape).astype(np.float32))
    variance = float(rows.var(0).sum())
    prices, found = Prices.none((8, 8), torch.device("cpu")), []
    for _ in range(8):
        prices = prices.settled(rows, books, 2, 0.3, variance)
        codes = ResidualSearch(books, prices.codes, prices.pairs).codes(rows, 2).numpy()
        found.append(normalised_entropy(CodeCounts.of(codes, (8, 8)).levels[0]))
    before = ResidualSearch(books, Prices.none((8, 8), torch.device("cpu")).codes).codes(rows, 2).numpy()
    assert found[-1] > normalised_entropy(CodeCounts.of(before, (8, 8)).levels[0]) + 0.1
    assert min(np.diff(found)) > -0.01


@given(seed=st.integers(0, 1000))
def test_prices_are_read_as_they_were_written(seed):
    prices = random_prices(seed)
    read = Prices.read(prices.tensors(), SIZES)
    for one, other in zip((*prices.codes, *prices.pairs), (*read.codes, *read.pairs), strict=True):
        assert torch.equal(one, other)


@given(seed=st.integers(0, 1000))
def test_renumbered_codes_keep_their_prices(seed):
    prices, random = random_prices(seed), np.random.default_rng(seed)
    places = [random.permutation(size) for size in SIZES]
    new = prices.permuted(places)
    old = [int(place[0]) for place in places]
    assert [float(part[0]) for part in new.codes] == [
        float(part[code]) for part, code in zip(prices.codes, old, strict=True)
    ]
    assert float(new.pairs[0][0, 0]) == float(prices.pairs[0][old[0], old[1]])
    # The second table has the codes of the first level, then those of the second.
    assert float(new.pairs[1][3, 0]) == float(prices.pairs[1][3 + old[1], old[2]])
