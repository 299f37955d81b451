"""The metrics of the quality of semantic IDs: formula and source of each, and the form of a result.

N items, L levels, n_b the items of bucket b (the items of one ID, or of one prefix), p_c the share of code c of a level
with K codes, x an item's vector, x_d what the first d codes decode to. Logarithms are natural, except in NDCG.

Two groups of fields accompany a value; they are None if they would have no meaning:
- low, high: a 95% confidence interval. For metrics of codes alone it refers to the mean over catalogues of the same
  size from the same source: these metrics depend on N, so never compare them between catalogues of different size.
  Items are not resampled for these, because the repeated items of a bootstrap would count as collisions.
- null, null_low, null_high: mean and central 95% of the same metric over random codes; `Definition.null` says which.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

Group = Literal["collisions", "code use", "fidelity", "neighbours", "churn"]
Null = Literal["levels permuted", "uniform codes", "IDs permuted"]

NULLS: dict[Null, str] = {
    "levels permuted": "The codes of each level permuted among the items, each level separately: the same use of every "
    "code, but independent levels. None at depth 1, where nothing changes.",
    "uniform codes": "As many codes drawn at random, all K equally likely; permuting items changes nothing here.",
    "IDs permuted": "Whole IDs permuted among the items: the same IDs, without relation to the vectors.",
}


@dataclass(frozen=True)
class Definition:
    """A metric. `by` says what `Measure.level` counts: nothing, single levels, or depths (all levels up to that one).

    unit: a share is within 0..1, a count is an integer (its interval need not be), a number is any number.
    """

    name: str
    title: str
    formula: str
    source: str
    better: Literal["low", "high"]
    unit: Literal["share", "count", "number"]
    group: Group
    by: Literal["whole", "level", "depth"]
    null: Null
    interval: str


@dataclass(frozen=True)
class Measure:
    """One figure. `level` counts from 1; None: for the whole ID. `name` is a Definition's, with k filled in
    (recall@10)."""

    name: str
    value: float
    level: int | None = None
    low: float | None = None
    high: float | None = None
    null: float | None = None
    null_low: float | None = None
    null_high: float | None = None

    def document(self) -> dict[str, Any]:
        """Plain values, ready for JSON, with None for NaN."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


_CLUSTERS = (
    "Ratio estimator with the buckets as clusters (Cochran 1977, 6), as Wilson's interval (1927) of the effective "
    "number of items (Korn and Graubard 1998); conservative for items drawn one by one. At 1: Poisson buckets."
)
_UNSEEN = (
    "Normal; variance of S codes used the greater of S (1 - S / S'), S' codes that could be (Colwell, Mao and Chang "
    "2004; S' by Chao 1984, at most K), and sum_c e^-n_c (1 - e^-n_c), as if each code's items were Poisson."
)
_ENTROPY = "Delta method: variance of H is (sum_c p_c log^2 p_c - H^2) / N (Basharin 1959)."
_GINI = "Delta method: G is linear in the sorted shares, which are multinomial."
_ITEMS = "Percentiles of a bootstrap over items (Efron 1979)."
_QUERIES = "Percentiles of a bootstrap over queries (Efron 1979)."
_WILSON = "Wilson's (1927), as if items were drawn one by one; both tokenizers are taken as given."
_TIES = "ID distance is L minus the longest common prefix; among equal distances the expectation over random order"


def _named(*definitions: Definition) -> dict[str, Definition]:
    return {definition.name: definition for definition in definitions}


