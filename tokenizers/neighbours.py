"""Whether items with similar IDs are similar: compares neighbours by ID distance with exact neighbours by cosine.

The distance of two IDs is the number of levels after their longest common prefix. There are only a few such distances,
so most items of a gallery are tied. Scores are the expectation over all orders of tied items (McSherry and Najork
2008): a block of n tied items, h of them exact neighbours, contributes h / n at each rank that it covers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fuseid.core.errors import BadInput, NotReady
from fuseid.tokenizers.buckets import bucket_ids
from fuseid.tokenizers.estimates import bootstrap, checked_codes, checked_vectors, finite, null_of, ratio
from fuseid.tokenizers.measures import Measure, in_order

_BLOCK = 512, 16384


def neighbour_measures(
    vectors_QD: np.ndarray,
    codes_QL: np.ndarray,
    gallery_vectors_ND: np.ndarray,
    gallery_codes_NL: np.ndarray,
    *,
    ks: Sequence[int] = (10, 100),
    own_rows: np.ndarray | None = None,
    permutations: int = 20,
    seed: int = 0,
) -> list[Measure]:
    """recall@k, ndcg@k and lcp_ratio@k for each k; see DEFINITIONS. A k larger than the gallery means all of it.

    own_rows: int [Q], the gallery row of each query itself, which does not count as its neighbour. On equal cosines the
    lower row comes first. Time is that of the product [Q, D] x [D, N], computed block by block. Raises BadInput for
    NaN, for lengths that do not match, and for a gallery without a neighbour.
    """
    codes_QL, gallery_codes_NL = checked_codes(codes_QL), checked_codes(gallery_codes_NL)
    vectors_QD = finite(checked_vectors(vectors_QD, len(codes_QL)))
    gallery_vectors_ND = checked_vectors(gallery_vectors_ND, len(gallery_codes_NL), "gallery vectors")
    own_rows = _checked_own(own_rows, vectors_QD, codes_QL, gallery_vectors_ND, gallery_codes_NL)
    ks = _checked_ks(ks)
    others = len(gallery_codes_NL) - (own_rows is not None)
    if others < 1:
        raise NotReady("neighbours need a gallery of at least one other item; give more items")
    exact_QK = exact_neighbours(vectors_QD, gallery_vectors_ND, min(max(ks), others), own_rows)
    shared = _items_sharing(codes_QL, gallery_codes_NL)
    queries = len(codes_QL)
    scores = _Scores(ks, others)
    found_MQ, over_MQ = scores.of(
        _common_prefix(codes_QL, gallery_codes_NL[exact_QK]), shared[:queries] - (own_rows is not None)
    )
    values = ratio(found_MQ.sum(1), over_MQ.sum(1), scores.empty)
    intervals = bootstrap(found_MQ, over_MQ, scores.empty, seed)
    generator = np.random.default_rng(seed)
    nulls = []
    for _ in range(permutations):
        order = generator.permutation(len(gallery_codes_NL))
        moved = gallery_codes_NL[order]
        asked, sharing = codes_QL, shared[:queries]
        if own_rows is not None:
            asked, sharing = moved[own_rows], shared[queries:][order[own_rows]] - 1
        null_MQ, over = scores.of(_common_prefix(asked, moved[exact_QK]), sharing)
        nulls.append(ratio(null_MQ.sum(1), over.sum(1), scores.empty))
    measures = []
    for row, name in enumerate(scores.names):
        low, high = (None, None) if queries < 2 else (float(end) for end in intervals[row])
        draws = [float(null[row]) for null in nulls]
        measures.append(Measure(name, float(values[row]), None, low, high, *null_of(draws)))
    return in_order(measures)


def exact_neighbours(
    vectors_QD: np.ndarray,
    gallery_vectors_ND: np.ndarray,
    count: int,
    own_rows: np.ndarray | None = None,
    *,
    block: tuple[int, int] = _BLOCK,
) -> np.ndarray:
    """The `count` gallery rows with the largest cosine -> int64 [Q, count], nearest first; zero vectors have cosine 0.

    block: similarities in memory at a time, queries x gallery.
    """
    queries, gallery = block
    out = np.empty((len(vectors_QD), count), dtype=np.int64)
    for first in range(0, len(vectors_QD), queries):
        asked = torch.from_numpy(_unit(vectors_QD[first : first + queries]))
        best = torch.empty(len(asked), 0)
        rows = torch.empty(len(asked), 0, dtype=torch.int64)
        for start in range(0, len(gallery_vectors_ND), gallery):
            part = finite(gallery_vectors_ND[start : start + gallery], "gallery vectors")
            near = asked @ torch.from_numpy(_unit(part)).T
            if own_rows is not None:
                own = torch.from_numpy(own_rows[first : first + len(asked)] - start)
                here = torch.nonzero((own >= 0) & (own < len(part)))[:, 0]
                near[here, own[here]] = -torch.inf
            near, order = _greatest(near, count)
            # Earlier results come first, so that the lower row stays first among equal values.
            best, rows = torch.cat([best, near], 1), torch.cat([rows, order + start], 1)
            best, order = _greatest(best, count)
            rows = rows.gather(1, order)
        out[first : first + len(asked)] = rows.numpy()
    return out


def _greatest(values: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` largest values of each row (or all), largest first; among equal values the lower column first."""
    count = min(count, values.shape[1])
    top, columns = values.topk(count, dim=1)
    least = top[:, -1:]
    # topk may return any of the values that tie for the last places.
    unsure = np.count_nonzero(values.numpy() == least.numpy(), axis=1) > (top == least).sum(1).numpy()
    if unsure.any():
        columns[unsure] = values[unsure].sort(dim=1, descending=True, stable=True).indices[:, :count]
    columns = columns.sort(dim=1).values
    ordered, order = values.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return ordered, columns.gather(1, order)


