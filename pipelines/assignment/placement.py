"""Placement: which of the codes near an item become its ID, by the collision policy, in one serial pass over new items.

Items whose bucket has room come first, bucket by bucket, in hash partitions of the codes. Under `reassign` the others
follow in the order of content_id, in chunks; each chunk sees all IDs that were given before it. Duplicates that share
an ID come last, when every holder is known. Partitions and chunks do not influence the result, which depends only on
the items and the ledger.

Memory holds one partition of new items, or one chunk with the keys of its alternatives, never the ledger's keys. The
IDs that a run gives are in files; each chunk scans their keys once.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.pipelines.assignment.ledger import GrowingLedger, first_of_each
from fuseid.tokenizers.buckets import bucket_ids
from fuseid.tokenizers.collisions import Policy, Quantizer, alternatives, digits, placed

# A new item with its codes: `row` is its row id in `contents`, `error` the squared error of its codes, only for
# `reassign`.
NEW = pa.schema(
    [
        ("content_id", pa.string()),
        ("fused_fp", pa.string()),
        ("codes", pa.list_(pa.int32())),
        ("base", pa.string()),
        ("row", pa.uint64()),
        ("error", pa.float32()),
    ]
)
# Items of one chunk, and the most code tuples among their alternatives: some 300 MB.
_CHUNK = 1 << 16
_CHUNK_TUPLES = 1 << 21


@dataclass
class Counts:
    """Counts of the new items; `error` is the squared error of all items by their own codes, `moved_error` that of the
    items that were moved, `extra_error` what moving added."""

    new: int = 0
    moved: int = 0
    no_room: int = 0
    same_codes: int = 0
    same_content: int = 0
    error: float = 0.0
    moved_error: float = 0.0
    extra_error: float = 0.0


class Placement:
    """vectors_of: row ids of items in ascending order of content_id -> their vectors, float32 [N, D], in that order."""

    def __init__(
        self,
        ledger: GrowingLedger,
        policy: Policy,
        quantizer: Quantizer,
        vectors_of: Callable[[pa.Array], np.ndarray],
        scratch: Path,
    ) -> None:
        self._ledger = ledger
        self._policy = policy
        self._quantizer = quantizer
        self._vectors_of = vectors_of
        self._scratch = scratch
        self.counts = Counts()

    def give(self, parts: Iterable[pa.Table]) -> None:
        """Gives an ID to every item in tables of schema `NEW`; items of equal codes are in the same table."""
        crowded: list[Path] = []
        repeated: list[Path] = []
        for part in parts:
            table = part.sort_by("content_id").combine_chunks()
            self.counts.new += len(table)
            self.counts.error += pc.sum(table["error"], min_count=0).as_py()
            if self._policy.duplicates == "share":
                table = self._put_off(table, self._not_repeated(table), repeated)
            self._own_places(table, crowded)
        for chunk in _in_order(crowded, min(_CHUNK, _CHUNK_TUPLES // self._policy.alternatives)):
            self._other_places(chunk)
        for path in repeated:
            self._shared_places(pq.read_table(path))

    def notes(self) -> list[str]:
        c = self.counts
        out: list[str] = []
        if self._policy.collisions == "none":
            out.append(f"{c.same_codes} of {c.new} new items share the ID of another with the same codes")
        if self._policy.collisions == "reassign":
            over_all = c.extra_error / c.error if c.error else 0.0
            over_moved = c.extra_error / c.moved_error if c.moved_error else 0.0
            out.append(
                f"{c.moved} of {c.new} new items took other codes than their own, {c.no_room} found no room and got a "
                f"suffix; squared error {over_all:+.2%} over all new items, {over_moved:+.2%} over those that moved"
            )
        if self._policy.duplicates == "share":
            out.append(f"{c.same_content} of {c.new} new items share the ID of another with the same content")
        return out

    def _not_repeated(self, table: pa.Table) -> pa.Array:
        fingerprints = table["fused_fp"].combine_chunks()
        holders = self._ledger.holders(fingerprints.unique())
        known = pc.is_in(fingerprints, value_set=holders["fused_fp"].combine_chunks())
        return pc.and_not(first_of_each(fingerprints), known)

    def _own_places(self, table: pa.Table, crowded: list[Path]) -> None:
        bases = table["base"].combine_chunks().dictionary_encode()
        found = digits(bases.indices.to_numpy(), self._ledger.next_digits(bases.dictionary))
        if self._policy.collisions == "reassign":
            room = found < self._policy.bucket_capacity
            table, found = self._put_off(table, pa.array(room), crowded), found[room]
        if self._policy.collisions == "none":
            self.counts.same_codes += int(np.count_nonzero(found))
            found = np.zeros_like(found)
        self._give(table, found, pa.nulls(len(table), pa.float32()))

    def _other_places(self, table: pa.Table) -> None:
        codes = table["codes"].combine_chunks()
        own = codes.flatten().to_numpy().reshape(len(codes), -1)
        options, extra = alternatives(
            self._quantizer, self._vectors_of(table["row"].combine_chunks()), own, self._policy.alternatives
        )
        every = np.concatenate([own[:, None], options], axis=1)
        flat = every.reshape(-1, own.shape[1])
        ids, first = bucket_ids(flat)
        buckets = ids.reshape(len(own), -1)
        following = self._ledger.next_digits(base_texts(flat[first]), given=True)
        chosen, found = placed(buckets[:, 0], buckets[:, 1:], following, self._policy.bucket_capacity)
        rows, moved = np.arange(len(own)), chosen >= 0
        taken = every[rows, chosen + 1]
        extra = extra[rows, chosen]
        self.counts.moved += int(np.count_nonzero(moved))
        self.counts.no_room += int(np.count_nonzero(~moved))
        self.counts.moved_error += float(table["error"].to_numpy()[moved].sum(dtype=np.float64))
        self.counts.extra_error += float(extra[moved].sum(dtype=np.float64))
        table = table.drop_columns(["codes", "base"])
        table = table.append_column("codes", lists(taken)).append_column("base", base_texts(taken))
        self._give(table, found, pa.array(extra, mask=~moved))

    def _shared_places(self, table: pa.Table) -> None:
        holders = self._ledger.holders(table["fused_fp"].combine_chunks().unique(), given=True)
        held = holders.take(pc.index_in(table["fused_fp"], value_set=holders["fused_fp"].combine_chunks()))
        self.counts.same_content += len(table)
        self._ledger.give(held.append_column("content_id", table["content_id"]))

    def _put_off(self, table: pa.Table, now: pa.Array, files: list[Path]) -> pa.Table:
        """Moves the rows that are not placed `now` into another file."""
        later = table.filter(pc.invert(now))
        if len(later):
            files.append(self._scratch / f"later-{len(files):06d}-{id(files)}.parquet")
            pq.write_table(later, files[-1])
        return table.filter(now)

    def _give(self, table: pa.Table, found: np.ndarray, moved_error: pa.Array) -> None:
        suffix = pa.array(found, pa.int32(), mask=found == 0)
        with_suffix = pc.binary_join_element_wise(table["base"], suffix.cast(pa.string()), ".")
        table = table.append_column("suffix", suffix).append_column("moved_error", moved_error)
        self._ledger.give(table.append_column("sid", pc.coalesce(with_suffix, table["base"])))


def base_texts(codes_NL: np.ndarray) -> pa.Array:
    """The text form of codes, without a suffix."""
    return pc.binary_join_element_wise(*(pa.array(codes).cast(pa.string()) for codes in codes_NL.T), "-")


def lists(codes_NL: np.ndarray) -> pa.ListArray:
    """int [N, L] as the ledger's column `codes`."""
    offsets = np.arange(len(codes_NL) + 1, dtype=np.int32) * codes_NL.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(codes_NL.reshape(-1).astype(np.int32)))


def _in_order(files: list[Path], size: int) -> Iterator[pa.Table]:
    """The rows of files, each sorted by content_id, merged, in chunks."""
    merged = heapq.merge(*map(_rows, files), key=lambda row: row["content_id"])
    while chunk := list(itertools.islice(merged, size)):
        yield pa.Table.from_pylist(chunk, schema=NEW)


def _rows(path: Path) -> Iterator[dict]:
    for batch in pq.ParquetFile(path).iter_batches(batch_size=512):
        yield from batch.to_pylist()
