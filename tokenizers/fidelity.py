"""How much of the vectors the codes preserve, by depth: R^2, relative L1 error and cosine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fuseid.core.errors import BadInput
from fuseid.tokenizers.estimates import bootstrap, checked_codes, checked_vectors, finite, null_of, ratio
from fuseid.tokenizers.measures import Measure, in_order

# Rows compared at a time: few, so that they stay in the cache.
_BLOCK = 512


def vector_measures(
    vectors_ND: np.ndarray,
    decoded: np.ndarray | Callable[[np.ndarray], np.ndarray],
    codes_NL: np.ndarray,
    *,
    permutations: int = 20,
    seed: int = 0,
) -> list[Measure]:
    """r2, relative_l1 and cosine of depths 1..L; see DEFINITIONS. For a sample of up to some ten thousand items.

    vectors_ND: floats [N, D]. decoded: floats [L, N, D], what the first 1..L codes decode to, or the function from
    codes [N, d] to vectors [N, D] (a tokenizer's `decode`). Raises BadInput for NaN and for lengths that do not match.
    """
    codes_NL = checked_codes(codes_NL)
    vectors_ND = finite(checked_vectors(vectors_ND, len(codes_NL)))
    items, levels = codes_NL.shape
    if not callable(decoded) and len(decoded) != levels:
        raise BadInput(f"decoded vectors of {len(decoded)} depths and codes of {levels} levels do not belong together")
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(items) for _ in range(permutations)]
    centre = vectors_ND.mean(0, dtype=np.float64).astype(np.float32)
    if (vectors_ND == vectors_ND[0]).all():
        # The mean of equal numbers can differ from them in the last digit, which would count as variance.
        centre = vectors_ND[0]
    totals_3N = np.stack(
        [
            np.square(vectors_ND - centre).sum(1, dtype=np.float64),
            np.abs(vectors_ND).sum(1, dtype=np.float64),
            np.ones(items),
        ]
    )
    found, empty = [], np.zeros(3)
    for depth in range(1, levels + 1):
        depth_ND = decoded(codes_NL[:, :depth]) if callable(decoded) else decoded[depth - 1]
        depth_ND = finite(checked_vectors(depth_ND, items, "decoded vectors"), "decoded vectors")
        if depth_ND.shape != vectors_ND.shape:
            raise BadInput(f"vectors of {vectors_ND.shape[1]} numbers decode to {depth_ND.shape[1]}; fit again")
        kept_3N = _compared(vectors_ND, depth_ND)
        values = ratio(kept_3N.sum(1), totals_3N.sum(1), empty)
        intervals = bootstrap(kept_3N, totals_3N, empty, seed)
        nulls = [ratio(_compared(vectors_ND, depth_ND, order).sum(1), totals_3N.sum(1), empty) for order in orders]
        for row, (name, turned) in enumerate((("r2", True), ("relative_l1", False), ("cosine", False))):
            low, high = None, None
            if items > 1:
                low, high = (float(end) for end in (1 - intervals[row][::-1] if turned else intervals[row]))
            draws = [float(1 - null[row] if turned else null[row]) for null in nulls]
            value = float(1 - values[row] if turned else values[row])
            found.append(Measure(name, value, depth, low, high, *null_of(draws)))
    return in_order(found)


def _compared(vectors_ND: np.ndarray, decoded_ND: np.ndarray, order_N: np.ndarray | None = None) -> np.ndarray:
    """Squared error, L1 error and cosine of each item -> float64 [3, N]; row n is compared with decoded row
    order_N[n]."""
    out = np.empty((3, len(vectors_ND)))
    for start in range(0, len(vectors_ND), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = vectors_ND[rows]
        other = decoded_ND[rows] if order_N is None else decoded_ND[order_N[rows]]
        left = block - other
        out[0, rows] = np.einsum("nd,nd->n", left, left)
        out[1, rows] = np.abs(left).sum(1)
        out[2, rows] = _cosines(block, other)
    return out


def _cosines(left_ND: np.ndarray, right_ND: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(left_ND, axis=1) * np.linalg.norm(right_ND, axis=1)
    both_zero = ~left_ND.any(1) & ~right_ND.any(1)
    products = np.einsum("nd,nd->n", left_ND, right_ND)
    return np.where(both_zero, 1.0, np.divide(products, norms, out=np.zeros_like(products), where=norms > 0))
