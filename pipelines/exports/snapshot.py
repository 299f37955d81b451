"""A snapshot: both tables of a database at one version, and the tokenizer whose IDs are read from them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.artifacts import ArtifactInfo, encodes
from fuseid.core.errors import BadInput, StoreError
from fuseid.core.names import hint
from fuseid.core.reasons import reason
from fuseid.core.surface import option
from fuseid.pipelines.assignment.ledger import pinned_policy
from fuseid.pipelines.exports.columns import IDS, column, lists_of, matrix
from fuseid.pipelines.exports.order import order_of
from fuseid.pipelines.exports.ranges import SCAN_ROWS, Ranges, borders
from fuseid.pipelines.exports.tags import put_tag, tag_named, tag_of, tokenizer_of
from fuseid.pipelines.store.conditions import check_whole
from fuseid.pipelines.store.integrity import cause_of
from fuseid.pipelines.store.messages import no_ids
from fuseid.pipelines.store.pinned_tables import NAMES, PinnedTables
from fuseid.pipelines.store.rows import sql_string
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.table_files import commit_id
from fuseid.pipelines.streams.batches import folded, rebatched
from fuseid.pipelines.streams.prefetch import Prefetch
from fuseid.tokenizers.collisions import Policy

ITEMS = pa.schema(
    [
        ("content_id", pa.string()),
        ("kind", pa.string()),
        ("sid", pa.string()),
        ("codes", pa.list_(pa.int32())),
        ("suffix", pa.int32()),
    ]
)
ID_COLUMNS = ("sid", "codes", "suffix")
ITEM_ROWS = 1 << 16
_RANGE_BYTES = 1 << 28
# How many rows of the ledger are looked up at a time; each look-up builds a hash table of all items.
_LOOKED_UP_ROWS = 1 << 19


@dataclass(frozen=True)
class Snapshot:
    """A reader whose data does not change while jobs write: neither items nor IDs, nor which tokenizer is champion.

    fusion: None for adopted IDs without codebooks, which depend on no vectors.
    """

    uri: str
    pinned: PinnedTables
    tokenizer: ArtifactInfo
    policy: Policy
    fusion: ArtifactInfo | None

    @classmethod
    def open(cls, uri: str, tokenizer_id: str | None = None, tag: str | None = None) -> Snapshot:
        """The newest versions, or those of an earlier export; with the IDs of the champion, or of that export, unless a
        tokenizer is named.

        Raises StoreError if there are no IDs, ArtifactError for an unknown tokenizer, BadInput for an unknown tag.
        """
        store = Store.open(uri)
        pinned = PinnedTables.newest(store)
        tokenizer_id = tokenizer_id and store.tokenizer_named(tokenizer_id)
        if tag is not None:
            tag = tag_named(uri, tag)
            tokenizer_id = tokenizer_id or tokenizer_of(tag)
            pinned = pinned.tagged(tag)
        return cls._of(store, pinned, tokenizer_id)

    @classmethod
    def of_manifest(cls, uri: str, manifest: Mapping[str, Any]) -> Snapshot:
        """The snapshot from which an export was made, by the facts of its manifest.

        Raises BadInput if a version is gone, and if the manifest is of another database.
        """
        store = Store.open(uri)
        datasets: list[lance.LanceDataset] = []
        for name in NAMES:
            try:
                version, commit = int(manifest["versions"][name]), manifest["commits"][name]
            except (KeyError, TypeError, ValueError):
                raise BadInput(f"the manifest names no version of {name}; is it one that an export wrote?") from None
            dataset = store.dataset(name)
            try:
                dataset = dataset.checkout_version(version)
            except (OSError, OverflowError, ValueError):
                raise BadInput(
                    f"{uri} has no version {version} of {name}: it was cleaned up after its tag was removed, or the "
                    "manifest is of another database"
                ) from None
            if commit_id(dataset) != commit:
                raise BadInput(
                    f"the manifest is of another database than {uri}: their versions {version} of {name} differ"
                )
            datasets.append(dataset)
        return cls._of(store, PinnedTables(*datasets), str(manifest.get("tokenizer_id")))

    @classmethod
    def _of(cls, store: Store, pinned: PinnedTables, tokenizer_id: str | None) -> Snapshot:
        tokenizer_id = tokenizer_id or store.setting("champion", pinned.ledger)
        if tokenizer_id is None:
            raise StoreError(no_ids(store.uri))
        tokenizer = store.describe_tokenizer(tokenizer_id)
        fusion = None
        if encodes(tokenizer):
            fusion = store.describe_fusion(tokenizer.meta["fusion"] or store.setting("fusion", pinned.ledger))
        return cls(store.uri, pinned, tokenizer, pinned_policy(store, tokenizer.id, pinned.ledger), fusion)

    def under(self, tokenizer_id: str, argument: str) -> Snapshot:
        """The same versions with the IDs of another tokenizer, by its id or an unambiguous beginning of it.

        argument: that names it. Raises BadInput if it is this snapshot's own tokenizer, ArtifactError if it is unknown.
        """
        store = Store.open(self.uri)
        tokenizer_id = store.tokenizer_named(tokenizer_id)
        if tokenizer_id == self.tokenizer.id:
            raise BadInput(f"{argument} names {tokenizer_id}, the tokenizer whose IDs come first; name another one")
        return self._of(store, self.pinned, tokenizer_id)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return tuple(self.tokenizer.meta["codebook_sizes"])

    @property
    def levels(self) -> int:
        return len(self.codebook_sizes)

    def tag(self) -> str:
        """Tags both versions, so that clean-up does not remove them, and returns the tag, which is always the same.

        Raises StoreError if the database cannot be written to.
        """
        put_tag(self.uri, self.pinned, self._tag)
        return self._tag

    @property
    def _tag(self) -> str:
        return tag_of(self.pinned, self.tokenizer.id)

    @contextmanager
    def items(
        self,
        extra: Sequence[str] = (),
        where: str | None = None,
        ordered: bool = True,
        *,
        batch_rows: int = ITEM_ROWS,
        range_bytes: int = _RANGE_BYTES,
    ) -> Iterator[tuple[int, Iterator[pa.RecordBatch]]]:
        """How many items have an ID, and these items, in batches of `batch_rows`, the last one smaller. The next batch
        is made while the caller uses one.

        Columns of `IDS`, then `extra` of `ITEMS` and of `contents`. where: an SQL condition on columns of `contents`.
        range_bytes: how many bytes of items are sorted and joined at a time.
        ordered: sorted by content_id (by its bytes in UTF-8); if not, items come in the order of the table, which takes
        half the time, and very little memory if `contents` has their IDs. Else memory holds up to 256 MiB of items,
        some three million, two or three times over; more are in temporary files until the block ends.
        Raises BadInput for an unknown column and for an invalid condition.
        """
        names, have = tuple(dict.fromkeys((*IDS.names, *extra))), self.pinned.contents.schema
        if missing := [name for name in names if name not in ITEMS.names and name not in have.names]:
            raise BadInput(f"{self.uri} has no column {missing[0]!r}; {hint(missing[0], have.names)}")
        schema = pa.schema([(ITEMS if name in ITEMS.names else have).field(name).remove_metadata() for name in names])
        with tempfile.TemporaryDirectory(prefix="fuseid-export-") as directory:
            count, tables = self._counted(schema, where, ordered, batch_rows, range_bytes, Path(directory))
            with Prefetch(rebatched(tables, batch_rows), room=1, name="fuseid-items") as batches:
                yield count, iter(batches)

    def largest_suffix(self) -> int:
        """The largest collision digit that was given under the tokenizer, 0 if none was; deleted items count."""
        batches = self.pinned.ledger.to_batches(columns=["suffix"], filter=f"{self._ours} AND suffix IS NOT NULL")
        return max((pc.max(batch["suffix"]).as_py() for batch in batches if batch.num_rows), default=0)

    def facts(self) -> dict[str, Any]:
        """The facts of a manifest about where its IDs come from."""
        return {
            "tag": self._tag,
            "versions": self.pinned.versions,
            "commits": self.pinned.commits,
            **self.id_facts(),
        }

    def id_facts(self) -> dict[str, Any]:
        """Those that do not depend on the versions."""
        return {
            "tokenizer_id": self.tokenizer.id,
            "codebook_sizes": list(self.codebook_sizes),
            "collisions": asdict(self.policy),
            "fusion_id": self.fusion and self.fusion.id,
            "encoders": self.fusion and self.fusion.meta["encoders"],
            "config": {"tokenizer": _without_metrics(self.tokenizer), "fusion": _without_metrics(self.fusion)},
        }

    @property
    def _ours(self) -> str:
        return f"tokenizer_id = {sql_string(self.tokenizer.id)}"

    def _counted(
        self, schema: pa.Schema, where: str | None, ordered: bool, table_rows: int, range_bytes: int, scratch: Path
    ) -> tuple[int, Iterator[pa.Table]]:
        """How many items there are, and tables of them; if `ordered`, of `table_rows` rows, each sorted and above the
        tables before it.

        `contents` holds a copy of the champion's IDs: the ledger is read for the items that lack it, which are all
        items for another tokenizer.
        """
        if where is not None:
            check_whole(self.pinned.contents, where)
        try:
            rows = self.pinned.contents.count_rows(where)
            lacking = rows - self.pinned.contents.count_rows(f"({where}) AND {self._ours}" if where else self._ours)
        except (OSError, RuntimeError, ValueError) as error:
            if where is None:
                raise
            refused = f"the database refused {option('where', where)}: {reason(error)}"
            raise cause_of(error, self.uri) or BadInput(refused) from None
        names = list(dict.fromkeys([*schema.names, *(["tokenizer_id"] if lacking else [])]))
        columns = [name for name in dict.fromkeys((*names, "sid")) if name != "suffix"]
        batches = _with_suffixes(_reader(self.pinned.contents, columns, where), names)
        if not lacking and not ordered:
            return rows, (pa.Table.from_batches([batch]).cast(schema) for batch in batches)
        find = partial(borders, self.pinned.contents, where, rows)
        items = Ranges.of_bytes(batches, find, range_bytes, scratch, "items")
        parts = range(items.count)
        if not lacking:
            return rows, chain.from_iterable(
                _sorted(items.read(part), schema, self.levels, table_rows) for part in parts
            )
        given = _reader(self.pinned.ledger, ["content_id", *ID_COLUMNS], self._ours)
        if items.count == 1:
            given = _of_items(given, self._split(items.read(0))[1])
        ids = Ranges(given, items.borders, scratch, "given")

        def completed() -> Iterator[pa.Table]:
            for part in parts:
                copied, without = self._split(items.read(part))
                tables = (copied, _joined(without, ids.read(part)))
                whole = pa.concat_tables(table.select(schema.names) for table in tables)
                yield from _sorted(whole, schema, self.levels, table_rows) if ordered else [whole.cast(schema)]

        found = sum(_found(self._split(items.read(part))[1], ids.read(part)) for part in parts)
        return rows - lacking + found, completed()

    def _split(self, items: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The items with a copy of their ID, and the others."""
        copied = pc.fill_null(pc.equal(items["tokenizer_id"], self.tokenizer.id), False)
        return items.filter(copied), items.filter(pc.invert(copied))


