"""The ledger under one tokenizer: the IDs of earlier runs, and those of this run, which are in files until its one
commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from fuseid.core.schemas import ASSIGNMENTS
from fuseid.pipelines.store.indexes import indexed_columns
from fuseid.pipelines.store.rows import sql_list
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.streams.batches import folded
from fuseid.pipelines.streams.key_table import KeyTable
from fuseid.tokenizers.collisions import Policy

# The columns that a run adds to the ledger, without the two that are the same in all its rows.
GIVEN = pa.schema([field for field in ASSIGNMENTS if field.name not in ("tokenizer_id", "run_id")])
# Looking up a key by index costs about as much as scanning this many rows; and how many keys are looked up at a time.
_ROWS_PER_KEY = 100
_KEYS = 1000
# The rows of one part of a look-up; for each part the caller builds a hash table of all keys.
_FOLD_ROWS = 1 << 19
_POLICY = "collisions."


def pinned_policy(store: Store, tokenizer_id: str, at: lance.LanceDataset | None = None) -> Policy:
    """The policy of the first IDs under a tokenizer, and so of all later ones. at: see `Store.setting`."""
    return Policy(**(store.setting(_POLICY + tokenizer_id, at) or {}))


def pin_policy(store: Store, tokenizer_id: str, policy: Policy, also: Mapping[str, Any] = MappingProxyType({})) -> None:
    """also: other settings of the same commit."""
    store.put_settings({_POLICY + tokenizer_id: asdict(policy), **also}, store.settings())


def tokenizers_with_ids(store: Store) -> list[str]:
    """The ids of all tokenizers under which the ledger has IDs, sorted."""
    found: set[str] = set()
    for batch in store.dataset("assignments").to_batches(columns=["tokenizer_id"]):
        found |= set(batch["tokenizer_id"].unique().to_pylist())
    return sorted(found)


class Ledger:
    """The IDs that earlier runs gave under one tokenizer. A look-up holds its keys and at most `_FOLD_ROWS` matching
    rows in memory, however many rows the ledger has."""

    def __init__(self, store: Store, tokenizer_id: str) -> None:
        self.tokenizer_id = tokenizer_id
        self._dataset = store.dataset("assignments")
        self.version = self._dataset.version
        self._where = f"tokenizer_id = '{tokenizer_id}'"
        self._rows = self._dataset.count_rows()
        self._indexed = indexed_columns(self._dataset)
        self.empty = not self._dataset.to_table(columns=["content_id"], filter=self._where, limit=1).num_rows

    def rows(self, column: str, keys: pa.Array, columns: list[str]) -> Iterator[pa.Table]:
        """Rows whose `column` is one of `keys`, with `columns`, in parts."""
        if self.empty or not len(keys):
            return iter(())
        if self.by_index(column, len(keys)):
            return folded(self._by_index(column, keys, columns), _FOLD_ROWS)
        reader = self._dataset.scanner(columns=[column, *columns], filter=self._where).to_reader()
        matching = ds.field(column).isin(keys)
        return folded(
            ds.Scanner.from_batches(reader, columns=[column, *columns], filter=matching).to_batches(), _FOLD_ROWS
        )

    def by_index(self, column: str, keys: int) -> bool:
        """Whether so many keys are looked up by the index of a column; otherwise all rows are read."""
        return column in self._indexed and keys * _ROWS_PER_KEY < self._rows

    def all_rows(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self._dataset.to_batches(columns=columns, filter=self._where)

    def with_id(self, items: int, scratch: Path) -> Callable[[pa.Array], np.ndarray]:
        """-> a function: content_ids [N] -> bool [N], whether an item has an ID. items: how many will be looked up, all
        in all; of many, the whole ledger is read once, into files of 16 bytes for each row."""
        if self.empty:
            return lambda ids: np.zeros(len(ids), bool)
        if self.by_index("content_id", items):
            return self._with_id_by_index
        table = KeyTable(scratch, "with-id")
        for batch in self.all_rows(["content_id"]):
            table.add(batch["content_id"])
        table.close()
        return lambda ids: table.find(ids)[0]

    def _with_id_by_index(self, ids: pa.Array) -> np.ndarray:
        out = np.zeros(len(ids), bool)
        for found in self._by_index("content_id", ids, []):
            out[pc.index_in(found["content_id"], value_set=ids).to_numpy()] = True
        return out

    def _by_index(self, column: str, keys: pa.Array, columns: list[str]) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(keys), _KEYS):
            where = f"{column} IN ({sql_list(keys[start : start + _KEYS].to_pylist())}) AND {self._where}"
            yield from self._dataset.to_batches(columns=[column, *columns], filter=where)


class GrowingLedger:
    """The ledger and the IDs that this run gives, which are in Parquet files under `scratch`."""

    def __init__(self, ledger: Ledger, scratch: Path) -> None:
        self._ledger = ledger
        self._scratch = scratch
        self._files: list[str] = []

    def next_digits(self, bases: pa.Array, given: bool = False) -> np.ndarray:
        """int64 [N]: for each of these distinct code tuples the next free collision digit, 0 if no item has the codes.

        given: also count what this run has given so far.
        """
        out = np.zeros(len(bases), np.int64)
        for found in self._rows("base", bases, ["suffix"], given):
            held = pc.fill_null(found["suffix"], 0).to_numpy() + 1
            np.maximum.at(out, pc.index_in(found["base"], value_set=bases).to_numpy(), held)
        return out

    def holders(self, fingerprints: pa.Array, given: bool = False) -> pa.Table:
        """For each fingerprint of content that has an ID, one of its rows, with the columns of `GIVEN` except
        content_id."""
        columns = [name for name in GIVEN.names if name not in ("content_id", "fused_fp")]
        kept = pa.schema([GIVEN.field(name) for name in ("fused_fp", *columns)]).empty_table()
        for found in self._rows("fused_fp", fingerprints, columns, given):
            every = pa.concat_tables([kept, found.cast(kept.schema)])
            kept = every.filter(first_of_each(every["fused_fp"].combine_chunks()))
        return kept

    def give(self, table: pa.Table) -> None:
        """table: with the columns of `GIVEN`."""
        self._files.append(str(self._scratch / f"given-{len(self._files):06d}"))
        pq.write_table(table.select(GIVEN.names).cast(GIVEN), self._files[-1])

    def reader(self, run_id: str) -> pa.RecordBatchReader:
        """All IDs that this run gave, as rows of `ASSIGNMENTS`."""
        same = {"tokenizer_id": self._ledger.tokenizer_id, "run_id": run_id}

        def batches() -> Iterator[pa.RecordBatch]:
            for path in self._files:
                for batch in pq.ParquetFile(path).iter_batches():
                    columns = [
                        pa.repeat(same[name], batch.num_rows) if name in same else batch[name]
                        for name in ASSIGNMENTS.names
                    ]
                    yield pa.RecordBatch.from_arrays(columns, schema=ASSIGNMENTS)

        return pa.RecordBatchReader.from_batches(ASSIGNMENTS, batches())

    def _rows(self, column: str, keys: pa.Array, columns: list[str], given: bool) -> Iterator[pa.Table]:
        yield from self._ledger.rows(column, keys, columns)
        if given and self._files:
            files = ds.dataset(self._files, schema=GIVEN)
            scanner = files.scanner(columns=[column, *columns], filter=ds.field(column).isin(keys))
            yield from folded(scanner.to_batches(), _FOLD_ROWS)


def first_of_each(column: pa.Array) -> pa.Array:
    """bool [N]: whether a row is the first one with its value."""
    codes = column.dictionary_encode().indices.to_numpy()
    out = np.zeros(len(codes), bool)
    out[np.unique(codes, return_index=True)[1]] = True
    return pa.array(out)


def ledger_rows(rows: pa.Table) -> pa.Table:
    """content_id, tokenizer_id, sid, codes and fused_fp of IDs that were given elsewhere -> rows of the ledger."""
    parts = [sid.partition(".") for sid in rows["sid"].to_pylist()]
    made = {
        "suffix": pa.array([int(digit) if digit else None for _, _, digit in parts], pa.int32()),
        "base": pa.array([base for base, _, _ in parts], pa.string()),
        "moved_error": pa.nulls(len(rows), pa.float32()),
        "run_id": pa.nulls(len(rows), pa.string()),
    }
    columns = [made[name] if name in made else rows[name] for name in ASSIGNMENTS.names]
    return pa.table(columns, schema=ASSIGNMENTS)
