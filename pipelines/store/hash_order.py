"""Items in the order of a hash of their content_id, which does not depend on how rows were committed; samples are the
first items in this order."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_LOWEST = pa.schema([("hash", pa.uint64()), ("content_id", pa.string()), ("row", pa.uint64())])


def content_hashes(ids: pa.Array | pa.ChunkedArray, salt: bytes = b"") -> np.ndarray:
    """string [N] -> uint64 [N]: the BLAKE2b-64 of each content_id. salt: at most 16 bytes, each for another hash."""
    texts = ids.cast(pa.binary()).to_pylist()
    digests = b"".join([blake2b(text, digest_size=8, salt=salt).digest() for text in texts])
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def lowest(
    dataset: lance.LanceDataset, limit: int, where: str, accepts: Callable[[pa.Array], np.ndarray] | None = None
) -> pa.Table:
    """Hash, content_id and row id of the `limit` rows with the lowest hashes that fulfil a condition, the lowest first;
    equal hashes by content_id. Memory holds twice as many, and one batch.

    accepts: of content_ids string [N], bool [N]: which of them may be among them.
    """
    kept, highest = _LOWEST.empty_table(), np.iinfo(np.uint64).max
    for batch in dataset.to_batches(columns=["content_id"], filter=where, with_row_id=True):
        hashes = pa.array(content_hashes(batch["content_id"]))
        low = pa.record_batch([hashes, batch["content_id"], batch["_rowid"]], schema=_LOWEST)
        low = low.filter(pc.field("hash") <= pa.scalar(highest, pa.uint64()))
        if accepts is not None:
            low = low.filter(pa.array(accepts(low["content_id"])))
        kept = pa.concat_tables([kept, pa.Table.from_batches([low])])
        if len(kept) > 2 * limit:
            highest = int(np.partition(kept["hash"].to_numpy(), limit - 1)[limit - 1])
            kept = kept.filter(pc.field("hash") <= pa.scalar(highest, pa.uint64())).combine_chunks()
    return kept.sort_by([("hash", "ascending"), ("content_id", "ascending")]).slice(0, limit)