def _without_metrics(artifact: ArtifactInfo | None) -> dict[str, Any] | None:
    return None if artifact is None else {key: value for key, value in artifact.meta.items() if key != "metrics"}


def _reader(dataset: lance.LanceDataset, columns: list[str], where: str | None) -> pa.RecordBatchReader:
    return dataset.scanner(columns=columns, filter=where, batch_size=SCAN_ROWS).to_reader()


def _of_items(given: pa.RecordBatchReader, items: pa.Table) -> pa.RecordBatchReader:
    """The rows of the ledger that belong to these items; most rows may belong to deleted ones."""
    ids = items["content_id"].combine_chunks()
    tables = (rows.filter(pc.is_in(rows["content_id"], value_set=ids)) for rows in folded(given, _LOOKED_UP_ROWS))
    return pa.RecordBatchReader.from_batches(given.schema, (batch for rows in tables for batch in rows.to_batches()))


def _found(items: pa.Table, given: pa.Table) -> int:
    """How many of these items have an ID in the ledger."""
    ids = items["content_id"].combine_chunks()
    return pc.sum(pc.is_in(given["content_id"], value_set=ids), min_count=0).as_py()


def _joined(items: pa.Table, given: pa.Table) -> pa.Table:
    """Items with their rows of the ledger; items without one are left out. Copies only rows of these items."""
    ids = items["content_id"].combine_chunks()
    rows = given.filter(pc.is_in(given["content_id"], value_set=ids)).combine_chunks()
    found = pc.index_in(ids, value_set=rows["content_id"].combine_chunks())
    items, rows = items.filter(found.is_valid()), rows.take(found.drop_null())
    items = items.select([name for name in items.schema.names if name not in ID_COLUMNS])
    for name in ID_COLUMNS:
        items = items.append_column(name, rows[name])
    return items


