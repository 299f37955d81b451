"""The trie of a snapshot as a folder: its arrays, the items that they number, and a manifest."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.core.errors import BadInput, NotReady
from fuseid.pipelines.exports.columns import ids_of
from fuseid.pipelines.exports.folder import new_folder, read_manifest, write_manifest
from fuseid.pipelines.exports.snapshot import Snapshot
from fuseid.pipelines.store.conditions import check_names
from fuseid.pipelines.store.time_limit import limited
from fuseid.tokenizers.trie import Trie

_ARRAYS, _ITEMS = "trie", "items.parquet"
# The columns that a filter of items may use, besides content_id.
_FACTS = ("content_id", "kind", "updated_at")


def export_trie(
    uri: str,
    out: str | Path,
    tokenizer_id: str | None = None,
    where: str | None = None,
    digit: bool = True,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Writes the folder `out`: `trie/`, `items.parquet` (content_id, kind, updated_at; row n is item n, sorted by
    content_id) and `manifest.json`. The same versions give the same bytes. Returns the manifest.

    where: an SQL condition on columns of `contents`; other items are left out. digit: the collision digit is the last
    code, so that an ID has one item, or as many as share it by the policy; without it, all items of the same codes.
    timeout: seconds that evaluating the condition may take, by default 60.
    Memory grows by some 100 bytes for each item, whatever the size of its columns.
    Raises BadInput if `out` is not empty and for an invalid condition, NotReady if no item fulfils it and for a
    condition that takes too long.
    """
    snapshot = Snapshot.open(uri, tokenizer_id)
    with suppress(OSError, RuntimeError, ValueError):  # an invalid condition is refused below
        limited(lambda: snapshot.pinned.contents.count_rows(where), timeout, where)
    with new_folder(out) as folder:
        codes, writer = [], None
        with snapshot.items(_FACTS[1:], where) as (_, batches):
            for batch in batches:
                ids_NM = ids_of(pa.Table.from_batches([batch]), snapshot.codebook_sizes)
                codes.append(ids_NM if digit else ids_NM[:, :-1])
                facts = batch.select(list(_FACTS))
                writer = writer or pq.ParquetWriter(folder / _ITEMS, facts.schema, compression="zstd")
                writer.write_batch(facts)
        if writer is None:
            if where:
                check_names(snapshot.pinned.contents, where)
            chosen = f" where {where}" if where else ""
            raise NotReady(f"{uri} has no item with an ID{chosen}: there is no trie to write")
        writer.close()
        trie = Trie.build(np.concatenate(codes), tokenizer_id=snapshot.tokenizer.id)
        trie.save(folder / _ARRAYS)
        facts = {"format": "trie", "items": trie.item_count, "ids": trie.id_count, "levels": trie.levels}
        manifest = write_manifest(folder, {**snapshot.facts(), **facts, "digit": digit, "where": where})
        snapshot.tag()
    return manifest


@dataclass(frozen=True)
class ExportedTrie:
    """An opened folder. The trie's arrays are memory-mapped; the items are read when they are first used."""

    folder: Path
    manifest: dict[str, Any]
    trie: Trie

    @cached_property
    def items(self) -> pa.Table:
        """content_id, kind, updated_at; row n is the trie's item n. A mask of it is a filter of the trie."""
        return pq.read_table(self.folder / _ITEMS)

    def content_ids(self, items: np.ndarray) -> list[str]:
        return self.items["content_id"].take(pa.array(items)).to_pylist()


def open_trie(folder: str | Path) -> ExportedTrie:
    """Opens a folder. Raises BadInput if it was not written by `export_trie`, or was altered since."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest.get("format") != "trie":
        raise BadInput(f"{folder} holds no trie but an export of format {manifest.get('format')!r}")
    return ExportedTrie(folder, manifest, Trie.open(folder / _ARRAYS))
