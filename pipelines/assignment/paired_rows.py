"""What a learned fusion is trained on: the rows of items with pairs and of a sample, and the pairs by row numbers."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

from fuseid.core.errors import BadInput
from fuseid.core.surface import option
from fuseid.pipelines.assignment.fit_rows import FitRows, Joined, any_of
from fuseid.pipelines.engagement.pairs_file import Pairs
from fuseid.pipelines.store.hash_order import content_hashes, lowest
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.streams.key_table import KeyTable

_SHOWN = 3
_NOWHERE = -1


@dataclass(frozen=True)
class KnownPairs:
    """Pairs whose items a table both has. item_I: int64, of each id of the pairs the row id of its item, -1 without
    one. usable_P: bool. unknown: how many ids belong to no item; examples: some of them."""

    item_I: np.ndarray
    usable_P: np.ndarray
    unknown: int
    examples: list[str]

    @classmethod
    def of(cls, uri: str, contents: lance.LanceDataset, where: str, pairs: Pairs) -> KnownPairs:
        """where: the condition for items that count. Raises BadInput if no pair is known."""
        with tempfile.TemporaryDirectory(prefix="fuseid-pairs-") as scratch:
            places = KeyTable(Path(scratch), "ids", values=1)
            places.add(pairs.content_ids, np.arange(len(pairs.content_ids), dtype=np.uint64))
            places.close()
            item_I = np.full(len(pairs.content_ids), _NOWHERE, np.int64)
            for batch in contents.to_batches(columns=["content_id"], filter=where, with_row_id=True):
                found, (place,) = places.find(batch["content_id"])
                item_I[place[found].astype(np.int64)] = batch["_rowid"].to_numpy()[found]
        known_I = item_I != _NOWHERE
        unknown = pairs.content_ids.filter(pa.array(~known_I))
        examples = unknown[:_SHOWN].to_pylist()
        usable_P = known_I[pairs.first_P] & known_I[pairs.second_P]
        if not usable_P.any():
            raise BadInput(
                f"{option('pairs')}: {uri} has both items of no pair: {len(unknown):,} of "
                f"{len(known_I):,} ids are not in it or have no vector, such as {', '.join(map(repr, examples))}"
            )
        return cls(item_I, usable_P, len(unknown), examples)

    def note(self) -> str | None:
        """What was passed over."""
        if not self.unknown:
            return None
        return (
            f"{self.unknown:,} ids of pairs are not in the database or have no vector, such as "
            f"{', '.join(map(repr, self.examples))}; their pairs are left out"
        )


def pair_hashes(pairs: Pairs) -> np.ndarray:
    """uint64 [P], of the two content_ids: what adding items or pairs does not change."""
    hash_I = content_hashes(pairs.content_ids)
    return hash_I[pairs.first_P] ^ hash_I[pairs.second_P]


@dataclass(frozen=True)
class PairedRows:
    """rows: to read; row n is the one with the n-th lowest hash. pairs: int64 [P, 2], of row numbers; weights: float32
    [P]; hashes: of `pair_hashes`."""

    rows: FitRows
    pairs: np.ndarray
    weights: np.ndarray
    hashes: np.ndarray
    known: KnownPairs

    @classmethod
    def of(cls, store: Store, pairs: Pairs, dims: Mapping[str, int], sample: int) -> PairedRows:
        """dims: of the modalities that the fusion knows. sample: how many rows are read beside those of pairs, at
        most. Raises BadInput if no item of a pair is known, or no two of one."""
        contents, where = store.dataset("contents"), any_of(dims)
        known = KnownPairs.of(store.uri, contents, where, pairs)
        item_I, usable_P = known.item_I, known.usable_P
        known_I = item_I != _NOWHERE
        chosen = lowest(contents, sample, where)
        ids = pa.concat_arrays([pairs.content_ids.filter(pa.array(known_I)), chosen["content_id"].combine_chunks()])
        row_ids, first = np.unique(
            np.concatenate([item_I[known_I], chosen["row"].to_numpy().astype(np.int64)]), return_index=True
        )
        rows = FitRows.picked_rows(store, Joined(dims), where, row_ids)
        number = np.empty(len(row_ids), np.int64)
        number[rows.order(ids.take(pa.array(first)))] = np.arange(len(row_ids))
        number_I = np.full(len(item_I), _NOWHERE, np.int64)
        number_I[known_I] = number[np.searchsorted(row_ids, item_I[known_I])]
        ends = [each[usable_P] for each in (pairs.first_P, pairs.second_P)]
        return cls(
            rows, np.stack([number_I[end] for end in ends], axis=1), pairs.weight_P[usable_P],
            pair_hashes(pairs)[usable_P], known,
        )  # fmt: skip
