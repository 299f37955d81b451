"""Which adopted items the database holds, and whether the codebooks give a sample of them their own codes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput
from fuseid.core.protocols import Tokenizer
from fuseid.core.surface import option
from fuseid.pipelines.adoption.checked import PARTS, CheckedIds
from fuseid.pipelines.exports.columns import IDS, column, matrix
from fuseid.pipelines.store.rows import table_by_id
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import nan_rows
from fuseid.pipelines.streams.spill import Spill, hash_parts
from fuseid.tokenizers.drift import CodeUse, enough

_SAMPLED = 10_000
_LEAST_AGREEMENT = 0.5
_THERE = pa.schema([("content_id", pa.string()), ("has_vector", pa.bool_())])


@dataclass(frozen=True)
class KnownItems:
    """count: adopted items that the database holds. sample: of schema `IDS`, those of them that also have a vector,
    spread evenly over them."""

    count: int
    sample: pa.Table

    @classmethod
    def of(cls, store: Store, ids: CheckedIds, vectors: str | None, scratch: Path) -> KnownItems:
        """vectors: the column of vectors, None if none are looked at. Memory holds one hash partition of both."""
        there = Spill(scratch, "there", PARTS, _THERE)
        has_vector = "false" if vectors is None else f"{vectors} IS NOT NULL"
        wanted = {"content_id": "content_id", "has_vector": has_vector}
        for batch in store.dataset("contents").to_batches(columns=wanted):
            rows = pa.Table.from_batches([batch]).cast(_THERE)
            there.write(rows, hash_parts(rows["content_id"], PARTS))
        there.close()
        count, samples = 0, [IDS.empty_table()]
        for part, table in enumerate(ids.parts()):
            held = there.read(part)
            known = table.filter(pc.is_in(table["content_id"], value_set=held["content_id"].combine_chunks()))
            count += len(known)
            held = held.filter(held["has_vector"])
            known = known.filter(pc.is_in(known["content_id"], value_set=held["content_id"].combine_chunks()))
            most = min(len(known), -(-_SAMPLED // PARTS))
            samples.append(known.take(pa.array(np.linspace(0, len(known) - 1, most).astype(np.int64))))
        return cls(count, pa.concat_tables(samples).combine_chunks())

    def compare(self, store: Store, tokenizer: Tokenizer, vectors: str) -> dict[str, Any]:
        """The metrics of the codebooks: of how many items' vectors they were compared, the share of them that get their
        own codes, and figures to judge the drift of later items by.

        Raises BadInput if most get other codes: then the codebooks were not learned on these vectors.
        """
        if not len(self.sample):
            return {"compared": 0}
        content_ids = column(self.sample, "content_id")
        rows = table_by_id(store.dataset("contents"), content_ids.to_pylist(), ["content_id", vectors])
        rows = rows.take(pc.index_in(content_ids, value_set=rows["content_id"].combine_chunks()))
        vectors_SD = nan_rows(rows[vectors], tokenizer.dim)
        codes_SL = tokenizer.encode(vectors_SD)
        own_SL = matrix(column(self.sample, "codes"), len(tokenizer.codebook_sizes))
        agreement = float((codes_SL == own_SL).all(1).mean())
        if agreement < _LEAST_AGREEMENT:
            raise BadInput(
                f"only {agreement:.1%} of {len(self.sample)} items get their own codes from the codebooks and their "
                f"{vectors} vectors: the two do not belong together; name the vectors with {option('space')}, or leave "
                f"{option('codebooks')} out"
            )
        metrics: dict[str, Any] = {"compared": len(self.sample), "agreement": agreement}
        use = CodeUse(tokenizer.codebook_sizes)
        use.add(vectors_SD, tokenizer.decode(codes_SL), codes_SL)
        return metrics | ({"held_out": use.document()} if enough(use) else {})
