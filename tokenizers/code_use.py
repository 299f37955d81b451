"""How codes are used, and how often items share an ID or a prefix: measures that need only the codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt

import numpy as np

from fuseid.core.errors import BadInput
from fuseid.tokenizers.buckets import Buckets, packed, prefix_buckets, run_starts
from fuseid.tokenizers.estimates import around, checked_codes, null_of
from fuseid.tokenizers.measures import Measure, in_order

# Permuting more codes than this takes long and adds little precision.
_PERMUTED_CODES = 10**8


def code_measures(
    codes_NL: np.ndarray,
    sizes: Sequence[int],
    *,
    shared_with: np.ndarray | None = None,
    permutations: int = 20,
    seed: int = 0,
) -> list[Measure]:
    """Collisions of whole IDs, collisions of prefixes by depth, and the use of codes by level; see DEFINITIONS.

    codes_NL: integers [N, L] within 0..K-1, all items. sizes: K of each level. shared_with: [N], equal for items of
    equal vectors (fingerprints, or group numbers), adds collision_b_distinct. permutations: random draws for the nulls;
    with many items fewer are made, down to 5, because the nulls hardly vary then. Time: as many sorts of N keys.
    Memory: a few arrays of N. Raises BadInput for codes out of range and for lengths that do not match.
    """
    codes_NL = checked_codes(codes_NL, sizes)
    columns = [np.ascontiguousarray(level, dtype=np.min_scalar_type(max(sizes))) for level in codes_NL.T]
    # One generator per group of measures, so that a null does not depend on which other measures are computed.
    moved, copies, uniform = (np.random.default_rng((seed, part)) for part in range(3))
    orders = min(permutations, max(5, _PERMUTED_CODES // codes_NL.size))
    found = _whole_and_prefixes(columns, sizes, orders, moved)
    if shared_with is not None:
        found.append(_distinct(columns, sizes, shared_with, orders, copies))
    for level, (column, size) in enumerate(zip(columns, sizes, strict=True), 1):
        found += _use_of_level(np.bincount(column, minlength=size), level, permutations, uniform)
    return in_order(found)


# --- collisions ---


def _levels_permuted(
    columns: Sequence[np.ndarray], permutations: int, generator: np.random.Generator
) -> Iterator[list[np.ndarray]]:
    """Each level permuted by itself, except the first: only the order relative to it matters. Empty for one level."""
    for _ in range(permutations if len(columns) > 1 else 0):
        yield [columns[0], *(generator.permutation(column) for column in columns[1:])]


def _whole_and_prefixes(
    columns: list[np.ndarray], sizes: Sequence[int], permutations: int, generator: np.random.Generator
) -> list[Measure]:
    depths = prefix_buckets(columns, sizes)
    draws = [prefix_buckets(moved, sizes) for moved in _levels_permuted(columns, permutations, generator)]
    whole, last = depths[-1], [draw[-1] for draw in draws]
    largest = float(whole.sizes[-1])
    found = [
        Measure("collision_a", whole.later, None, *whole.interval(whole.later, whole.sizes - 1),
                *null_of([draw.later for draw in last])),
        Measure("collision_b", whole.sharing, None, *whole.interval(whole.sharing, _shared(whole)),
                *null_of([draw.sharing for draw in last])),
        Measure("largest_bucket", largest, None, None, None, *null_of([float(draw.sizes[-1]) for draw in last])),
    ]  # fmt: skip
    for level, buckets in enumerate(depths, 1):
        moved = [draw[level - 1] for draw in draws] if level > 1 else []
        found.append(
            Measure("prefix_collision", buckets.sharing, level, *buckets.interval(buckets.sharing, _shared(buckets)),
                    *null_of([draw.sharing for draw in moved]))
        )  # fmt: skip
        found.append(
            Measure("prefix_pairs", buckets.pairs, level, *buckets.pairs_interval(),
                    *null_of([draw.pairs for draw in moved]))
        )  # fmt: skip
    return found


def _shared(buckets: Buckets) -> np.ndarray:
    return np.where(buckets.sizes > 1, buckets.sizes, 0)


def _distinct(
    columns: list[np.ndarray],
    sizes: Sequence[int],
    shared_with: np.ndarray,
    permutations: int,
    generator: np.random.Generator,
) -> Measure:
    shared_with = np.asarray(shared_with)
    if shared_with.shape != columns[0].shape:
        raise BadInput(f"shared_with must be [{len(columns[0])}], one for each item, got {list(shared_with.shape)}")
    order = np.argsort(shared_with)
    starts = run_starts(shared_with[order])
    groups, group_of = len(starts), np.empty(len(order), dtype=np.int64)
    group_of[order] = np.repeat(np.arange(groups), np.diff(starts, append=len(order)))
    # One entry for each pair of vector and ID: copies that share an ID count once; a vector may have several IDs.
    entries = packed([*columns, group_of], [*sizes, groups])
    entries.sort()
    entries = entries[run_starts(entries)]
    counts = np.diff(run_starts(entries // groups), append=len(entries))
    colliding = np.zeros(groups, dtype=bool)
    colliding[(entries % groups)[np.repeat(counts > 1, counts)]] = True
    value, buckets = float(colliding.mean()), Buckets.of(counts)
    firsts = np.minimum.reduceat(order, starts)
    few = [column[firsts] for column in columns]
    draws = [prefix_buckets(moved, sizes)[-1].sharing for moved in _levels_permuted(few, permutations, generator)]
    return Measure("collision_b_distinct", value, None, *buckets.interval(value, _shared(buckets)), *null_of(draws))


# --- use of codes ---


def _use_of_level(counts_K: np.ndarray, level: int, permutations: int, generator: np.random.Generator) -> list[Measure]:
    size, items = len(counts_K), int(counts_K.sum())
    draws = [_use(generator.multinomial(items, np.full(size, 1 / size))) for _ in range(permutations)]
    found = []
    for name, (value, error) in _use(counts_K).items():
        top = float(size) if name in ("dead_codes", "perplexity") else 1.0
        low, high = around(value, error, 1.0 if name == "perplexity" else 0.0, top) if items > 1 else (None, None)
        null, null_low, null_high = null_of([draw[name][0] for draw in draws])
        found.append(Measure(name, value, level, low, high, null, null_low, null_high))
    return found


def _use(counts_K: np.ndarray) -> dict[str, tuple[float, float]]:
    """Per metric name: the value and its standard error."""
    size, items = len(counts_K), int(counts_K.sum())
    ordered = np.sort(counts_K)
    occupied = ordered[ordered > 0]
    used, once, twice = len(occupied), int((occupied == 1).sum()), int((occupied == 2).sum())
    possible = min(size, used + once * (once - 1) / 2 / (twice + 1))
    # The first estimate fails if every code is in use, the second if most codes are rare.
    missed = np.exp(-occupied.astype(float))
    unseen = sqrt(max(used * (1 - used / possible), float((missed * (1 - missed)).sum())))
    shares = occupied / items
    surprise = -np.log(shares)
    entropy = max(0.0, float(shares @ surprise))
    error = sqrt(max(0.0, float(shares @ surprise**2) - entropy**2) / items)
    perplexity, most = float(np.exp(entropy)), float(np.log(size))
    return {
        "utilisation": (used / size, unseen / size),
        "dead_codes": (float(size - used), unseen),
        "perplexity": (perplexity, perplexity * error),
        "normalised_entropy": (min(1.0, entropy / most), error / most) if size > 1 else (1.0, 0.0),
        "gini_occupied": _gini(shares, items),
        "gini_all": _gini(ordered / items, items),
    }


def _gini(ordered_shares: np.ndarray, items: int) -> tuple[float, float]:
    count = len(ordered_shares)
    weights = (2 * np.arange(1, count + 1) - count - 1) / count
    gini = max(0.0, float(weights @ ordered_shares))
    return gini, sqrt(max(0.0, float(weights**2 @ ordered_shares) - gini**2) / items)
