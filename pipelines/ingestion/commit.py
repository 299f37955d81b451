"""Commits waves of finished rows to the store: the only module that does."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput, FetchFailed, FingerprintMismatch
from fuseid.core.faults import reached
from fuseid.core.fingerprints import text_hash
from fuseid.core.modalities import ENCODED, FUSED_COLUMNS, MOST_MODALITIES, modalities
from fuseid.core.schemas import DONE, REJECTED, contents_schema
from fuseid.pipelines.ingestion.failures import Failures
from fuseid.pipelines.ingestion.fingerprints import StageFingerprints
from fuseid.pipelines.store.generations import fingerprint
from fuseid.pipelines.store.rows import rows_by_id, table_by_id
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import fused_fingerprints, nan_rows, to_fixed

if TYPE_CHECKING:
    from fuseid.encoders.fusion import Fusion

log = logging.getLogger("fuseid")


@dataclass(frozen=True, slots=True)
class Committed:
    """What a wave changed. unchanged: items whose media have the bytes that the store knows. rejected, kept: items by
    error class; `kept` are known items that failed and whose rows in `contents` stay."""

    written: int
    unchanged: int
    rejected: Counter[str]
    kept: Failures


class WaveCommitter:
    """Upserts a wave of DONE rows: good rows into `contents`, failed ones into `rejected`; each is deleted from the
    other table.

    Committing a wave twice changes nothing. A crash loses at most the current wave: an item is done when its row is in
    `contents`, and `reconcile` cleans up the rest at the next start.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        fingerprints: StageFingerprints,
        fusions: Mapping[str, Fusion],
    ) -> None:
        """fusions: by the column of their vectors."""
        self._store = store
        self._run_id = run_id
        self._fingerprints = fingerprints
        self._fusions = fusions
        self._rejections = Rejections(store, run_id)

    def commit(self, wave: pa.Table, keep_known: bool = False) -> Committed:
        """Rows of items that are neither written nor rejected stay as they are.

        keep_known: a rejection never removes a row of `contents`. Raises LeaseLost, and FingerprintMismatch for vectors
        of another size.
        """
        failed = pc.is_valid(wave["error_class"])
        # filter() copies every column, thumbnails included; it is skipped if nothing failed.
        good = wave.filter(pc.invert(failed)) if pc.any(failed).as_py() else wave
        same = pc.and_(good["skip_if_same"], pc.invert(good["want_media"]))
        unchanged = pc.sum(same).as_py() or 0
        if unchanged:
            good = good.filter(pc.invert(same))
        all_bad = wave.filter(failed)
        bad = self._keep_known_items(all_bad, any_class=keep_known)

        def write() -> None:
            self._ensure_columns(good)
            self._store.upsert("contents", self._contents_rows(good))

        self._rejections.commit(good["content_id"], write, bad)
        kept = self._rejections.kept(all_bad, bad)
        return Committed(good.num_rows, unchanged, Counter(bad["error_class"].to_pylist()), kept)

    def _keep_known_items(self, bad: pa.Table, any_class: bool) -> pa.Table:
        """The failed rows without those of known items, whose rows in the store are kept: a failed fetch, which may be
        transient, never removes a known item; no failure removes one with ready-made vectors, which do not come from
        its media; with `any_class` no failure removes any."""
        if not bad.num_rows or not self._store.has_contents():
            return bad
        ready = [name for name in self._ready_made_columns() if name in self._store.dims()]
        transient = pc.equal(bad["error_class"], FetchFailed.__name__)
        ids = (bad if any_class or ready else bad.filter(transient))["content_id"].to_pylist()
        kept = pc.is_in(bad["content_id"], self._rejections.known(pa.array(ids, pa.string())))
        if not any_class:
            kept = pc.and_(kept, transient)
        if ready and not any_class:
            where = " OR ".join(f"{name} IS NOT NULL" for name in ready)
            brought = self._rejections.known(bad["content_id"], where)
            kept = pc.or_(kept, pc.is_in(bad["content_id"], brought))
        return bad.filter(pc.invert(kept))

    def _ensure_columns(self, good: pa.Table) -> None:
        """Raises FingerprintMismatch for vectors of another size than the database has: the model or file is wrong; and
        BadInput for more kinds of vectors than it can have."""
        have = self._store.dims()
        dims = dict(have)
        for name in _VECTORS:
            sizes = {size for size in pc.list_value_length(good[name]).unique().to_pylist() if size}
            want = dims.setdefault(name, min(sizes)) if sizes else None
            if sizes and sizes != {want}:
                found = min(sizes - {want})
                raise FingerprintMismatch(
                    f"{name} vectors of {found} numbers cannot enter {self._store.uri}, "
                    f"where {name} has {want}; use the model this database began with, or another database"
                )
        kinds, new = dims.keys() - {*FUSED_COLUMNS}, [name for name in dims if name not in have]
        if new and len(kinds) > MOST_MODALITIES:
            there = ", ".join(sorted(kinds - {*new}))
            raise BadInput(
                f"{self._store.uri} has {len(kinds) - len(new)} kinds of vectors ({there}), and cannot have "
                f"{' and '.join(new)} too: {MOST_MODALITIES} is the most; use another database"
            )
        self._store.ensure_vectors(dims)

    def _contents_rows(self, good: pa.Table) -> pa.Table:
        dims = self._store.dims()
        rows = good.num_rows
        vectors = {name: nan_rows(good[name].combine_chunks(), dims[name]) for name in _VECTORS if name in dims}
        new = self._fingerprints
        columns: dict[str, Any] = {name: good[name] for name in good.schema.names if name in _PLAIN}
        columns.update({name: to_fixed(vectors_ND) for name, vectors_ND in vectors.items()})
        ready = self._ready_made(good["content_id"])
        columns.update(ready)
        vectors.update({name: nan_rows(ready[name], dims[name]) for name in ready if name in dims})
        columns["attributes"] = pa.array(good["attributes"].to_pylist(), pa.json_())
        columns["caption_hash"] = pa.array([text_hash(text) for text in good["caption"].to_pylist()], pa.string())
        has_media = pc.is_valid(good["media_hash"])
        columns["decode_fp"] = pc.if_else(has_media, pa.scalar(new.decode), pa.scalar(None, pa.string()))
        for column, model in new.models().items():
            columns[column] = pa.array([model] * rows, pa.string())
        columns["describe_fp"] = pa.array([new.describe] * rows, pa.string())
        columns["run_id"] = pa.array([self._run_id] * rows, pa.string())
        columns["updated_at"] = pa.array([datetime.now(UTC)] * rows, pa.timestamp("us", tz="UTC"))
        for column, fusion in self._fusions.items():
            fused = fusion.transform(vectors)
            columns[column] = to_fixed(fused)
            columns[fingerprint(column)] = fused_fingerprints(fusion.id, fused)
        columns.update(self._ids_kept(good["content_id"].to_pylist()))
        schema = contents_schema(dims)
        arrays = [columns.get(name, pa.nulls(rows, schema.field(name).type)) for name in schema.names]
        # One batch: of several, which are slices of one column, Lance's merge counts the whole column for each of them
        # towards its memory limit.
        arrays = [a.combine_chunks() if isinstance(a, pa.ChunkedArray) else a for a in arrays]
        return pa.table(arrays, schema=schema)

    def _ready_made(self, ids: pa.ChunkedArray) -> dict[str, pa.Array]:
        """The stored ready-made vectors of these items and their fingerprints, which a row of media keeps."""
        names = self._ready_made_columns()
        if not names:
            return {}
        stored = table_by_id(self._store.dataset("contents"), ids.to_pylist(), ["content_id", *names])
        at = pc.index_in(ids, value_set=stored["content_id"].combine_chunks()).combine_chunks()
        return {name: stored[name].combine_chunks().take(at) for name in names}

    def _ready_made_columns(self) -> list[str]:
        own = [each for each in modalities(self._store.dims()) if each.made_from == "outside"]
        return [name for each in own for name in (each.name, each.fingerprint)]

    def _ids_kept(self, ids: list[str]) -> dict[str, pa.Array]:
        """The columns of the ID, from the ledger: an edited item keeps its semantic ID, so its new row needs them."""
        champion = self._store.setting("champion")
        if champion is None:
            return {}
        wanted = ("content_id", "codes", "sid")
        where = f"tokenizer_id = '{champion}'"
        kept = {row["content_id"]: row for row in rows_by_id(self._store.dataset("assignments"), ids, wanted, where)}
        return {
            "codes": pa.array([kept[i]["codes"] if i in kept else None for i in ids], pa.list_(pa.int32())),
            "sid": pa.array([kept[i]["sid"] if i in kept else None for i in ids], pa.string()),
            "tokenizer_id": pa.array([champion if i in kept else None for i in ids], pa.string()),
        }


