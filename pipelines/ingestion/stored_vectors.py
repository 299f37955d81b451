"""What the store holds of the items of a source of ready-made vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.modalities import Modality
from fuseid.core.schemas import ONLY_VECTORS
from fuseid.pipelines.store.rows import sql_list
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.streams.key_table import KeyTable

# Looking up an id by index costs about as much as scanning this many rows; and how many ids are looked up at a time.
_ROWS_PER_KEY = 100
_KEYS = 1000
_NIBBLES = np.zeros(256, np.uint64)
for _number, _digit in enumerate("0123456789abcdef"):
    _NIBBLES[ord(_digit)] = _number


class StoredVectors:
    """The address, the vector's fingerprint and the facts of stored rows, of the version of `contents` at the start.

    With many ids to look up, the columns are read once into a table on disk; with few, they are found by the index.
    """

    def __init__(self, store: Store, modality: Modality, ids: int, scratch: Path) -> None:
        """ids: how many will be looked up. scratch: a folder for 40 bytes for each row of `contents`."""
        self._modality = modality
        self._contents = store.dataset("contents") if store.has_contents() else None
        self._table: KeyTable | None = None
        if self._contents is None or ids * _ROWS_PER_KEY < self._contents.count_rows():
            return
        self._table = KeyTable(scratch, "stored", values=3)
        for batch in self._read(None):
            self._table.add(batch["content_id"], *self._numbers(batch))
        self._table.close()

    def find(self, ids: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """string [N] -> (bool [N], whether there is a row; uint64 [N] each: its address, the fingerprint of the vector,
        and that of what its file says about the item, 1 for nothing, 0 if that is for other sources to say)."""
        if self._contents is None:
            nothing = np.zeros(len(ids), np.uint64)
            return np.zeros(len(ids), bool), nothing, nothing, nothing
        if self._table is not None:
            found, values = self._table.find(ids)
            return (found, *values)
        found = np.zeros(len(ids), bool)
        values = np.zeros((3, len(ids)), np.uint64)
        for start in range(0, len(ids), _KEYS):
            part = ids.slice(start, _KEYS)
            for batch in self._read(f"content_id IN ({sql_list(part.to_pylist())})"):
                at = start + pc.index_in(batch["content_id"], value_set=part).to_numpy()
                found[at] = True
                values[:, at] = self._numbers(batch)
        return (found, *values)

    def _read(self, where: str | None) -> Iterator[pa.RecordBatch]:
        assert self._contents is not None
        wanted = ["content_id", "source_stat", self._modality.fingerprint]
        columns = [name for name in wanted if name in self._contents.schema.names]
        scanner = self._contents.scanner(columns=columns, filter=where, with_row_address=True)
        yield from scanner.to_batches()

    def _numbers(self, batch: pa.RecordBatch) -> list[np.ndarray]:
        column = self._modality.fingerprint
        fingerprints = batch[column] if column in batch.schema.names else pa.nulls(batch.num_rows, pa.string())
        stats = batch["source_stat"]
        ours = described_by(stats, self._modality).to_numpy(zero_copy_only=False)
        facts = numbers_of(pc.utf8_slice_codeunits(stats, len(_described(self._modality))))
        return [batch["_rowaddr"].to_numpy(), numbers_of(fingerprints), np.where(ours, np.maximum(facts, 1), 0)]


def facts_stats(facts: pa.Array | pa.ChunkedArray, modality: Modality) -> pa.Array | pa.ChunkedArray:
    """The `source_stat` of items that only vectors have brought. facts: hashes of what the file of these vectors says
    about them, null for nothing."""
    return pc.fill_null(pc.binary_join_element_wise(_described(modality), facts, ""), f"{ONLY_VECTORS}:")


def described_by(stats: pa.Array | pa.ChunkedArray, modality: Modality) -> pa.Array | pa.ChunkedArray:
    """bool [N]: whether the file of these vectors may describe the items: no source of media or captions lists them,
    and no file of other vectors has described them. stats: `source_stat`."""
    free = pc.and_(pc.starts_with(stats, ONLY_VECTORS), pc.ends_with(stats, ":"))
    return pc.fill_null(pc.or_(free, pc.starts_with(stats, _described(modality))), False)


def _described(modality: Modality) -> str:
    return f"{ONLY_VECTORS}{modality.name}:"


def numbers_of(hexes: pa.Array) -> np.ndarray:
    """Hashes of 16 hexadecimal digits, string [N] -> uint64 [N]; 0 for null or anything else."""
    texts = pc.fill_null(hexes, "")
    usable = pc.equal(pc.binary_length(texts), 16).to_numpy(zero_copy_only=False)
    fixed = texts.filter(pa.array(usable)).cast(pa.binary()).cast(pa.binary(16))
    digits = _NIBBLES[np.frombuffer(fixed.buffers()[1] or b"", np.uint8)[: 16 * len(fixed)]].reshape(-1, 16)
    out = np.zeros(len(hexes), np.uint64)
    out[usable] = (digits << np.arange(60, -1, -4, dtype=np.uint64)).sum(1, dtype=np.uint64)
    return out
