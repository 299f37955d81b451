"""Tokenizers of several kinds on the same vectors: a few figures by which to choose one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fuseid.core.protocols import Tokenizer
from fuseid.tokenizers.code_use import code_measures
from fuseid.tokenizers.fidelity import vector_measures
from fuseid.tokenizers.measures import Measure
from fuseid.tokenizers.neighbours import neighbour_measures

_NEIGHBOURS = 10
# Exact neighbours of more items take long and make the figure hardly more precise.
_QUERIES = 2000


@dataclass(frozen=True)
class Figures:
    """r2, recall: of the held-out vectors. normalised_entropy: of their codes, by level. collisions: the share of
    distinct vectors, fitted and held out, whose codes another one has. recall: of the 10 nearest fitted vectors by ID;
    its null is that of the same codes given to other vectors."""

    r2: Measure
    normalised_entropy: tuple[Measure, ...]
    collisions: Measure
    recall: Measure

    def document(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "r2": self.r2.document(),
            "normalised_entropy": [one.document() for one in self.normalised_entropy],
            "collisions": self.collisions.document(),
            "recall": self.recall.document(),
        }


def figures(tokenizer: Tokenizer, fitted_ND: np.ndarray, held_out_MD: np.ndarray | None, seed: int = 0) -> Figures:
    """fitted_ND: float32 [N, D], vectors that the tokenizer was fitted on. held_out_MD: others, [M, D]; None measures
    the first of the fitted ones in their place, which flatters."""
    fitted_NL = tokenizer.encode(fitted_ND)
    own = None
    if held_out_MD is None:
        held_out_MD, held_out_ML = fitted_ND[:_QUERIES], fitted_NL[:_QUERIES]
        own = np.arange(len(held_out_MD))
        every_ND, every_NL = fitted_ND, fitted_NL
    else:
        held_out_ML = tokenizer.encode(held_out_MD)
        every_ND, every_NL = np.concatenate([fitted_ND, held_out_MD]), np.concatenate([fitted_NL, held_out_ML])
    sizes = tokenizer.codebook_sizes
    use = code_measures(held_out_ML, sizes, permutations=0)
    whole = code_measures(every_NL, sizes, shared_with=_equal(every_ND), permutations=0)
    asked = slice(0, _QUERIES)
    near = neighbour_measures(
        held_out_MD[asked], held_out_ML[asked], fitted_ND, fitted_NL, ks=(_NEIGHBOURS,), own_rows=own, permutations=5,
        seed=seed,
    )  # fmt: skip
    kept = vector_measures(held_out_MD, tokenizer.decode, held_out_ML, permutations=0, seed=seed)
    return Figures(
        r2=[one for one in kept if one.name == "r2"][-1],
        normalised_entropy=tuple(_named(use, "normalised_entropy")),
        collisions=_named(whole, "collision_b_distinct")[0],
        recall=_named(near, f"recall@{_NEIGHBOURS}")[0],
    )


def _named(measures: Sequence[Measure], name: str) -> list[Measure]:
    return [one for one in measures if one.name == name]


def _equal(vectors_ND: np.ndarray) -> np.ndarray:
    """int [N]: equal for equal vectors."""
    rows = np.ascontiguousarray(vectors_ND).view(np.dtype((np.void, vectors_ND.itemsize * vectors_ND.shape[1])))
    return np.unique(rows.ravel(), return_inverse=True)[1]
