"""The figures of rankings of partners: hit rate and NDCG in all, and of head, middle and tail, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fuseid.pipelines.reports.partner_choice import Asked
from fuseid.tokenizers.estimates import bootstrap
from fuseid.tokenizers.ranks import ndcg, recall

NEAREST = 10
HIT = f"hit@{NEAREST}"
MEASURES = {HIT: recall, f"ndcg@{NEAREST}": ndcg}
ALL = "all"


@dataclass(frozen=True)
class Name:
    """kind: `ids`, `learned`, `linear`, `modality`, `attribute` or `chance`. by: `id`, `vector`, `value` or `chance`.
    of: the tokenizer, fusion, modality or attribute. like: the tokenizer whose settings the IDs of a linear fusion
    have. permuted: whether partners of other items are ranked."""

    kind: str
    by: str
    of: str | None = None
    like: str | None = None
    permuted: bool = False

    def of_permuted(self) -> Name:
        return replace(self, permuted=True)


@dataclass(frozen=True)
class Placed:
    """asked_E2, before_E, same_E: see `partner_ranking.placed`. reference: with which ranking it is compared. reason:
    why there are no places."""

    name: Name
    asked_E2: np.ndarray
    before_E: np.ndarray
    same_E: np.ndarray
    reference: Name | None = None
    reason: str | None = None

    @classmethod
    def without(cls, name: Name, reason: str) -> Placed:
        nothing = np.empty(0, np.int64)
        return cls(name, np.empty((0, 2), np.int64), nothing, nothing, reason=reason)


def figures(every: Sequence[Placed], asked: Asked, seed: int) -> dict[str, Any]:
    """`parts`: {"part", "items" that are in a pair, "asked"} for all, head, middle and tail, by the partner. `rows`:
    the name of each ranking, its `figures` by part, and `times`, its hit rate divided by that of its reference; each
    with its 95% interval by resampling the items whose neighbours are ranked (Efron 1979), the same for all."""
    anchors = np.unique(asked.asked_E2[:, 0])
    items = {ALL: sum(asked.items.values()), **asked.items}
    rows: list[dict[str, Any]] = [
        {**asdict(one.name), "reason": one.reason, "figures": [], "times": None} for one in every
    ]
    parts = []
    for part, mask in {ALL: np.ones(len(asked), bool), **asked.parts}.items():
        parts.append({"part": part, "items": items[part], "asked": int(mask[asked.asked_E2[:, 1]].sum())})
        sums = {one.name: _sums(one, mask, anchors) for one in every}
        ratios: list[_Ratio] = []
        for one, row in zip(every, rows, strict=True):
            *values, counts = sums[one.name]
            if not counts.any():
                continue
            figure = {"part": part, "asked": int(counts.sum())}
            row["figures"].append(figure)
            ratios += [(figure, name, own, counts) for name, own in zip(MEASURES, values, strict=True)]
            if part == ALL and one.reference in sums and sums[one.reference][0].any():
                ratios.append((row, "times", values[0], sums[one.reference][0]))
        _estimate(ratios, seed)
    return {"parts": parts, "rows": rows}


# Where an estimate is put, under which key; of each anchor the numerator and the denominator.
_Ratio = tuple[dict[str, Any], str, np.ndarray, np.ndarray]


def _sums(one: Placed, mask: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """float64 [measures + 1, A]: of each anchor the sums of measures over its partners in a part, and their number."""
    here = mask[one.asked_E2[:, 1]]
    at = np.searchsorted(anchors, one.asked_E2[here, 0])
    places = one.before_E[here], one.same_E[here]
    values = [*(measure(*places, NEAREST) for measure in MEASURES.values()), np.ones(len(at))]
    return np.stack([np.bincount(at, weights=each, minlength=len(anchors)) for each in values])


def _estimate(ratios: Sequence[_Ratio], seed: int) -> None:
    """Puts {"value", "low", "high"} of each ratio of sums in its place."""
    if not ratios:
        return
    above, below = np.stack([one[2] for one in ratios]), np.stack([one[3] for one in ratios])
    ends = bootstrap(above, below, np.zeros(len(ratios)), seed)
    values = above.sum(1) / below.sum(1)
    for (where, key, *_), value, (low, high) in zip(ratios, values.tolist(), ends.tolist(), strict=True):
        known = low == low
        where[key] = {"value": value, "low": low if known else None, "high": high if known else None}
