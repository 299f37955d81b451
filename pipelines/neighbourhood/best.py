"""The best rows for many queries, kept exactly while scores arrive in any order: higher scores first, equal ones by the
place of the row."""

from __future__ import annotations

import numpy as np

NO_PLACE = 0xFFFFFFFF
_SIGN, _LOW = np.uint32(1 << 31), np.uint64(NO_PLACE)
# Hits wait until there are so many for each query, or for one of them.
_WAITING, _MOST_WAITING = 0.5, 8


def keys_of(scores: np.ndarray, places: np.ndarray) -> np.ndarray:
    """float32, uint32 of one shape, or shapes that numpy broadcasts -> uint64, larger for a better row: the score, then
    the lower place. No key is 0."""
    bits = (scores + np.float32(0)).view(np.uint32)  # 0.0 for -0.0
    ordered = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return (ordered.astype(np.uint64) << np.uint64(32)) | (_LOW - places.astype(np.uint64))


def scores_of(keys: np.ndarray) -> np.ndarray:
    """uint64 -> float32, minus infinity for 0."""
    ordered = (keys >> np.uint64(32)).astype(np.uint32)
    scores = np.where(ordered & _SIGN, ordered & ~_SIGN, ~ordered).view(np.float32)
    return np.where(keys == 0, np.float32(-np.inf), scores)


def places_of(keys: np.ndarray) -> np.ndarray:
    """uint64 -> uint32, `NO_PLACE` for 0."""
    return (_LOW - (keys & _LOW)).astype(np.uint32)


class Best:
    """The `k` best rows of each of N queries. Memory: some 100 bytes for each of N x k, and the scores of one `add`."""

    def __init__(self, own_N: np.ndarray, k: int) -> None:
        """own_N: uint32, the place of each query itself, which is never among its results; N is below 65,536."""
        self._own_N = own_N
        self._k = k
        self._keys_NK = np.zeros((len(own_N), k), np.uint64)
        self._least_N = np.full(len(own_N), -np.inf, np.float32)
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._waiting_N = np.zeros(len(own_N), np.int64)

    def add(self, queries_M: np.ndarray, scores_MC: np.ndarray, places_C: np.ndarray) -> None:
        """queries_M: int64, which of the queries, none twice. scores_MC: float32, of rows at places_C, uint32; a row is
        added once."""
        hit_MC = scores_MC >= self._least_N[queries_M, None]
        crowded_M = np.flatnonzero(np.count_nonzero(hit_MC, axis=1) > self._k)
        if len(crowded_M):
            keys = keys_of(scores_MC[crowded_M], places_C[None])
            keys[places_C[None] == self._own_N[queries_M[crowded_M], None]] = 0
            self._wait(
                np.repeat(queries_M[crowded_M], self._k),
                np.partition(keys, -self._k, axis=1)[:, -self._k :].reshape(-1),
            )
            hit_MC[crowded_M] = False
        at, column = np.divmod(np.flatnonzero(hit_MC), len(places_C))
        queries, places = queries_M[at], places_C[column]
        other = places != self._own_N[queries]
        self._wait(queries[other], keys_of(scores_MC[at[other], column[other]], places[other]))
        if self._waiting_N.sum() > _WAITING * self._keys_NK.size or self._waiting_N.max() > _MOST_WAITING * self._k:
            self._settle()

    def finish(self) -> np.ndarray:
        """uint64 [N, k]: the keys of the best rows, best first; 0 where there are fewer."""
        self._settle()
        return np.sort(self._keys_NK, axis=1)[:, ::-1]

    def _wait(self, queries: np.ndarray, keys: np.ndarray) -> None:
        self._pending.append((queries.astype(np.uint16), keys))
        self._waiting_N += np.bincount(queries, minlength=len(self._own_N))

    def _settle(self) -> None:
        if not self._pending:
            return
        queries, keys = (np.concatenate(parts) for parts in zip(*self._pending, strict=True))
        order = np.argsort(queries, kind="stable")  # of 16 bits: a radix sort
        queries, starts = queries[order], np.cumsum(self._waiting_N) - self._waiting_N
        new = np.zeros((len(self._own_N), int(self._waiting_N.max())), np.uint64)
        new[queries, np.arange(len(queries)) - starts[queries]] = keys[order]
        joined = np.concatenate([self._keys_NK, new], axis=1)
        self._keys_NK = np.partition(joined, -self._k, axis=1)[:, -self._k :]
        self._least_N = scores_of(self._keys_NK.min(1))
        self._pending.clear()
        self._waiting_N[:] = 0
