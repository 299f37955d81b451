"""Counts, sums and products of the sample's vectors, by the pattern of modalities that an item has: all that fusion
learns follows from these. Two passes over blocks of rows, each reduced in block order, so that neither the number of
threads nor that of processes changes a bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from fuseid.core.row_blocks import Block, Blocks
from fuseid.encoders.blocks import unit_rows

# Every fourth row of a pattern is held out, to choose penalties by.
_VALIDATION = 4
LEARNING, HELD_OUT = 0, 1
# Of the products that a block's work returns at a time: more patterns take more passes.
_MOST_BYTES = 192 << 20

Pattern = tuple[str, ...]
"""The modalities that an item has, in the order of fusion."""


def patterns(modalities: Sequence[str]) -> list[Pattern]:
    """Every non-empty subset of `modalities`, the complete one last."""
    return [p for size in range(1, len(modalities) + 1) for p in combinations(modalities, size)]


def present(vectors_ND: np.ndarray) -> np.ndarray:
    """bool [N]: which rows hold a vector; an absent one is NaN."""
    return ~np.isnan(vectors_ND[:, 0])


Part = tuple[int, np.ndarray, np.ndarray]
"""Rows, sums and products as in `Moments`, of one block, the products above the diagonal only."""


@dataclass(frozen=True)
class Moments:
    """Of some rows z, each the joined vectors of the same modalities, [J]. sums: of z, [J]; products: of z z', [J, J];
    float64."""

    rows: int
    sums: torch.Tensor
    products: torch.Tensor

    def add(self, rows: int, sums: torch.Tensor, products: torch.Tensor) -> Moments:
        """Changes the sums in place."""
        return Moments(self.rows + rows, self.sums.add_(sums), self.products.add_(products))


@dataclass(frozen=True)
class SampleMoments:
    """dims: of each modality that occurs, in the order of fusion. counts: the rows that have it. means: float32 [D_m],
    of its unit vectors. by_pattern: moments of the centred unit vectors of the rows that have exactly these modalities,
    those to learn from and those held out; only patterns that occur."""

    dims: dict[str, int]
    counts: dict[str, int]
    means: dict[str, np.ndarray]
    by_pattern: dict[Pattern, tuple[Moments, Moments]]

    @classmethod
    def of(cls, blocks: Blocks, dims: Mapping[str, int], used: Sequence[str]) -> SampleMoments:
        """blocks: rows of all modalities of `dims`, joined in this order, NaN where absent. used: those to consider."""
        columns = {m: slice(int(at[0]), int(at[-1]) + 1) for m in used for at in [columns_of((m,), tuple(dims), dims)]}
        tallies, sums = [], {m: np.zeros(dims[m]) for m in used}
        for tally, added in blocks.map(_Count(columns)):
            tallies.append(tally)
            for m, values in added.items():
                sums[m] += values
        # [blocks] rows of each pattern.
        rows = {p: np.array([tally[_bits(p, used)] for tally in tallies]) for p in patterns(used)}
        rows = {p: each for p, each in rows.items() if each.any()}
        counts = {m: int(sum(each.sum() for p, each in rows.items() if m in p)) for m in used}
        counts = {m: count for m, count in counts.items() if count}
        means = {m: (sums[m] / count).astype(np.float32) for m, count in counts.items()}
        # Patterns begin at different ranks, so that of the rows of many rare patterns a quarter is held out, too.
        ranks = {p: np.cumsum(each) - each + number for number, (p, each) in enumerate(rows.items())}
        by_pattern: dict[Pattern, tuple[Moments, Moments]] = {}
        for group in _groups(tuple(rows), dims):
            work = _Products({m: columns[m] for m in counts}, means, {p: ranks[p] for p in group})
            by_pattern |= _summed(blocks.map(work), group, dims)
        return cls({m: dims[m] for m in counts}, counts, means, by_pattern)

    def scale(self, weights: Mapping[str, float]) -> None:
        """Multiplies each modality's vectors by its weight, in place."""
        for pattern, parts in self.by_pattern.items():
            factors = torch.cat([torch.full((self.dims[m],), weights[m], dtype=torch.float64) for m in pattern])
            for part in parts:
                part.sums.mul_(factors)
                part.products.mul_(factors[:, None]).mul_(factors)

    def rows(self, pattern: Pattern) -> int:
        """Items of exactly this pattern."""
        return sum(part.rows for part in self.by_pattern.get(pattern, ()))

    def exactly(self) -> Iterator[tuple[Pattern, Moments]]:
        """The moments of all rows of each pattern that occurs."""
        for pattern, (learning, held_out) in self.by_pattern.items():
            yield (
                pattern,
                Moments(
                    learning.rows + held_out.rows,
                    learning.sums + held_out.sums,
                    learning.products + held_out.products,
                ),
            )

    def having(self, pattern: Pattern, fold: int) -> Moments:
        """Of the rows of one fold that have at least these modalities, and of these only; in the order of `pattern`."""
        total = _no_rows(pattern, self.dims)
        for occurring, parts in self.by_pattern.items():
            if {*pattern} <= {*occurring}:
                at, part = columns_of(pattern, occurring, self.dims), parts[fold]
                total = total.add(part.rows, part.sums[at], part.products[at[:, None], at])
        return total