_VECTORS = tuple(modality.name for modality in ENCODED)
_PLAIN = frozenset(DONE.names) - frozenset(_VECTORS) - {"attributes"}


class Rejections:
    """An item is in `contents` or in `rejected`: what a run writes into the one, it deletes from the other."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id

    def commit(self, good: pa.ChunkedArray, write: Callable[[], None], bad: pa.Table) -> None:
        """The commits of a wave, in an order in which a crash loses no item. good: the content_ids of the rows that
        `write` writes into `contents`. bad: see `reject`."""
        reached("wave.ready")
        if len(good):
            write()
            reached("wave.contents")
        if bad.num_rows:
            self.reject(bad)
            reached("wave.rejected")
        if len(good):
            self.forget(good)
        reached("wave.done")

    def reject(self, bad: pa.Table) -> None:
        """bad: failed rows, whose items leave `contents`."""
        ids = bad["content_id"].to_pylist()
        if self._store.has_contents():
            self._store.delete("contents", ids)
            reached("wave.removed")
        first = {
            row["content_id"]: row["first_run"]
            for row in rows_by_id(self._store.dataset("rejected"), ids, ["content_id", "first_run"])
        }
        rows = [
            {
                "content_id": row["content_id"],
                "uri": row["uri"],
                "stage": row["error_stage"],
                "error_class": row["error_class"],
                "message": row["error_message"],
                "attempts": (row["attempts"] or 0) + 1,
                "first_run": first.get(row["content_id"]) or self._run_id,
                "last_run": self._run_id,
                "fingerprint": row["item_fp"],
            }
            for row in bad.select(_OF_REJECTED).to_pylist()
        ]
        self._store.upsert("rejected", pa.Table.from_pylist(rows, schema=REJECTED))
        for row in rows:
            log.info(
                "run %s: rejected %r at %s, attempt %d: %s: %s",
                self._run_id, row["content_id"], row["stage"], row["attempts"], row["error_class"], row["message"],
            )  # fmt: skip

    def kept(self, bad: pa.Table, rejected: pa.Table) -> Failures:
        """The failures among `bad` that are not rejected; each is logged, since no table holds it."""
        kept = Failures()
        stays = pc.invert(pc.is_in(bad["content_id"], value_set=rejected["content_id"].combine_chunks()))
        for row in bad.filter(stays).select(_OF_REJECTED).to_pylist():
            kept.add(row["error_class"], row["content_id"], row["error_message"])
            log.info(
                "run %s: kept %r, which failed at %s: %s: %s",
                self._run_id, row["content_id"], row["error_stage"], row["error_class"], row["error_message"],
            )  # fmt: skip
        return kept

    def forget(self, ids: pa.ChunkedArray) -> None:
        """ids: of items that are in `contents` now."""
        for batch in self._store.dataset("rejected").to_batches(columns=["content_id"]):
            found = batch["content_id"].filter(pc.is_in(batch["content_id"], value_set=ids.combine_chunks()))
            self._store.delete("rejected", found.to_pylist())

    def known(self, ids: pa.Array | pa.ChunkedArray, where: str = "") -> pa.Array:
        """Those of the items that are in `contents` and fulfil a condition."""
        found = table_by_id(self._store.dataset("contents"), ids.to_pylist(), ["content_id"], where)
        return found["content_id"].combine_chunks()


_OF_REJECTED = ["content_id", "uri", "error_stage", "error_class", "error_message", "attempts", "item_fp"]


def reconcile(store: Store) -> int:
    """Deletes rows of `rejected` whose items are in `contents`, which a run leaves that was killed between its commits
    to the two. Returns the number of rows deleted."""
    if not store.has_contents():
        return 0
    dropped = 0
    for batch in store.dataset("rejected").to_batches(columns=["content_id"], batch_size=1000):
        ids = batch["content_id"].to_pylist()
        found = [row["content_id"] for row in rows_by_id(store.dataset("contents"), ids, ["content_id"])]
        store.delete("rejected", found)
        dropped += len(found)
    return dropped
