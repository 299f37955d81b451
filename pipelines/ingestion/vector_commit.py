"""Commits ready-made vectors: new items as new rows, wave by wave; those of stored items into their own columns,
fragment by fragment, at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import FingerprintMismatch
from fuseid.core.faults import reached
from fuseid.core.fingerprints import text_hash
from fuseid.core.modalities import Modality, modalities
from fuseid.core.schemas import ONLY_VECTORS, contents_schema, vectors_schema
from fuseid.core.surface import option
from fuseid.pipelines.ingestion.commit import Committed, Rejections
from fuseid.pipelines.ingestion.stored_vectors import described_by, facts_stats
from fuseid.pipelines.store.generations import fingerprint
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.tables import vector_sizes
from fuseid.pipelines.store.vector_columns import fused_fingerprints, nan_rows, to_fixed
from fuseid.pipelines.streams.spill import Spill

if TYPE_CHECKING:
    from fuseid.encoders.fusion import Fusion

_FACTS = ("kind", "uri", "caption", "attributes", "caption_hash", "source_stat")
_ROWS = 1 << 14
# New vectors of a fragment that are written at a time; more only if a fragment has a million long ones.
_PIECE_BYTES = 1 << 30


def check_dim(store: Store, modality: Modality, dim: int) -> None:
    """Raises FingerprintMismatch if the database holds such vectors of another size."""
    have = store.dims().get(modality.name, dim)
    if have != dim:
        raise FingerprintMismatch(
            f"{modality.name} vectors of {dim} numbers cannot enter {store.uri}, where {modality.name} has {have}; "
            f"use the model that made the vectors there, or give these another {option('name')}"
        )


class VectorCommitter:
    """`commit` each wave, then `finish` once.

    Committing twice changes nothing. A crash loses at most a wave of new items, and those vectors of known items that
    are not in their columns yet: the fingerprint beside a vector tells the next run what is missing.
    """

    def __init__(
        self, store: Store, run_id: str, modality: Modality, dim: int, fusions: Mapping[str, Fusion], scratch: Path
    ) -> None:
        """fusions: by the column of their vectors. See `check_dim`."""
        self._store = store
        self._run_id = run_id
        self._modality = modality
        self._dim = dim
        self._fusions = {column: fusion for column, fusion in fusions.items() if modality.name in fusion.dims}
        self._rejections = Rejections(store, run_id)
        self._fragments = self._fragment_ids()
        self._rows = np.zeros(len(self._fragments), np.int64)
        self._changed = Spill(scratch, "changed", max(1, len(self._fragments)), vectors_schema(dim))
        # Whether the file says anything about known items.
        self._describes = False
        # Names of known items whose new vector could not be used, and how many there are.
        self.refused: list[str] = []
        self.refused_count = 0

    def commit(self, wave: pa.Table, keep_known: bool = False) -> Committed:
        """wave: of `vectors_schema`. Rows of known items are kept for `finish`. keep_known: see `WaveCommitter`."""
        good, bad = _split(wave, pc.is_null(wave["error_class"]))
        new, changed = _split(good, pc.is_null(good["address"]))
        if changed.num_rows:
            places = self._places(changed["address"])
            self._rows += np.bincount(places, minlength=len(self._rows))
            self._changed.write(changed, places)
            self._describes |= changed["facts"].null_count < changed.num_rows
        rejected = self._lost(bad, keep_known)
        self._rejections.commit(new["content_id"], partial(self._append, new), rejected)
        kept = self._rejections.kept(bad, rejected)
        return Committed(new.num_rows, 0, Counter(rejected["error_class"].to_pylist()), kept)

    def finish(self) -> int:
        """Writes the vectors of known items. Returns their number."""
        self._changed.close()
        if not self._changed.rows:
            return 0
        # A fit that was killed leaves a fusion and no column for it.
        fused = {column: fusion.dim for column, fusion in self._fusions.items()}
        self._store.ensure_vectors({self._modality.name: self._dim, **fused})
        for place, number in enumerate(self._fragments):
            for batches in self._pieces(place) if self._rows[place] else ():
                self._store.rewrite_fragment(number, partial(self._reader, batches))
                reached("vectors.updated")
        return self._changed.rows

    def _pieces(self, place: int) -> Iterator[Iterator[pa.RecordBatch]]:
        """The changed rows of a fragment in pieces that Lance can hold in memory, usually in one."""
        rows = 0

        def number(batch: pa.RecordBatch) -> int:
            nonlocal rows
            rows += batch.num_rows
            return rows * 4 * self._dim // _PIECE_BYTES

        for _, batches in groupby(self._changed.batches(place), number):
            yield batches

    def _lost(self, bad: pa.Table, keep_known: bool) -> pa.Table:
        """The bad rows that are rejected: those of new items, and of items that have nothing but this vector."""
        known = pc.is_valid(bad["address"])
        if not pc.any(known, min_count=0).as_py():
            return bad
        ours = pa.array([], pa.string())
        if not keep_known:
            others = [each.name for each in modalities(self._store.dims()) if each != self._modality]
            where = f"starts_with(source_stat, '{ONLY_VECTORS}')"
            where = " AND ".join([where, *(f"{name} IS NULL" for name in others)])
            ours = self._rejections.known(bad.filter(known)["content_id"], where)
        kept = pc.and_(known, pc.invert(pc.is_in(bad["content_id"], value_set=ours)))
        names = bad.filter(kept)["content_id"].to_pylist()
        self.refused_count += len(names)
        self.refused += names[: max(0, 5 - len(self.refused))]
        return bad.filter(pc.invert(kept))

    def _append(self, new: pa.Table) -> None:
        self._store.ensure_vectors({self._modality.name: self._dim})
        contents = self._store.dataset("contents")
        schema = contents_schema(vector_sizes(contents.schema))
        now = pa.scalar(datetime.now(UTC), pa.timestamp("us", tz="UTC"))
        absent = {field.name: pa.nulls(_ROWS, field.type) for field in schema}

        def rows(batch: pa.RecordBatch) -> pa.RecordBatch:
            columns = self._own(batch) | self._facts(batch)
            columns["content_id"] = batch["content_id"]
            columns["run_id"] = pa.repeat(self._run_id, batch.num_rows)
            columns["updated_at"] = pa.repeat(now, batch.num_rows)
            columns |= self._fused({self._modality.name: nan_rows(batch["vector"], self._dim)})
            arrays = [columns.get(name, absent[name].slice(0, batch.num_rows)) for name in schema.names]
            arrays = [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)]
            return pa.record_batch(arrays, schema=schema)

        reader = pa.RecordBatchReader.from_batches(schema, map(rows, new.to_batches(_ROWS)))
        self._store.append("contents", reader, contents.version)

    def _reader(self, changed: Iterator[pa.RecordBatch], fragment: lance.LanceFragment) -> pa.RecordBatchReader:
        """`_rowid` and the new values of the changed rows of a fragment."""
        # Lance locks the object whose columns it updates, so the stored rows are read through another one.
        stored = self._store.dataset("contents").get_fragment(fragment.fragment_id)
        assert stored is not None
        batches = (self._values(stored, pa.Table.from_batches([batch])) for batch in changed)
        first = next(batches)
        return pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))

    def _values(self, fragment: lance.LanceFragment, rows: pa.Table) -> pa.RecordBatch:
        """rows: of `vectors_schema`, in the fragment."""
        have = self._store.dims()
        used = {name for fusion in self._fusions.values() for name in fusion.dims} - {self._modality.name}
        columns = [*(name for name in have if name in used), *(_FACTS if self._describes else ())]
        values = {"_rowid": rows["address"]} | self._own(rows)
        stored = _stored(fragment, rows["address"], columns) if columns else None
        if stored is not None and self._describes:
            ours = pc.and_(described_by(stored["source_stat"], self._modality), pc.is_valid(rows["facts"]))
            for name, array in self._facts(rows).items():
                # As strings: Arrow selects nothing among values of type JSON.
                values[name] = pc.if_else(ours, array, stored[name].cast(pa.string())).cast(stored[name].type)
        vectors = {name: nan_rows(stored[name], have[name]) for name in columns if stored is not None and name in have}
        values |= self._fused(vectors | {self._modality.name: nan_rows(rows["vector"], self._dim)})
        return pa.record_batch({name: _one(array) for name, array in values.items()})

    def _own(self, rows: pa.Table | pa.RecordBatch) -> dict[str, pa.Array | pa.ChunkedArray]:
        return {self._modality.name: rows["vector"], self._modality.fingerprint: rows["vector_fp"]}

    def _facts(self, rows: pa.Table | pa.RecordBatch) -> dict[str, pa.Array | pa.ChunkedArray]:
        captions = [text_hash(text) for text in rows["caption"].to_pylist()] if _any(rows["caption"]) else None
        return {
            "kind": pc.fill_null(rows["kind"], "text"),
            "uri": rows["uri"],
            "caption": rows["caption"],
            "attributes": pc.fill_null(rows["attributes"], "{}"),
            "caption_hash": pa.nulls(rows.num_rows, pa.string())
            if captions is None
            else pa.array(captions, pa.string()),
            "source_stat": facts_stats(rows["facts"], self._modality),
        }

    def _fused(self, vectors: dict[str, np.ndarray]) -> dict[str, pa.Array]:
        """vectors: those that the items have, by modality."""
        columns: dict[str, pa.Array] = {}
        for column, fusion in self._fusions.items():
            fused_ND = fusion.transform({name: vectors[name] for name in fusion.dims if name in vectors})
            columns |= {column: to_fixed(fused_ND), fingerprint(column): fused_fingerprints(fusion.id, fused_ND)}
        return columns

    def _fragment_ids(self) -> list[int]:
        if not self._store.has_contents():
            return []
        return sorted(fragment.fragment_id for fragment in self._store.dataset("contents").get_fragments())

    def _places(self, addresses: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """The place of each row's fragment in the list of fragments; an address begins with the fragment's id."""
        fragments = addresses.to_numpy() >> np.uint64(32)
        return np.searchsorted(np.array(self._fragments, np.uint64), fragments).astype(np.uint16)


def _stored(fragment: lance.LanceFragment, addresses: pa.ChunkedArray, columns: list[str]) -> pa.Table:
    """Columns of the rows with these addresses, in their order."""
    listed = ", ".join(map(str, addresses.to_pylist()))
    found = fragment.to_table(columns=columns, filter=f"_rowid IN ({listed})", with_row_id=True)
    return found.take(pc.index_in(addresses, value_set=found["_rowid"].combine_chunks()))


def _split(rows: pa.Table, mask: pa.ChunkedArray) -> tuple[pa.Table, pa.Table]:
    """The rows of a mask and the others; nothing is copied if all rows are in one of them."""
    if pc.all(mask, min_count=0).as_py():
        return rows, rows.slice(0, 0)
    if not pc.any(mask, min_count=0).as_py():
        return rows.slice(0, 0), rows
    return rows.filter(mask), rows.filter(pc.invert(mask))


def _any(column: pa.Array | pa.ChunkedArray) -> bool:
    return column.null_count < len(column)


def _one(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
