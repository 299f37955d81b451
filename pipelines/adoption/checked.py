"""The IDs of a file, checked and split into hash partitions on disk, before any of them enters the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput
from fuseid.core.surface import option
from fuseid.pipelines.adoption.base import IdFile
from fuseid.pipelines.assignment.placement import base_texts
from fuseid.pipelines.exports.columns import IDS, column, digits_of, matrix
from fuseid.pipelines.streams.spill import Spill, hash_parts

# The digest of the IDs depends on this number, so it never changes.
PARTS = 64
_HOLDERS = pa.schema([("sid", pa.string()), ("content_id", pa.string())])


@dataclass(frozen=True)
class CheckedIds:
    """count: of items. sizes: of the codebooks. shared: how many IDs belong to several items. digest: of the pairs of
    item and ID, whatever their order."""

    count: int
    sizes: tuple[int, ...]
    shared: int
    digest: str
    _items: Spill

    @classmethod
    def of(
        cls,
        file: IdFile,
        shown: Path,
        scratch: Path,
        sizes: tuple[int, ...] | None = None,
        unique: bool = False,
        progress: Callable[[int], None] = lambda rows: None,
    ) -> CheckedIds:
        """sizes: of the codebooks, by default those of the file, or else the largest codes that occur plus one.
        unique: refuse an ID of two items. Memory holds one partition.

        Raises BadInput for an item that occurs twice, IDs of different numbers of levels, a code outside the codebooks,
        and a file without IDs.
        """
        sizes = sizes or file.sizes
        items, holders = Spill(scratch, "items", PARTS, IDS), Spill(scratch, "holders", PARTS, _HOLDERS)
        largest_L: np.ndarray | None = None
        for table in file.tables():
            codes_NL = _codes(table)
            largest_L = codes_NL.max(0) if largest_L is None else largest_L
            if codes_NL.shape[1] != len(largest_L):
                raise BadInput(
                    f"{shown}: IDs have {len(largest_L)} levels, that of {table['content_id'][0].as_py()!r} has "
                    f"{codes_NL.shape[1]}"
                )
            _check_codes(table, codes_NL, sizes, shown)
            largest_L = np.maximum(largest_L, codes_NL.max(0))
            items.write(table, hash_parts(table["content_id"], PARTS))
            named = pa.Table.from_arrays([sids_of(table, codes_NL), table["content_id"]], schema=_HOLDERS)
            holders.write(named, hash_parts(named["sid"], PARTS))
            progress(len(table))
        items.close()
        holders.close()
        if largest_L is None:
            raise BadInput(f"{shown} holds no IDs")
        digest = hashlib.blake2b(digest_size=16)
        for part in range(PARTS):
            _add(digest, _in_order(items.read(part)), shown)
        shared = sum(_shared(holders.read(part), unique, shown) for part in range(PARTS))
        return cls(items.rows, sizes or tuple((largest_L + 1).tolist()), shared, digest.hexdigest(), items)

    def parts(self) -> Iterator[pa.Table]:
        """All IDs in `PARTS` tables of schema `IDS`, by the hash of the content_id and sorted by it: for the same IDs
        the same tables."""
        for part in range(PARTS):
            yield _in_order(self._items.read(part))


def sids_of(table: pa.Table, codes_NL: np.ndarray) -> pa.Array:
    """The IDs as text. table: of schema `IDS`."""
    bases = base_texts(codes_NL)
    with_digit = pc.binary_join_element_wise(bases, column(table, "suffix").cast(pa.string()), ".")
    return pc.coalesce(with_digit, bases)


def _codes(table: pa.Table) -> np.ndarray:
    lists = column(table, "codes")
    return matrix(lists, len(lists[0]))


def _check_codes(table: pa.Table, codes_NL: np.ndarray, sizes: tuple[int, ...] | None, shown: Path) -> None:
    if sizes is None:
        return
    if codes_NL.shape[1] != len(sizes):
        raise BadInput(
            f"{shown}: IDs have {codes_NL.shape[1]} levels, the codebooks {len(sizes)} ({', '.join(map(str, sizes))})"
        )
    outside_N = (codes_NL >= np.asarray(sizes)).any(1)
    if outside_N.any():
        row = int(outside_N.argmax())
        raise BadInput(
            f"{shown}: {table['content_id'][row].as_py()!r} has the codes "
            f"{'-'.join(map(str, codes_NL[row].tolist()))}, outside of codebooks of {', '.join(map(str, sizes))} codes"
        )


def _in_order(items: pa.Table) -> pa.Table:
    return items.sort_by("content_id").combine_chunks()


def _add(digest: hashlib.blake2b, items: pa.Table, shown: Path) -> None:
    """Adds the items of a partition, in order, to the digest."""
    if not len(items):
        return
    content_ids = column(items, "content_id")
    twice = pc.equal(content_ids[1:], content_ids[:-1]).to_numpy(zero_copy_only=False)
    if twice.any():
        raise BadInput(f"{shown}: {content_ids[int(twice.argmax())].as_py()!r} occurs twice; an item has one ID")
    lengths = pc.binary_length(content_ids).to_numpy(zero_copy_only=False)
    numbers_NM = np.column_stack([lengths, _codes(items), digits_of(column(items, "suffix"))])
    digest.update(np.ascontiguousarray(numbers_NM, "<i4").tobytes())
    digest.update(_bytes_of(content_ids))


def _bytes_of(texts: pa.Array) -> memoryview:
    """The texts one after the other, without a copy."""
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(texts.buffers()[2])[int(offsets[0]) : int(offsets[-1])]


def _shared(holders: pa.Table, unique: bool, shown: Path) -> int:
    """How many IDs of a partition belong to several items."""
    counted = holders.group_by("sid").aggregate([("content_id", "count"), ("content_id", "min"), ("content_id", "max")])
    shared = counted.filter(pc.greater(counted["content_id_count"], 1))
    if unique and len(shared):
        sid, one, other = (shared[name][0].as_py() for name in ("sid", "content_id_min", "content_id_max"))
        raise BadInput(
            f"{shown}: {sid} is the ID of both {one!r} and {other!r}; leave {option('unique')} out to share IDs"
        )
    return len(shared)
