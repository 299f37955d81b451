"""The places of items in ranked lists of generated IDs, as arrays; items of one ID share a place."""

from __future__ import annotations

import numpy as np

from fuseid.tokenizers.buckets import bucket_ids


class IdIndex:
    """The IDs of a catalogue, numbered from 0 to G-1. A bucket is all items of one ID: one item, if IDs are unique.

    codes_NM: int [N, M], the codes and the collision digit of each item. of_N: int64 [N]. sizes_G: int64 [G], items.
    """

    def __init__(self, codes_NM: np.ndarray) -> None:
        self.of_N, first_G = bucket_ids(codes_NM)
        self.sizes_G = np.bincount(self.of_N)
        rows = np.ascontiguousarray(codes_NM[first_G], dtype=np.int64)
        self._numbers = {row.tobytes(): number for number, row in enumerate(rows)}

    def find(self, codes_EBM: np.ndarray) -> np.ndarray:
        """int [E, B, M] -> int64 [E, B], -1 for codes that are not an item's ID."""
        rows = np.ascontiguousarray(codes_EBM, dtype=np.int64).reshape(-1, codes_EBM.shape[2])
        found = np.fromiter((self._numbers.get(row.tobytes(), -1) for row in rows), np.int64, len(rows))
        return found.reshape(codes_EBM.shape[:2])


def places(found_EB: np.ndarray, target_E: np.ndarray, sizes_G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place of the target's ID in each list: (items before it, items that share its place), int64 [E] each.

    found_EB: buckets, best first, -1 for codes of no item, which take no place. target_E: the target's bucket. If a
    bucket is listed twice, its first place counts. For a target that is not listed, 0 items share its place.
    """
    before_E, same_E = np.zeros(len(target_E), np.int64), np.zeros(len(target_E), np.int64)
    for row, (found, target) in enumerate(zip(found_EB.tolist(), target_E.tolist(), strict=True)):
        listed = [bucket for bucket in dict.fromkeys(found) if bucket >= 0]
        if target in listed:
            before_E[row] = sizes_G[listed[: listed.index(target)]].sum()
            same_E[row] = sizes_G[target]
    return before_E, same_E


def popularity_places(target_E: np.ndarray, counts_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for the list of all items, ranked by how often each was seen in training; equal counts share a place."""
    ascending = np.sort(counts_N)
    upto = np.searchsorted(ascending, counts_N[target_E], "right")
    return len(counts_N) - upto, upto - np.searchsorted(ascending, counts_N[target_E], "left")
