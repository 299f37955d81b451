"""Alignment of a new tokenizer to an earlier one: codes are renumbered so that the most items keep their codes.

A permutation per level changes neither what a code decodes to nor which items share one, so R^2 and collisions stay
what they are (Hungarian alignment of semantic IDs: arXiv 2604.13273).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from fuseid.core.errors import BadInput


def permutations(
    earlier_NL: np.ndarray, codes_NM: np.ndarray, codebook_sizes: Sequence[int], seed: int = 0
) -> list[np.ndarray]:
    """The number that each code of the new tokenizer is to have: int32 [K_l] for each of its M levels, a permutation.

    earlier_NL: int [N, L], the codes of N items under the earlier tokenizer. codes_NM: int [N, M], their new ones.
    codebook_sizes: K_l of the new tokenizer. Levels beyond L keep their numbers.

    Level by level, over the items whose codes of the levels before agree, as many as possible keep their code (the
    Hungarian method). Where several permutations keep equally many, one is taken in which most codes have the number
    that they had before the alignment, and the rest follows from `seed`. A code then has either an earlier number that
    an item kept with it, or its own one, or is left over: of these, the one with the most items takes the free number
    that the fewest items had, and so on; `seed` orders equals. Sizes may differ: of a larger earlier codebook only
    the numbers below K_l can be kept, and the numbers beyond a smaller one had no items.

    Raises BadInput for codes of another form, and for new codes outside their codebooks.
    """
    earlier_NL, codes_NM = _checked(earlier_NL, codes_NM, codebook_sizes)
    generator = np.random.default_rng(seed)
    agree_N = np.ones(len(codes_NM), bool)
    found = []
    for level, size in enumerate(codebook_sizes):
        if level >= earlier_NL.shape[1]:
            found.append(np.arange(size, dtype=np.int32))
            continue
        before_N, code_N = earlier_NL[:, level], codes_NM[:, level]
        numbers_K = _matched(before_N[agree_N], code_N[agree_N], size, generator)
        _fill(numbers_K, _used(code_N, size), _used(before_N, size), generator)
        agree_N &= numbers_K[code_N] == before_N
        found.append(numbers_K)
    return found


def renumbered(codes_NL: np.ndarray, numbers: Sequence[np.ndarray]) -> np.ndarray:
    """int [N, L] -> int32 [N, L], with the numbers that `permutations` found."""
    columns = [numbers_K[codes_NL[:, level]] for level, numbers_K in enumerate(numbers)]
    return np.stack(columns, axis=1).astype(np.int32)


def kept(earlier_NL: np.ndarray, codes_NM: np.ndarray) -> list[float]:
    """The share of items that keep their first code, their first two, ..., for as many levels as both have."""
    levels = min(earlier_NL.shape[1], codes_NM.shape[1])
    agree_NL = np.logical_and.accumulate(earlier_NL[:, :levels] == codes_NM[:, :levels], axis=1)
    return agree_NL.mean(0).tolist()


def _matched(before_N: np.ndarray, code_N: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """int32 [K]: for each code the number that it keeps by items, or its own; -1 if it has neither."""
    within = before_N < size
    flat = code_N[within].astype(np.int64) * size + before_N[within]
    counts_KK = np.bincount(flat, minlength=size * size).reshape(size, size)
    # One item weighs more than all numbers that could stay. Integers below 2^53 are exact.
    weights_KK = counts_KK * float(size + 1)
    weights_KK[np.arange(size), np.arange(size)] += 1
    rows, columns = generator.permutation(size), generator.permutation(size)
    picked, places = linear_sum_assignment(weights_KK[np.ix_(rows, columns)], maximize=True)
    numbers_K = np.empty(size, np.int32)
    numbers_K[rows[picked]] = columns[places]
    numbers_K[weights_KK[np.arange(size), numbers_K] == 0] = -1
    return numbers_K


def _fill(numbers_K: np.ndarray, new_K: np.ndarray, old_K: np.ndarray, generator: np.random.Generator) -> None:
    """Gives the codes at -1 the free numbers. new_K, old_K: items of each code, and items that had each number."""
    left = np.flatnonzero(numbers_K < 0)
    free = generator.permutation(np.setdiff1d(np.arange(len(numbers_K)), numbers_K))
    left = generator.permutation(left)
    most_used_first = left[np.argsort(-new_K[left], kind="stable")]
    numbers_K[most_used_first] = free[np.argsort(old_K[free], kind="stable")]


def _used(codes_N: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(codes_N[codes_N < size], minlength=size)


def _checked(
    earlier_NL: np.ndarray, codes_NM: np.ndarray, codebook_sizes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    earlier_NL, codes_NM = np.asarray(earlier_NL), np.asarray(codes_NM)
    for codes in (earlier_NL, codes_NM):
        if codes.ndim != 2 or codes.dtype.kind not in "iu" or not codes.size:
            raise BadInput(f"codes must be integers [N, L] and not empty, got {codes.dtype} {list(codes.shape)}")
    if len(earlier_NL) != len(codes_NM):
        raise BadInput(f"{len(earlier_NL)} items have earlier codes and {len(codes_NM)} new ones; give the same items")
    if codes_NM.shape[1] != len(codebook_sizes):
        raise BadInput(f"codes of {codes_NM.shape[1]} levels do not belong to {len(codebook_sizes)} codebooks")
    if earlier_NL.min() < 0 or codes_NM.min() < 0 or (codes_NM >= np.asarray(codebook_sizes)).any():
        raise BadInput(f"codes must be at least 0, and new ones below {tuple(codebook_sizes)}")
    return earlier_NL, codes_NM
