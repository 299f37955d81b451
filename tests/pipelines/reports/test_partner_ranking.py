"""Places of partners equal those by brute force, whatever items are ranked by."""

from __future__ import annotations

import numpy as np
import pytest

from fuseid.encoders.learned_fusion_pairs import Partners
from fuseid.pipelines.reports import partner_ranking
from fuseid.pipelines.reports.partner_ranking import by_chance, by_prefix, by_value, by_vector, placed

COUNT = 40
RNG = np.random.default_rng(3)
# Small whole numbers, so that cosines tie exactly.
VECTORS = np.eye(4, dtype=np.float32)[RNG.integers(0, 4, COUNT)]
CODES = RNG.integers(0, 3, (COUNT, 3)).astype(np.int32)
VALUES = [None if n % 5 == 0 else f"value {n % 3}" for n in range(COUNT)]
LACKING = np.where(np.arange(COUNT)[:, None] % 6 == 1, np.float32(np.nan), VECTORS)


def prefix(a: int, b: int) -> int:
    return next((level for level in range(3) if CODES[a, level] != CODES[b, level]), 3)


def cosine(a: int, b: int) -> float:
    return -2.0 if np.isnan(LACKING[[a, b], 0]).any() else float(LACKING[a] @ LACKING[b])


RANKED = {
    "vectors": (by_vector(3 * VECTORS), lambda a, b: float(VECTORS[a] @ VECTORS[b])),
    "vectors, some absent": (by_vector(LACKING), cosine),
    "codes": (by_prefix(CODES), prefix),
    "values": (by_value(VALUES), lambda a, b: VALUES[a] is not None and VALUES[a] == VALUES[b]),
    "nothing": (by_chance(COUNT), lambda a, b: 0),
}


@pytest.mark.parametrize("name", RANKED)
@pytest.mark.parametrize("at_a_time", [128, 3])
def test_partners_are_placed_among_all_but_the_item_and_its_other_partners(name, at_a_time, monkeypatch):
    monkeypatch.setattr(partner_ranking, "_ANCHORS", at_a_time)
    pairs = np.unique(np.sort(RNG.integers(0, COUNT, (90, 2)), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    both = np.concatenate([pairs, pairs[:, ::-1]])
    partners_of = {item: set(both[both[:, 0] == item, 1].tolist()) for item in range(COUNT)}
    # Partners, and items that are not.
    asked = np.unique(np.concatenate([both[::3], RNG.integers(0, COUNT, (30, 2))]), axis=0)
    asked = asked[asked[:, 0] != asked[:, 1]]
    scores, score = RANKED[name]
    before, same = placed(scores, asked, Partners(pairs.astype(np.int32), COUNT), COUNT)
    for (anchor, partner), above, level in zip(asked.tolist(), before, same, strict=True):
        others = set(range(COUNT)) - partners_of[anchor] - {anchor, partner}
        found = [score(anchor, other) for other in others]
        wanted = score(anchor, partner)
        assert above == sum(each > wanted for each in found)
        assert level == 1 + sum(each == wanted for each in found)