def _with_suffixes(items: pa.RecordBatchReader, names: list[str]) -> pa.RecordBatchReader:
    """These columns, with the collision digit, which is read from the end of the ID."""

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in items:
            there = pc.match_substring(batch["sid"], ".").fill_null(False)
            digits = pc.list_element(pc.split_pattern(batch["sid"].filter(there), "."), 1).cast(pa.int32())
            suffixes = pc.replace_with_mask(pa.nulls(len(batch), pa.int32()), there, digits)
            yield batch.append_column("suffix", suffixes).select(names)

    fields = items.schema.append(pa.field("suffix", pa.int32()))
    return pa.RecordBatchReader.from_batches(pa.schema([fields.field(name) for name in names]), batches())


def _sorted(items: pa.Table, schema: pa.Schema, levels: int, table_rows: int) -> Iterator[pa.Table]:
    items = items.select(schema.names).cast(schema).combine_chunks()
    order = order_of(column(items, "content_id"))
    # Taking rows of a matrix is several times faster than taking lists.
    codes_NL = matrix(column(items, "codes"), levels)
    items = items.drop_columns(["codes"])
    for start in range(0, len(order), table_rows):
        rows = order[start : start + table_rows]
        taken = items.take(pa.array(rows)).append_column("codes", lists_of(codes_NL.take(rows, axis=0)))
        yield taken.select(schema.names).combine_chunks()