class _Scores:
    """The three metrics at each k, as numerators and denominators per query: arrays [3 len(ks), Q]."""

    def __init__(self, ks: Sequence[int], others: int) -> None:
        self._ks = [min(k, others) for k in ks]
        self.names = [f"{name}@{k}" for k in ks for name in ("recall", "ndcg", "lcp_ratio")]
        # The value of 0 / 0: if no items share a prefix, neighbours share as much as any two items.
        self.empty = np.array([0.0, 0.0, 1.0] * len(ks))
        self._discounts = np.concatenate(([0.0], np.cumsum(1 / np.log2(np.arange(max(self._ks)) + 2))))
        self._others = others

    def of(self, prefix_QK: np.ndarray, sharing_QL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """prefix_QK: common prefix with the exact neighbours, nearest first; sharing_QL: number of items that share the
        first 1..L codes, without the query itself."""
        queries, levels = sharing_QL.shape
        # Number of items with at least 0..L common levels, which are the ranks where blocks of ties end; the last block
        # starts at rank 0.
        ends = np.concatenate([np.full((queries, 1), self._others), sharing_QL, np.zeros((queries, 1), np.int64)], 1)
        sizes = ends[:, :-1] - ends[:, 1:]
        random = sharing_QL.sum(1) / self._others
        found, over = [], []
        for k in self._ks:
            hits = np.stack([(prefix_QK[:, :k] == depth).sum(1) for depth in range(levels + 1)], 1)
            chance = np.divide(hits, sizes, out=np.zeros(hits.shape), where=sizes > 0)
            ranks = np.minimum(ends, k)
            gains = self._discounts[ranks]
            found += [
                (chance * (ranks[:, :-1] - ranks[:, 1:])).sum(1) / k,
                (chance * (gains[:, :-1] - gains[:, 1:])).sum(1) / self._discounts[k],
                prefix_QK[:, :k].mean(1),
            ]
            over += [np.ones(queries), np.ones(queries), random]
        return np.stack(found), np.stack(over)


def _common_prefix(codes_QL: np.ndarray, others_QKL: np.ndarray) -> np.ndarray:
    """Levels of the longest common prefix -> int64 [Q, K]."""
    return np.cumprod(codes_QL[:, None] == others_QKL, axis=2, dtype=np.int64).sum(2)


def _items_sharing(codes_QL: np.ndarray, gallery_codes_NL: np.ndarray) -> np.ndarray:
    """Number of gallery items that share the first 1..L codes with each query and gallery item -> int64 [Q + N, L]."""
    joined = np.concatenate([codes_QL, gallery_codes_NL])
    out = np.empty(joined.shape, dtype=np.int64)
    for depth in range(1, joined.shape[1] + 1):
        prefix, firsts = bucket_ids(joined[:, :depth])
        counts = np.bincount(prefix[len(codes_QL) :], minlength=len(firsts))
        out[:, depth - 1] = counts[prefix]
    return out


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)


def _checked_ks(ks: Sequence[int]) -> list[int]:
    if not len(ks) or min(ks) < 1 or len(set(ks)) < len(ks):
        raise BadInput(f"ks must be different whole numbers from 1 on, got {list(ks)}")
    return [int(k) for k in ks]


def _checked_own(
    own_rows: np.ndarray | None,
    vectors_QD: np.ndarray,
    codes_QL: np.ndarray,
    gallery_vectors_ND: np.ndarray,
    gallery_codes_NL: np.ndarray,
) -> np.ndarray | None:
    """own_rows as int64. Raises BadInput if queries and gallery do not match."""
    for name, query, item in (
        ("codes of levels", codes_QL, gallery_codes_NL),
        ("vectors of numbers", vectors_QD, gallery_vectors_ND),
    ):
        if query.shape[1] != item.shape[1]:
            what, of = name.split(" of ")
            raise BadInput(f"queries have {what} of {query.shape[1]} {of}, the gallery of {item.shape[1]}")
    if own_rows is None:
        return None
    own_rows = np.asarray(own_rows, dtype=np.int64)
    if own_rows.shape != (len(codes_QL),) or own_rows.min() < 0 or own_rows.max() >= len(gallery_codes_NL):
        raise BadInput(f"own_rows must be [{len(codes_QL)}] rows of a gallery of {len(gallery_codes_NL)}")
    if not np.array_equal(gallery_codes_NL[own_rows], codes_QL):
        raise BadInput("own_rows name gallery items of other codes than their queries'; give each query's own row")
    return own_rows
