"""All measures of one tokenizer's IDs, put together: of the codes of every item, and of the vectors of a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fuseid.core.errors import BadInput
from fuseid.tokenizers.code_use import code_measures
from fuseid.tokenizers.estimates import checked_codes
from fuseid.tokenizers.fidelity import vector_measures
from fuseid.tokenizers.measures import DEFINITIONS, NULLS, Definition, Measure, definition
from fuseid.tokenizers.neighbours import neighbour_measures

__all__ = [
    "DEFINITIONS",
    "NULLS",
    "Definition",
    "Measure",
    "code_measures",
    "definition",
    "measures",
    "neighbour_measures",
    "vector_measures",
]


def measures(
    codes_NL: np.ndarray,
    sizes: Sequence[int],
    *,
    shared_with: np.ndarray | None = None,
    sample_rows_S: np.ndarray | None = None,
    sample_vectors_SD: np.ndarray | None = None,
    decode: Callable[[np.ndarray], np.ndarray] | None = None,
    queries: int = 1000,
    ks: Sequence[int] = (10, 100),
    permutations: int = 20,
    seed: int = 0,
) -> list[Measure]:
    """Everything that the given data allow, in the order of DEFINITIONS' groups.

    codes_NL: every item's codes; shared_with: as for `code_measures`. sample_vectors_SD are the vectors of the items
    at sample_rows_S (all items if None), a random sample: with them come the neighbours of `queries` of its items
    among all of it, and with `decode` (a tokenizer's) too the fidelity. Raises BadInput as the three parts do.
    """
    codes_NL = checked_codes(codes_NL, sizes)
    found = code_measures(codes_NL, sizes, shared_with=shared_with, permutations=permutations, seed=seed)
    if sample_vectors_SD is None:
        return found
    rows = np.arange(len(codes_NL)) if sample_rows_S is None else np.asarray(sample_rows_S)
    if len(rows) != len(sample_vectors_SD):
        raise BadInput(f"{len(rows)} sample rows and {len(sample_vectors_SD)} sample vectors do not belong together")
    codes_SL = codes_NL[rows]
    if decode is not None:
        found += vector_measures(sample_vectors_SD, decode, codes_SL, permutations=permutations, seed=seed)
    if len(rows) > 1:
        own = np.sort(np.random.default_rng(seed).permutation(len(rows))[:queries])
        found += neighbour_measures(
            sample_vectors_SD[own], codes_SL[own], sample_vectors_SD, codes_SL,
            ks=ks, own_rows=own, permutations=permutations, seed=seed,
        )  # fmt: skip
    return found