def columns_of(pattern: Pattern, joined: Sequence[str], dims: Mapping[str, int]) -> torch.Tensor:
    """int64: where the columns of `pattern` are among those of the modalities `joined`."""
    ends = dict(zip(joined, np.cumsum([dims[m] for m in joined]).tolist(), strict=True))
    return torch.cat([torch.arange(ends[m] - dims[m], ends[m]) for m in pattern])


def _bits(pattern: Pattern, used: Sequence[str]) -> int:
    return sum(1 << number for number, m in enumerate(used) if m in pattern)


def _no_rows(pattern: Pattern, dims: Mapping[str, int]) -> Moments:
    size = sum(dims[m] for m in pattern)
    return Moments(0, torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64))


def _summed(
    found: Iterator[dict[Pattern, tuple[Part, Part]]], group: Sequence[Pattern], dims: Mapping[str, int]
) -> dict[Pattern, tuple[Moments, Moments]]:
    """In block order; the products, which are above the diagonal only, are mirrored."""
    totals = {p: [_no_rows(p, dims), _no_rows(p, dims)] for p in group}
    for of_block in found:
        for pattern, parts in of_block.items():
            for fold, (rows, sums, products) in enumerate(parts):
                added = totals[pattern][fold].add(rows, torch.from_numpy(sums), torch.from_numpy(products))
                totals[pattern][fold] = added
    for learning, held_out in totals.values():
        for total in (learning, held_out):
            total.products.triu_().add_(total.products.triu(1).T)
    return {p: (learning, held_out) for p, (learning, held_out) in totals.items()}


def _groups(every: Sequence[Pattern], dims: Mapping[str, int]) -> list[list[Pattern]]:
    groups: list[list[Pattern]] = []
    room = 0
    for pattern in every:
        size = 2 * 8 * sum(dims[m] for m in pattern) ** 2
        if size > room:
            groups.append([])
            room = _MOST_BYTES
        groups[-1].append(pattern)
        room -= size
    return groups


@dataclass(frozen=True)
class _Count:
    """columns: of each modality in the joined rows. -> (the rows of each pattern by `_bits`, [2^M]; the sum of the unit
    vectors of each modality, float64 [D_m])."""

    columns: dict[str, slice]

    def __call__(self, block: Block) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        tally = np.zeros(1 << len(self.columns), np.int64)
        sums = {m: np.zeros(at.stop - at.start) for m, at in self.columns.items()}
        for chunk in block.chunks():
            rows, which = chunk.numpy(), np.zeros(len(chunk), np.int64)
            for number, (m, at) in enumerate(self.columns.items()):
                there = present(rows[:, at])
                which |= there.astype(np.int64) << number
                sums[m] += unit_rows(rows[there, at]).sum(0, dtype=np.float64)
            tally += np.bincount(which, minlength=len(tally))
        return tally, sums


@dataclass(frozen=True)
class _Products:
    """ranks: for each pattern wanted, the rank of each block's first row among all rows of this pattern. -> for each
    pattern that the block has, of the rows to learn from and of those held out."""

    columns: dict[str, slice]
    means: dict[str, np.ndarray]
    ranks: dict[Pattern, np.ndarray]

    def __call__(self, block: Block) -> dict[Pattern, tuple[Part, Part]]:
        dims = {m: at.stop - at.start for m, at in self.columns.items()}
        ranks = {pattern: int(firsts[block.number]) for pattern, firsts in self.ranks.items()}
        found: dict[Pattern, list[Moments]] = {}
        for chunk in block.chunks():
            rows = chunk.numpy()
            there = {m: present(rows[:, at]) for m, at in self.columns.items()}
            for pattern in self.ranks:
                which = np.flatnonzero(np.all([there[m] == (m in pattern) for m in there], axis=0))
                if not len(which):
                    continue
                folds = found.setdefault(pattern, [_no_rows(pattern, dims), _no_rows(pattern, dims)])
                held_out = (ranks[pattern] + np.arange(len(which))) % _VALIDATION == _VALIDATION - 1
                ranks[pattern] += len(which)
                folds[LEARNING] = self._with(folds[LEARNING], pattern, rows[which[~held_out]])
                folds[HELD_OUT] = self._with(folds[HELD_OUT], pattern, rows[which[held_out]])
        return {pattern: (_part(learning), _part(held_out)) for pattern, (learning, held_out) in found.items()}

    def _with(self, total: Moments, pattern: Pattern, rows: np.ndarray) -> Moments:
        """rows: joined, of this pattern. Changes the sums in place."""
        unit = {m: unit_rows(rows[:, self.columns[m]]).astype(np.float64) - self.means[m] for m in pattern}
        centred = torch.from_numpy(np.concatenate(list(unit.values()), axis=1))
        total.sums.add_(centred.sum(0))
        start = 0
        for values in unit.values():
            end = start + values.shape[1]
            total.products[start:end, start:].addmm_(centred[:, start:end].T, centred[:, start:])
            start = end
        return Moments(total.rows + len(rows), total.sums, total.products)


def _part(moments: Moments) -> Part:
    return moments.rows, moments.sums.numpy(), moments.products.numpy()
