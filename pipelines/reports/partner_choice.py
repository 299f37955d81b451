"""Which pairs of co-engaged items a report asks for, and among which items their partners are ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput
from fuseid.core.surface import option
from fuseid.encoders.learned_fusion_pairs import Partners, highest_held
from fuseid.pipelines.assignment.paired_rows import KnownPairs, pair_hashes
from fuseid.pipelines.engagement.pairs_file import Pairs
from fuseid.pipelines.engagement.popularity import parts_of
from fuseid.pipelines.reports.items import code_matrix, ids_of, with_vectors
from fuseid.pipelines.store.hash_order import content_hashes, lowest
from fuseid.pipelines.store.pinned_tables import PinnedTables
from fuseid.pipelines.store.rows import table_by_row

# The most pairs that are asked for, and the most items whose neighbours are ranked.
_PAIRS, _ANCHORS = 20_000, 10_000


@dataclass(frozen=True)
class Asked:
    """content_ids, row_ids: of C candidates, in the order of their hashes. codes: of each tokenizer, int32 [C, L].
    asked_E2: int64 [E, 2], candidates' places: an item and a partner of a held-out pair, from either end, sorted.
    partners: by all pairs. parts: for head, middle and tail which candidates are in it, bool [C]. items: of all that
    are in a pair how many each part has. known: the pairs of items of the database. held: how many pairs are held out.
    """

    content_ids: pa.Array
    row_ids: np.ndarray
    codes: list[np.ndarray]
    asked_E2: np.ndarray
    partners: Partners
    parts: dict[str, np.ndarray]
    items: dict[str, int]
    known: KnownPairs
    held: int

    def __len__(self) -> int:
        return len(self.content_ids)

    @classmethod
    def of(
        cls, uri: str, pinned: PinnedTables, pairs: Pairs, tokenizers: Sequence[str], limit: int | None, most: int
    ) -> Asked:
        """limit: up to which hash of `pair_hashes` pairs are held out; None holds out as many as a fit would. most:
        candidates. Raises BadInput if no pair is known, held out and of items with IDs."""
        contents, where = pinned.contents, with_vectors(pinned)
        known = KnownPairs.of(uri, contents, where, pairs)
        hash_P = pair_hashes(pairs)
        highest = highest_held(hash_P[known.usable_P]) if limit is None else limit
        held = np.flatnonzero(known.usable_P & (hash_P <= highest)) if highest >= 0 else np.empty(0, np.int64)
        of_file = f"{known.usable_P.sum():,} pairs of {option('pairs')} are of items of {uri}"
        if not len(held):
            raise BadInput(f"{of_file}, and none is held out from what was learned; give more pairs")
        held = held[np.argsort(hash_P[held], kind="stable")]
        ends_P2 = np.stack([pairs.first_P, pairs.second_P], axis=1)
        used_P2 = ends_P2[held[:_PAIRS]]
        if contents.count_rows(where) > most:
            used_P2 = _of_few_items(used_P2, most // 2)
        content_ids, row_ids = _with_others(pinned, where, pairs, known, np.unique(used_P2), most)
        ids = [ids_of(pinned, content_ids, name) for name in tokenizers]
        there = np.all([one["sid"].combine_chunks().is_valid().to_numpy(zero_copy_only=False) for one in ids], axis=0)
        content_ids, row_ids = content_ids.filter(pa.array(there)), row_ids[there]
        place_I = np.asarray(pc.index_in(pairs.content_ids, value_set=content_ids).fill_null(-1)).astype(np.int64)
        here_P2 = place_I[ends_P2[known.usable_P]]
        partners = Partners(here_P2[(here_P2 >= 0).all(1)].astype(np.int32), len(content_ids))
        asked_P2 = place_I[used_P2]
        asked_P2 = asked_P2[(asked_P2 >= 0).all(1)]
        if not len(asked_P2):
            raise BadInput(f"{of_file}, {len(held):,} of them held out, but none of two items with an ID")
        # Candidates are in the order of their hashes.
        anchors = np.unique(asked_P2)[:_ANCHORS]
        asked_E2 = np.concatenate([asked_P2, asked_P2[:, ::-1]])
        asked_E2 = asked_E2[np.isin(asked_E2[:, 0], anchors)]
        parts = _by_pairs(ends_P2[known.usable_P], pairs.weight_P[known.usable_P], len(place_I))
        masks = {name: np.isin(np.arange(len(content_ids)), place_I[items]) for name, items in parts.items()}
        sizes = {name: len(items) for name, items in parts.items()}
        codes = [np.array(code_matrix(one.filter(pa.array(there))["codes"])) for one in ids]
        asked_E2 = asked_E2[np.lexsort((asked_E2[:, 1], asked_E2[:, 0]))]
        return cls(content_ids, row_ids, codes, asked_E2, partners, masks, sizes, known, len(held))

    def read(self, pinned: PinnedTables, columns: Sequence[str]) -> pa.Table:
        """Columns of the candidates."""
        rows = table_by_row(pinned.contents, sorted(self.row_ids.tolist()), ["content_id", *columns])
        return rows.take(pc.index_in(self.content_ids, value_set=rows["content_id"].combine_chunks()))

    def permuted(self, seed: int) -> np.ndarray:
        """int64 [at most E, 2]: as many partners for each item, and each as often a partner, but those of others."""
        order = np.random.default_rng([seed, len(self)]).permutation(len(self.asked_E2))
        found = np.stack([self.asked_E2[:, 0], self.asked_E2[order, 1]], axis=1)
        place, partner = self.partners.of(np.arange(len(self)))
        known = np.isin(found @ [len(self), 1], place * len(self) + partner)
        return found[(found[:, 0] != found[:, 1]) & ~known]


def _of_few_items(pairs_P2: np.ndarray, most: int) -> np.ndarray:
    """The first pairs, as long as they have at most so many items."""
    _, first = np.unique(pairs_P2, return_index=True)
    return pairs_P2 if len(first) <= most else pairs_P2[: np.sort(first)[most] // 2]


def _with_others(
    pinned: PinnedTables, where: str, pairs: Pairs, known: KnownPairs, ends_I: np.ndarray, most: int
) -> tuple[pa.Array, np.ndarray]:
    """The items of pairs and, up to `most`, those with the lowest hashes -> content_ids and row ids, by hash."""
    others = lowest(pinned.contents, most, where)
    own_rows = known.item_I[ends_I]
    others = others.filter(pa.array(~np.isin(others["row"].to_numpy().astype(np.int64), own_rows)))
    others = others.slice(0, max(0, most - len(ends_I)))
    own_ids = pairs.content_ids.take(pa.array(ends_I))
    content_ids = pa.concat_arrays([own_ids, others["content_id"].combine_chunks()])
    hashes = np.concatenate([content_hashes(own_ids), others["hash"].to_numpy()])
    order = np.argsort(hashes, kind="stable")
    row_ids = np.concatenate([own_rows, others["row"].to_numpy().astype(np.int64)])
    return content_ids.take(pa.array(order)), row_ids[order]


def _by_pairs(pairs_P2: np.ndarray, weight_P: np.ndarray, items: int) -> dict[str, np.ndarray]:
    """Head, middle and tail of the items that are in a pair, by the number of their pairs; of equally many, by their
    weight; of equal weight, in the order of content_id."""
    degree, weight = np.zeros(items, np.int64), np.zeros(items)
    for side in pairs_P2.T:
        degree += np.bincount(side, minlength=items)
        weight += np.bincount(side, weights=weight_P, minlength=items)
    order = np.lexsort((-weight, -degree))
    return parts_of(order[degree[order] > 0])
