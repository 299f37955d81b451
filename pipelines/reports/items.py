"""The items that a report measures: the codes of all of them, and a sample with vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.artifacts import encodes
from fuseid.core.modalities import FUSED, FUSED_COLUMNS
from fuseid.core.protocols import Tokenizer
from fuseid.pipelines.jobs.progress import Progress, tracked
from fuseid.pipelines.reports.slices import Slicing, popularity_border
from fuseid.pipelines.store.generations import fingerprint, fused_column
from fuseid.pipelines.store.pinned_tables import PinnedTables
from fuseid.pipelines.store.rows import sampled_rows, sql_string, table_by_id
from fuseid.pipelines.store.vector_columns import nan_rows

_BATCH = 8192


def drawn_items(pinned: PinnedTables, limit: int) -> pa.Table:
    """At most `limit` items with a fused vector, those with the lowest hash of the content_id first; without a fusion
    items without vectors: adopted IDs need none."""
    columns = ["kind", "caption", "vlm_caption", "attributes"]
    fused = [name for name in FUSED_COLUMNS if name in pinned.contents.schema.names]
    return sampled_rows(pinned.contents, limit, [*columns, *fused], with_vectors(pinned))


def with_vectors(pinned: PinnedTables) -> str:
    """The condition for items with a fused vector of each generation; without a fusion for all."""
    fused = [name for name in FUSED_COLUMNS if name in pinned.contents.schema.names]
    return " AND ".join(f"{name} IS NOT NULL" for name in fused) or "content_id IS NOT NULL"


@dataclass(frozen=True)
class Codes:
    """All items that have an ID, in the order of the table: codes int32 [N, L], collision digits int32 [N], -1 for
    none, the fingerprint of each vector uint64 [N], for each way to slice the slice of each item uint8 [N], and the
    popularity above which an item is in the head. there: bool, for each row of the table whether it is among them."""

    there: np.ndarray
    codes_NL: np.ndarray
    suffixes_N: np.ndarray
    vectors_N: np.ndarray
    labels: dict[str, np.ndarray]
    border: float
    edited: int

    @property
    def suffixed(self) -> int:
        return int((self.suffixes_N >= 0).sum())

    @property
    def without(self) -> int:
        return len(self.there) - len(self.codes_NL)


def read_codes(pinned: PinnedTables, tokenizer: Tokenizer, slicing: Slicing, progress: Progress) -> Codes:
    """The codes in the ledger of all items in the catalogue, without those of deleted items."""
    total = pinned.contents.count_rows()
    everywhere = np.zeros(total, bool)
    codes_NL = np.empty((total, len(tokenizer.codebook_sizes)), np.int32)
    suffixes_N = np.empty(total, np.int32)
    vectors_N = np.empty(total, np.uint64)
    numbers_N = np.empty(total if slicing.popularity else 0)
    labels = {by: np.empty(total, np.uint8) for by in slicing.ways}
    seen = done = edited = 0
    fp = fingerprint(vector_column(pinned, tokenizer) or FUSED)
    columns = ["content_id", fp, *slicing.columns]
    batches = pinned.contents.to_batches(columns=columns, batch_size=_BATCH)
    for batch in tracked(batches, f"read {tokenizer.id}", total, progress):
        ids = ids_of(pinned, batch["content_id"], tokenizer.id)
        there = ids["sid"].combine_chunks().is_valid()
        everywhere[seen : seen + len(there)] = there.to_numpy(zero_copy_only=False)
        seen += len(there)
        batch, ids = batch.filter(there), ids.filter(there)
        if not batch.num_rows:
            continue
        rows = slice(done, done + batch.num_rows)
        done = rows.stop
        codes_NL[rows] = code_matrix(ids["codes"])
        now, then = batch[fp].to_pylist(), ids["fused_fp"].to_pylist()
        # Items without a vector count as different: no fingerprint says otherwise.
        known = (new or old or f"{done - number:x}" for number, (new, old) in enumerate(zip(now, then, strict=True)))
        vectors_N[rows] = [int(one[:16], 16) for one in known]
        # The ledger does not know the vectors of adopted IDs.
        edited += sum(None not in (new, old) and new != old for new, old in zip(now, then, strict=True))
        suffixes_N[rows] = pc.fill_null(ids["suffix"], -1).to_numpy()
        for by, values in slicing.labels(batch).items():
            labels[by][rows] = values
        if slicing.popularity:
            numbers_N[rows] = slicing.numbers(batch)
    labels = {by: values[:done] for by, values in labels.items()}
    border = popularity_border(numbers_N[:done])
    if slicing.popularity:
        slicing.add_popularity(labels, numbers_N[:done], border)
    return Codes(everywhere, codes_NL[:done], suffixes_N[:done], vectors_N[:done], labels, border, edited)


@dataclass(frozen=True)
class Sample:
    """The sampled items that have an ID under the tokenizer, lowest hash first; vectors_SD is [S, 0] without a
    fusion, and for a tokenizer whose generation of vectors is not there any more. there: bool, for each sampled item
    whether it is among them."""

    there: np.ndarray
    rows: pa.Table
    sids: list[str]
    codes_SL: np.ndarray
    vectors_SD: np.ndarray
    labels: dict[str, np.ndarray]

    @classmethod
    def of(cls, drawn: pa.Table, pinned: PinnedTables, tokenizer: Tokenizer, slicing: Slicing, border: float) -> Sample:
        ids = ids_of(pinned, drawn["content_id"].combine_chunks(), tokenizer.id)
        there = ids["sid"].combine_chunks().is_valid()
        rows, ids = drawn.filter(there), ids.filter(there)
        labels = slicing.labels(rows)
        if slicing.popularity:
            slicing.add_popularity(labels, slicing.numbers(rows), border)
        vectors_SD = np.empty((len(rows), 0), np.float32)
        column = vector_column(pinned, tokenizer)
        if column is not None:
            vectors_SD = nan_rows(rows[column], rows.schema.field(column).type.list_size)
        return cls(
            there.to_numpy(zero_copy_only=False),
            rows,
            ids["sid"].to_pylist(),
            code_matrix(ids["codes"]),
            vectors_SD,
            labels,
        )


def vector_column(pinned: PinnedTables, tokenizer: Tokenizer) -> str | None:
    """The column of the vectors that a tokenizer quantizes; for IDs that depend on no vectors, of those in force."""
    schema = pinned.contents.schema
    if encodes(tokenizer):
        return fused_column(schema, tokenizer.meta["fusion"])
    return FUSED if FUSED in schema.names else None


def ids_of(pinned: PinnedTables, content_ids: pa.Array, tokenizer_id: str) -> pa.Table:
    """The ledger's rows of these items under a tokenizer, one for each; null for an item without an ID."""
    where = f"tokenizer_id = {sql_string(tokenizer_id)}"
    columns = ["content_id", "codes", "suffix", "sid", "fused_fp"]
    rows = table_by_id(pinned.ledger, content_ids.to_pylist(), columns, where)
    return rows.take(pc.index_in(content_ids, value_set=rows["content_id"].combine_chunks()))


def code_matrix(codes: pa.ChunkedArray) -> np.ndarray:
    flat = codes.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(codes), -1) if len(codes) else np.empty((0, 0), np.int32)
