"""A trie of semantic IDs in flat arrays: built by one sort, memory-mapped, extended and filtered without a rebuild."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from fuseid.core.errors import BadInput, unusable
from fuseid.core.reasons import reason
from fuseid.tokenizers.buckets import packed

FORMAT = 1
_FACTS = "trie.json"
_MOST = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Trie:
    """IDs of M codes as compressed sparse rows, one matrix per depth; nodes are numbered in the order of their codes.

    offsets: M + 1 arrays int32; node n at depth d, 0 for the root, has the entries offsets[d][n] to offsets[d][n + 1].
    entries: M + 1 arrays. At depth d < M they are codes, int32, ascending within a node; entry e is node e of depth
    d + 1, so no array of children is needed. At depth M they are the items of each ID, int64, ascending: numbers given
    by the caller. If the last code is the collision suffix, an ID has one item, otherwise it may have several.
    alive: None, or for a view a bool per entry; a node is alive if an item below it is.
    tokenizer_id: the tokenizer of the IDs, if known.
    """

    offsets: tuple[np.ndarray, ...]
    entries: tuple[np.ndarray, ...]
    tokenizer_id: str | None = None
    alive: tuple[np.ndarray, ...] | None = None

    @classmethod
    def build(cls, codes_NM: np.ndarray, items_N: np.ndarray | None = None, tokenizer_id: str | None = None) -> Trie:
        """Rows may be in any order; equal rows are one ID of several items.

        codes_NM: int [N, M]; the suffix, if any, is the last column, 0 for no suffix. items_N: int [N], by default the
        row numbers. Raises BadInput for invalid shapes and codes, and for an item that occurs twice.
        """
        codes_NM, items_N = _checked(codes_NM, items_N)
        rows, levels = codes_NM.shape
        sizes = (codes_NM.max(0, initial=0).astype(np.int64) + 1).tolist()
        order = np.lexsort((items_N, packed(list(codes_NM.T), sizes)))
        codes_NM, items_N = codes_NM[order], items_N[order]
        first = np.zeros(rows, bool)
        first[:1] = True
        starts, offsets, entries = np.zeros(1, np.int64), [], []
        for level in range(levels):
            first[1:] |= codes_NM[1:, level] != codes_NM[:-1, level]
            here = np.flatnonzero(first)
            offsets.append(np.append(np.searchsorted(here, starts), len(here)).astype(np.int32))
            entries.append(codes_NM[here, level])
            starts = here
        offsets.append(np.append(starts, rows).astype(np.int32))
        return cls(tuple(offsets), (*entries, items_N), tokenizer_id)

    @property
    def levels(self) -> int:
        """M, the codes of an ID."""
        return len(self.offsets) - 1

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (*self.offsets, *self.entries, *(self.alive or ())))

    @cached_property
    def item_count(self) -> int:
        return len(self.entries[-1]) if self.alive is None else int(self.alive[-1].sum())

    @cached_property
    def id_count(self) -> int:
        return len(self.entries[-2]) if self.alive is None else int(self.alive[-2].sum())

    # Content

    def items(self, codes: Sequence[int] | np.ndarray) -> np.ndarray:
        """int64: the items of an ID, or for fewer codes than M, of all IDs with this prefix; ordered by ID, then
        number.

        Empty if there are none. Raises BadInput for more codes than M.
        """
        prefix = np.asarray(codes, np.int64).reshape(-1)
        if len(prefix) > self.levels:
            raise BadInput(f"IDs of this trie have {self.levels} codes, got {prefix.tolist()}")
        [low], [high] = self._spans(prefix[None])
        found = np.array(self.entries[-1][low:high])
        return found if self.alive is None else found[self.alive[-1][low:high]]

    def spans(self, codes_BM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 [B] each: the items of a row, a complete ID or a prefix, are those from `low` to `high` of `rows`;
        equal for a row that the trie lacks. A view has to be compact."""
        if self.alive is not None:
            raise ValueError("hidden items have positions too: spans are those of a compact trie")
        return self._spans(np.asarray(codes_BM, np.int64))

    def has(self, codes_BM: np.ndarray) -> np.ndarray:
        """bool [B]: whether the trie contains the rows, which are complete IDs or prefixes of one length."""
        return self._walk(np.asarray(codes_BM, np.int64)) >= 0

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """-> (codes int32 [N, M], items int64 [N]), sorted; `build` makes the same trie from them."""
        columns, nodes = [], np.arange(len(self.offsets[-1]) - 1)
        nodes = np.repeat(nodes, np.diff(self.offsets[-1]))
        if self.alive is not None:
            nodes = nodes[self.alive[-1]]
        for depth in range(self.levels, 0, -1):
            columns.append(self.entries[depth - 1][nodes])
            nodes = np.searchsorted(self.offsets[depth - 1], nodes, "right") - 1
        items = self.entries[-1] if self.alive is None else self.entries[-1][self.alive[-1]]
        return np.stack(columns[::-1], 1).astype(np.int32, copy=False), np.array(items)

    # Derived tries

    def filtered(self, keep: np.ndarray) -> Trie:
        """A view of some items: the same arrays and a mask over the nodes.

        keep: bool, by item number; or int, the numbers of the items to keep, of which this trie may lack some.
        Raises BadInput for a mask that is shorter than the largest item number needs.
        """
        keep, items = np.asarray(keep), self.entries[-1]
        if keep.ndim != 1 or keep.dtype.kind not in "biu":
            raise BadInput(f"a filter is a mask over items or a list of them, got {keep.dtype} {list(keep.shape)}")
        if keep.dtype.kind == "b":
            if len(items) and len(keep) <= items.max():
                raise BadInput(f"the mask ends at item {len(keep) - 1}, the trie has item {items.max()}")
            kept = keep[items]
        else:
            kept = np.isin(items, keep)
        return self._view(kept)

    def add(self, codes_NM: np.ndarray, items_N: np.ndarray) -> Trie:
        """A trie with these items added, equal to `build` on all items; costs a search per item and one copy of the
        arrays.

        Raises BadInput like `build`, and for an item that the trie already has. Of a view, hidden items are dropped.
        """
        codes_NM, items_N = _checked(codes_NM, items_N)
        if codes_NM.shape[1] != self.levels:
            raise BadInput(f"IDs of this trie have {self.levels} codes, got rows of {codes_NM.shape[1]}")
        base = self.compact()
        if (again := np.isin(items_N, base.entries[-1])).any():
            raise BadInput(f"item {items_N[again][0]} is in the trie already; remove it first")
        if len(base.entries[-1]) + len(items_N) > _MOST:
            raise BadInput(f"a trie holds at most {_MOST} items")
        new = Trie.build(codes_NM, items_N)
        # For each node of the new trie: the equal old node (`same`), or else the old node that it comes before.
        same, before = np.ones(1, bool), np.zeros(1, np.int64)
        node_of = before
        offsets, entries = [], []
        for depth in range(self.levels + 1):
            old_offsets, old_entries = base.offsets[depth], base.entries[depth]
            parents = np.repeat(np.arange(len(same)), np.diff(new.offsets[depth]))
            at, found = _search(old_offsets, old_entries, before[parents], same[parents], new.entries[depth])
            entries.append(np.insert(old_entries, at[~found], new.entries[depth][~found]))
            counts = np.insert(np.diff(old_offsets), before[~same], 0)
            np.add.at(counts, node_of[parents[~found]], 1)
            offsets.append(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
            # Each new entry shifts the old ones after it by one.
            added = np.cumsum(~found)
            node_of = at + np.where(found, added, added - 1)
            same, before = found, at
        return Trie(tuple(offsets), tuple(entries), self.tokenizer_id)

    def remove(self, items_N: np.ndarray) -> Trie:
        """A trie without these items. Raises BadInput for an item that the trie lacks."""
        items_N = np.asarray(items_N, np.int64)
        here = self.entries[-1] if self.alive is None else self.entries[-1][self.alive[-1]]
        if (unknown := ~np.isin(items_N, here)).any():
            raise BadInput(f"item {items_N[unknown][0]} is not in the trie")
        return self._view(~np.isin(self.entries[-1], items_N)).compact()

    def compact(self) -> Trie:
        """A view copied to a trie without hidden items; any other trie is returned unchanged."""
        if self.alive is None:
            return self
        offsets, entries, nodes = [], [], np.ones(1, bool)
        for depth, alive in enumerate(self.alive):
            ends = np.concatenate([[0], np.cumsum(alive)])[self.offsets[depth]]
            offsets.append(np.concatenate([[0], np.cumsum(np.diff(ends)[nodes])]).astype(np.int32))
            entries.append(self.entries[depth][alive])
            nodes = alive
        return Trie(tuple(offsets), tuple(entries), self.tokenizer_id)

    # Files

    def save(self, folder: Path) -> None:
        """Writes `.npy` files and `trie.json` into `folder`, which is created. Raises BadInput for a trie without
        items."""
        trie = self.compact()
        if not trie.item_count:
            raise BadInput("a trie of no item is not saved: nothing could be generated with it")
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in zip(_names(trie.levels), (*trie.offsets, *trie.entries), strict=True):
            np.save(folder / name, array, allow_pickle=False)
        facts = {"format": FORMAT, "levels": trie.levels, "tokenizer_id": trie.tokenizer_id}
        (folder / _FACTS).write_text(json.dumps(facts, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Trie:
        """A saved trie, memory-mapped: only what is used is read. `check` reads all of it.

        Raises BadInput for files that are missing or do not belong to one trie.
        """
        try:
            facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
            if facts["format"] != FORMAT or not 0 < (levels := int(facts["levels"])) < 100:
                raise ValueError(f"it is of format {facts['format']!r}, with {facts['levels']!r} levels")
            arrays = [np.lib.format.open_memmap(folder / name, mode="r") for name in _names(levels)]
        except (OSError, ValueError, KeyError, TypeError, RecursionError, EOFError) as error:
            raise unusable(f"cannot open the trie in {folder}: {reason(error)}", error) from None
        trie = cls(tuple(arrays[: levels + 1]), tuple(arrays[levels + 1 :]), facts.get("tokenizer_id"))
        nodes = 1
        for depth, (offsets, entries) in enumerate(zip(trie.offsets, trie.entries, strict=True)):
            dtype = np.int64 if depth == levels else np.int32
            kinds = offsets.dtype == np.int32 and entries.dtype == dtype and offsets.ndim == entries.ndim == 1
            if not (kinds and len(offsets) == nodes + 1 and offsets[0] == 0 and offsets[-1] == len(entries) > 0):
                raise BadInput(f"{folder} holds no trie: its arrays of depth {depth} do not fit; export it again")
            nodes = len(entries)
        return trie

    def check(self) -> None:
        """Raises BadInput if a node is empty, or its entries are negative or not ascending."""
        for depth, (offsets, entries) in enumerate(zip(self.offsets, self.entries, strict=True)):
            inside = np.ones(len(entries), bool)
            empty = np.diff(offsets) < (1 if len(entries) else 0)
            if not empty.any():
                inside[offsets[:-1][: len(entries)]] = False
            if empty.any() or (len(entries) and entries.min() < 0) or (np.diff(entries)[inside[1:]] <= 0).any():
                raise BadInput(f"the trie is damaged: its entries of depth {depth} are not sorted; export it again")

    # Internal

    def _view(self, kept: np.ndarray) -> Trie:
        """kept: bool, by position among the items."""
        alive = [kept if self.alive is None else kept & self.alive[-1]]
        for offsets in self.offsets[:0:-1]:
            counts = np.concatenate([[0], np.cumsum(alive[-1])])[offsets]
            alive.append(counts[1:] > counts[:-1])
        return replace(self, alive=tuple(alive[::-1]))

    def _spans(self, codes_BM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 [B] each: from where to where the items of each row are among `entries[-1]`."""
        nodes = self._walk(codes_BM)
        low, high = np.maximum(nodes, 0), nodes + 1
        for offsets in self.offsets[codes_BM.shape[1] :]:
            low, high = offsets[low].astype(np.int64), offsets[high].astype(np.int64)
        return low, np.where(nodes < 0, low, high)

    def _walk(self, codes_BM: np.ndarray) -> np.ndarray:
        """int64 [B]: the node that each row of codes leads to, -1 if it does not exist."""
        if codes_BM.ndim != 2 or codes_BM.shape[1] > self.levels:
            raise BadInput(f"IDs of this trie are rows of {self.levels} codes, got an array of {list(codes_BM.shape)}")
        nodes = np.zeros(len(codes_BM), np.int64)
        for depth in range(codes_BM.shape[1]):
            offsets, entries = self.offsets[depth], self.entries[depth]
            at, found = _search(offsets, entries, np.maximum(nodes, 0), nodes >= 0, codes_BM[:, depth])
            if self.alive is not None:
                found[found] = self.alive[depth][at[found]]
            nodes = np.where(found, at, -1)
        return nodes


def _checked(codes_NM: np.ndarray, items_N: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    codes_NM = np.asarray(codes_NM)
    if codes_NM.ndim != 2 or not codes_NM.shape[1]:
        raise BadInput(f"codes are rows of one or more levels, got an array of {list(codes_NM.shape)}")
    items_N = np.arange(len(codes_NM)) if items_N is None else np.asarray(items_N)
    if items_N.shape != (len(codes_NM),):
        raise BadInput(f"{len(codes_NM)} IDs take as many items, got an array of {list(items_N.shape)}")
    if len(codes_NM) > _MOST:
        raise BadInput(f"a trie holds at most {_MOST} items, got {len(codes_NM)}")
    for name, array, most in (("codes", codes_NM, _MOST - 1), ("items", items_N, 2**63 - 1)):
        if array.size and array.dtype.kind not in "iu":
            raise BadInput(f"{name} are integers, got {array.dtype}")
        if array.size and not (int(array.min()) >= 0 and int(array.max()) <= most):
            raise BadInput(f"{name} are from 0 to {most}, got {array.min()} to {array.max()}")
    items_N = items_N.astype(np.int64, copy=False)
    ordered = np.sort(items_N)
    if (twice := ordered[1:] == ordered[:-1]).any():
        raise BadInput(f"item {ordered[1:][twice][0]} occurs twice; an item has one ID")
    return codes_NM.astype(np.int32, copy=False), items_N


def _search(
    offsets: np.ndarray, entries: np.ndarray, nodes: np.ndarray, exists: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """-> (int64 [B], the position of each wanted entry among those of its node, or where it would be inserted; bool
    [B], whether it was found).

    exists: False for a node that does not exist; it would be inserted before the node of that number.
    """
    low = offsets[nodes].astype(np.int64)
    end = np.where(exists, offsets[np.minimum(nodes + 1, len(offsets) - 1)], low)
    high = end.copy()
    while (left := np.flatnonzero(low < high)).size:
        middle = (low[left] + high[left]) // 2
        below = entries[middle] < wanted[left]
        low[left[below]] = middle[below] + 1
        high[left[~below]] = middle[~below]
    found = low < end
    found[found] = entries[low[found]] == wanted[found]
    return low, found


def _names(levels: int) -> list[str]:
    depths = range(levels + 1)
    codes = [f"codes-{depth}.npy" for depth in range(levels)]
    return [*(f"offsets-{depth}.npy" for depth in depths), *codes, "items.npy"]
