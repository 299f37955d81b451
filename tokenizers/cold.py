"""Cold items, those that a model never saw in training, in the lists that it generates.

A model gives almost no probability to codes that never followed each other in training, so that a beam search among all
items finds items of the training data alone. The IDs themselves say which cold items are like those of a user's
history: they begin with the same codes. Some places of each list are offered to them. Rajput et al. 2023 (TIGER, 5.2)
fill such places with the items that share codes with a generated ID instead; docs/benchmarks/cold.md compares the two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fuseid.core.errors import BadInput
from fuseid.tokenizers.trie import Trie

# A share is a decimal fraction, which binary numbers only approximate.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Neighbours:
    """items: item numbers of the trie, best first. shared: how many leading codes each has in common with an item of
    the history, descending."""

    items: list[int]
    shared: list[int]

    def sharing(self, codes: int) -> list[int]:
        """The items that share at least so many codes."""
        return [item for item, shared in zip(self.items, self.shared, strict=True) if shared >= codes]


def cold_neighbours(
    cold: Trie,
    histories: Sequence[np.ndarray],
    count: int,
    codes: int = 2,
    known: Sequence[Collection[int]] | None = None,
) -> list[Neighbours]:
    """For each history at most `count` items of `cold` that share at least `codes` leading codes with one of its items:
    first those that share most; of those that share as many, first those that share them with a newer item, then in
    the order of their IDs.

    cold: a trie of the cold items; a filtered one is copied by each call, so `compact` it before many of them.
    histories: int [H, M] each, the IDs of the user's items, oldest first; M may be less than the levels of the trie.
    known: for each history, item numbers that are passed over, such as the user's own. Raises BadInput for fewer than
    one code.
    """
    if codes < 1:
        raise BadInput(f"items share 1 or more codes with a history, got {codes}")
    cold = cold.compact()
    if not (cold.item_count and histories):
        return [Neighbours([], []) for _ in histories]
    items = cold.entries[-1]
    ends = np.cumsum([0, *map(len, histories)]).tolist()
    flat_TM = np.concatenate([np.asarray(history, np.int64) for history in histories])
    depths = range(min(flat_TM.shape[1], cold.levels), codes - 1, -1)
    spans = {depth: [bound.tolist() for bound in cold.spans(flat_TM[:, :depth])] for depth in depths}

    def places(start: int, end: int) -> Iterator[tuple[int, int]]:
        """(place among the items, codes shared), best first; a place comes again with fewer codes."""
        for depth, (low, high) in spans.items():
            for row in range(end - 1, start - 1, -1):
                yield from ((place, depth) for place in range(low[row], high[row]))

    found = []
    for number in range(len(histories)):
        shared: dict[int, int] = {}
        own = frozenset(known[number]) if known is not None else frozenset()
        for place, depth in places(ends[number], ends[number + 1]):
            if len(shared) == count:
                break
            if (item := int(items[place])) not in own:
                shared.setdefault(item, depth)
        found.append(Neighbours(list(shared), list(shared.values())))
    return found


def beside(listed: Sequence[int], cold: Sequence[int], share: float) -> list[int]:
    """A list as long as `listed`, in which cold items have their places: at most the share of the first k places, for
    every k. With a share of 0.2 that is every fifth place, as long as there are cold items; the others move down. An
    item has one place, the first that it gets. Raises BadInput for a share outside 0 to 1."""
    check_share(share)
    places: dict[int, None] = {}
    waiting, used = iter(cold), 0
    for one in listed:
        while used + 1 <= share * (len(places) + 1) + _ROUNDING:
            new = next((item for item in waiting if item not in places), None)
            if new is None:
                break
            places[new] = None
            used += 1
        places.setdefault(one)
    return list(places)[: len(listed)]


def check_share(share: float) -> None:
    """Raises BadInput for a share outside 0 to 1."""
    if not 0 <= share <= 1:
        raise BadInput(f"the share of cold items is a number from 0 to 1, got {share:g}")