DEFINITIONS: dict[str, Definition] = _named(
    Definition(
        "collision_a",
        "Collision rate A: items beyond the first of an ID",
        "1 - distinct IDs / N",
        "LC-Rec (Zheng et al. 2024) and MiniOneRec, both in the RQ-VAE trainer's validation",
        "low", "share", "collisions", "whole", "levels permuted", _CLUSTERS,
    ),
    Definition(
        "collision_b",
        "Collision rate B: items that share their ID",
        "sum of n_b over IDs with n_b > 1, / N",
        "Defined here: the items that need the disambiguating token of TIGER (Rajput et al. 2023, 3.1)",
        "low", "share", "collisions", "whole", "levels permuted", _CLUSTERS,
    ),
    Definition(
        "collision_b_distinct",
        "Collision rate B over distinct vectors",
        "distinct vectors that share an ID with another distinct vector / distinct vectors",
        "Defined here: collision B without items that are copies, which no quantizer can tell apart",
        "low", "share", "collisions", "whole", "levels permuted", _CLUSTERS,
    ),
    Definition(
        "largest_bucket",
        "Items of the most shared ID",
        "max_b n_b",
        "Defined here",
        "low", "count", "collisions", "whole", "levels permuted", "None: a maximum has no simple interval.",
    ),
    Definition(
        "prefix_collision",
        "Items that share their first d codes",
        "sum of n_b over prefixes of d codes with n_b > 1, / N; at depth L it is collision rate B",
        "Defined here, after collision rate B",
        "low", "share", "collisions", "depth", "levels permuted", _CLUSTERS,
    ),
    Definition(
        "prefix_pairs",
        "Chance that two items share their first d codes",
        "sum_b n_b (n_b - 1) / (N (N - 1)) over prefixes of d codes; 0 for one item",
        "Simpson 1949, also for the variance",
        "low", "share", "collisions", "depth", "levels permuted",
        "Normal, variance 4 (sum p^3 - (sum p^2)^2) / N (Simpson 1949).",
    ),
    Definition(
        "utilisation",
        "Codes in use",
        "codes with an item / K",
        "OneRec Technical Report (Kuaishou 2025, 4.4); MiniOneRec",
        "high", "share", "code use", "level", "uniform codes", _UNSEEN,
    ),
    Definition(
        "dead_codes",
        "Codes without an item",
        "K - codes with an item",
        "MiniOneRec (dead-code recovery)",
        "low", "count", "code use", "level", "uniform codes", _UNSEEN,
    ),
    Definition(
        "perplexity",
        "Perplexity: equally used codes with the same entropy",
        "exp(H), H = -sum_c p_c log p_c",
        "VQ-VAE (van den Oord et al. 2017, reference implementation); MiniOneRec",
        "high", "number", "code use", "level", "uniform codes", _ENTROPY,
    ),
    Definition(
        "normalised_entropy",
        "Entropy, relative to the maximum",
        "H / log K; 1 for K = 1",
        "Entropy: OneRec Technical Report (2025, 4.4); normalised: MiniOneRec",
        "high", "share", "code use", "level", "uniform codes", _ENTROPY,
    ),
    Definition(
        "gini_occupied",
        "Gini of the codes in use",
        "sum_i (2 i - m - 1) p_(i) / m, p_(1) <= ... <= p_(m) the shares of the m codes with an item",
        "Gini 1912; in this form Dorfman 1979",
        "low", "share", "code use", "level", "uniform codes", _GINI,
    ),
    Definition(
        "gini_all",
        "Gini of all codes",
        "sum_i (2 i - K - 1) p_(i) / K, p_(1) <= ... <= p_(K) the shares of all codes",
        "Gini 1912; in this form Dorfman 1979",
        "low", "share", "code use", "level", "uniform codes", _GINI,
    ),
    Definition(
        "r2",
        "Variance that the first d codes explain",
        "1 - sum |x - x_d|^2 / sum |x - mean x|^2; if the vectors do not vary, 1 if all x_d equal x, else 0",
        "Coefficient of determination (Wright 1921); without variance as r2_score of scikit-learn",
        "high", "number", "fidelity", "depth", "IDs permuted", _ITEMS,
    ),
    Definition(
        "held_out_r2",
        "Variance that the codes explain of items held out from the fit",
        "r2 of whole IDs over every tenth item of the fit's sample, on which it was not fitted",
        "r2; recorded by the fit",
        "high", "number", "fidelity", "whole", "IDs permuted",
        "Delta method: variance of the mean squared error; the variance of the vectors is taken as given.",
    ),
    Definition(
        "relative_l1",
        "Relative L1 error of the first d codes",
        "sum |x - x_d|_1 / sum |x|_1; if all vectors are 0, 0 if all x_d equal x, else 1",
        "Defined here: the L1 error over the vectors' L1 norm",
        "low", "number", "fidelity", "depth", "IDs permuted", _ITEMS,
    ),
    Definition(
        "cosine",
        "Cosine with what the first d codes decode to",
        "mean of x . x_d / (|x| |x_d|); 1 where both are 0, 0 where one is",
        "Defined here: the mean cosine similarity",
        "high", "number", "fidelity", "depth", "IDs permuted", _ITEMS,
    ),
    Definition(
        "recall@k",
        "Exact neighbours among the k nearest by ID",
        f"mean over queries of |k nearest by ID and by cosine| / k. {_TIES}",
        "Recall as in ANN-Benchmarks (Aumuller et al. 2020); ties by McSherry and Najork 2008",
        "high", "share", "neighbours", "whole", "IDs permuted", _QUERIES,
    ),
    Definition(
        "ndcg@k",
        "NDCG of the k nearest by ID",
        f"mean over queries of DCG / sum_(i<=k) 1 / log2(i + 1), gain 1 for the k nearest by cosine. {_TIES}",
        "Jarvelin and Kekalainen 2002; ties by McSherry and Najork 2008",
        "high", "share", "neighbours", "whole", "IDs permuted", _QUERIES,
    ),
    Definition(
        "lcp_ratio@k",
        "Common prefix of neighbours, relative to any two items",
        "mean longest common prefix of queries with their k nearest by cosine / with all items; 1 for 0 / 0",
        "Defined here",
        "high", "number", "neighbours", "whole", "IDs permuted", _QUERIES,
    ),
    Definition(
        "churn",
        "Items whose first d codes change",
        "items with another prefix of d codes under the second tokenizer / items that have an ID of both",
        "Defined here; by chance 1 - sum_b n_b m_b / N^2, n_b and m_b the items of prefix b before and after",
        "low", "share", "churn", "depth", "IDs permuted", _WILSON,
    ),
    Definition(
        "churn_prefixes",
        "Prefixes of d codes that change",
        "prefixes that less than half of their items keep / prefixes in use under the first tokenizer",
        "Defined here",
        "low", "share", "churn", "depth", "IDs permuted", _WILSON.replace("items were", "prefixes were"),
    ),
    Definition(
        "churn_id",
        "Items whose ID changes",
        "items with another ID, the suffix included / items that have an ID of both",
        "Defined here, after churn",
        "low", "share", "churn", "whole", "IDs permuted", _WILSON,
    ),
)  # fmt: skip


def definition(name: str) -> Definition:
    """The definition of a measure's name; that of `recall@10` is `recall@k`. Raises KeyError for an unknown name."""
    head, at, _ = name.partition("@")
    return DEFINITIONS[head + at + "k" if at else head]


def in_order(measures: list[Measure]) -> list[Measure]:
    """In the order of DEFINITIONS; measures of one definition keep their order."""
    places = {name: place for place, name in enumerate(DEFINITIONS)}
    return sorted(measures, key=lambda measure: places[definition(measure.name).name])
