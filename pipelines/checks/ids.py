"""IDs and fused vectors: `contents` compared with the ledger, with `rejected` and with the fusion in force."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import lance
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.schemas import ASSIGNMENTS
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.assign import project
from fuseid.pipelines.checks.damage import Damage
from fuseid.pipelines.checks.tables import keys_twice
from fuseid.pipelines.commit import reconcile
from fuseid.pipelines.copied_ids import copies_unknown_to_ledger, note_ledger_rows
from fuseid.pipelines.integrity import of_other_fusion
from fuseid.pipelines.ledger import Ledger, ledger_rows, pinned_policy
from fuseid.pipelines.progress import Progress
from fuseid.pipelines.store import Store, rows_by_id, sql_string
from fuseid.pipelines.vectors import fused_fingerprints, nan_rows, to_fixed

_BATCH = 4096
_NEW_IDS = "restore a backup, or `fuseid check --repair --new-ids` gives these items other IDs"


def doubled_ids(store: Store) -> Iterator[Damage]:
    """Items with two IDs under one tokenizer; IDs that two items have although the policy gives each its own."""
    ledger = store.dataset("assignments")
    for tokenizer_id in _tokenizers(ledger):
        where = f"tokenizer_id = {sql_string(tokenizer_id)}"
        twice, example = keys_twice(ledger, ["content_id"], where)
        if twice:
            yield Damage("assignments", f"{twice} items have two IDs under {tokenizer_id}, {example!r} for one",
                         "which of them was exported cannot be told")  # fmt: skip
        policy = pinned_policy(store, tokenizer_id)
        if policy.collisions == "none" or policy.duplicates == "share":
            continue
        twice, example = keys_twice(ledger, ["sid"], where)
        if twice:
            yield Damage("assignments", f"{twice} IDs under {tokenizer_id} belong to two items, {example} for one",
                         "a generated ID leads to two items")  # fmt: skip


def copies_that_differ(store: Store, new_ids: bool) -> Iterator[Damage]:
    """IDs that `contents` shows and the ledger did not give.

    new_ids: items that show the ID of another item may get a new one.
    """
    champion = store.setting("champion")
    if champion is None:
        return
    differ = absent = taken = 0
    example = ""
    for rows in copies_unknown_to_ledger(store, champion):
        has_other = rows["ledger_sid"].is_valid()
        differ += pc.sum(has_other, min_count=0).as_py()
        rows = rows.filter(pc.invert(has_other))
        conflicts = _taken(store, champion, rows)
        taken += len(conflicts)
        absent += len(rows) - len(conflicts)
        example = example or (conflicts["content_id"][0].as_py() if len(conflicts) else "")
    if differ:
        what = f"{differ} items show another ID than the ledger gave them"
        repair = partial(_take_back, store, champion, False)
        yield Damage("contents", what, "nothing: the ledger is the truth", repair=repair)
    if absent:
        what = f"the ledger does not know the IDs that {absent} items show: it is older than contents"
        cost = "nothing of these; IDs of items that were removed since cannot be known, and may be given again"
        yield Damage("assignments", what, cost, repair=partial(_adopt, store, champion))
    if taken:
        what = f"{taken} items show an ID that the ledger gave to another item, {example!r} for one"
        new = partial(_take_back, store, champion, True) if new_ids else None
        yield Damage("contents", what, "a generated ID leads to two items", _NEW_IDS, new)


def stale_copies(store: Store) -> Iterator[Damage]:
    """Items that have an ID which `contents` does not show yet: a run was killed before it copied them."""
    champion = store.setting("champion")
    if champion is None:
        return
    ledger, stale = Ledger(store, champion), 0
    where = f"fused IS NOT NULL AND (tokenizer_id IS NULL OR tokenizer_id <> {sql_string(champion)})"
    for batch in store.dataset("contents").to_batches(columns=["content_id"], filter=where, batch_size=1 << 16):
        stale += sum(part.num_rows for part in ledger.rows("content_id", batch["content_id"], []))
    if stale:
        what = f"{stale} items do not show the ID that the ledger gave them"
        yield Damage("contents", what, "look-ups find them by no ID", repair=partial(_projected, store, champion))


def vectors_of_other_fusions(store: Store, progress: Progress) -> Iterator[Damage]:
    """Compares every fused vector with its fingerprint, which names the fusion."""
    fusion_id = store.setting("fusion")
    contents = store.dataset("contents")
    if fusion_id is None or "fused" not in contents.schema.names:
        return
    others = 0
    progress.begin("compare fused", contents.count_rows())
    for batch in contents.to_batches(columns=["fused", "fused_fp"], batch_size=_BATCH):
        others += of_other_fusion(pa.Table.from_batches([batch]), fusion_id).num_rows
        progress.advance("compare fused", batch.num_rows)
    if others:
        cost = "look-ups and IDs of these items mean nothing"
        yield Damage(
            "contents", f"{others} fused vectors are not of {fusion_id}", cost, repair=partial(_fuse_again, store)
        )


def rejected_and_good(store: Store) -> Iterator[Damage]:
    """Items in `contents` and in `rejected`: a run was killed between the two."""
    contents, both = store.dataset("contents"), 0
    for batch in store.dataset("rejected").to_batches(columns=["content_id"], batch_size=1000):
        both += sum(1 for _ in rows_by_id(contents, batch["content_id"].to_pylist(), ["content_id"]))
    if both:
        repair = partial(_reconciled, store)
        yield Damage("rejected", f"{both} items are in contents, too", "they count as rejected", repair=repair)


def _tokenizers(ledger: lance.LanceDataset) -> list[str]:
    found: set[str] = set()
    for batch in ledger.to_batches(columns=["tokenizer_id"]):
        found |= set(batch["tokenizer_id"].unique().to_pylist())
    return sorted(found)


def _taken(store: Store, champion: str, rows: pa.Table) -> pa.Table:
    """Those of rows whose ID the ledger gave to an item of other content."""
    policy = pinned_policy(store, champion)
    if policy.collisions == "none":
        return rows.slice(0, 0)
    held: dict[str, str | None] = {}
    bases = pc.list_element(pc.split_pattern(rows["sid"], "."), 0).combine_chunks()
    for part in Ledger(store, champion).rows("base", bases.unique(), ["sid", "fused_fp"]):
        held |= dict(zip(part["sid"].to_pylist(), part["fused_fp"].to_pylist(), strict=True))
    shares = policy.duplicates == "share"
    taken = [
        sid in held and not (shares and held[sid] == fingerprint)
        for sid, fingerprint in zip(rows["sid"].to_pylist(), rows["fused_fp"].to_pylist(), strict=True)
    ]
    return rows.filter(pa.array(taken, pa.bool_()))


def _adopt(store: Store, champion: str) -> None:
    """Takes IDs that `contents` shows into the ledger as they are, where no other item has them."""
    for rows in copies_unknown_to_ledger(store, champion):
        rows = rows.filter(rows["ledger_sid"].is_null())
        conflicts = _taken(store, champion, rows)["content_id"].combine_chunks()
        rows = rows.filter(pc.invert(pc.is_in(rows["content_id"], value_set=conflicts)))
        if len(rows):
            ledger = store.dataset("assignments")
            new = ledger_rows(rows, champion)
            store.append(
                "assignments", pa.RecordBatchReader.from_batches(ASSIGNMENTS, new.to_batches()), ledger.version
            )
    note_ledger_rows(store)


def _take_back(store: Store, champion: str, taken: bool) -> None:
    """Has `contents` show no ID for items that show another one than the ledger gave them (or, `taken`, an ID that it
    gave to another item), then the ledger's."""
    for rows in copies_unknown_to_ledger(store, champion):
        has_other = rows["ledger_sid"].is_valid()
        wrong = _taken(store, champion, rows.filter(pc.invert(has_other))) if taken else rows.filter(has_other)
        store.rewrite_columns(partial(_without_id, wrong["content_id"].combine_chunks()))
    project(store, champion)


def _without_id(ids: pa.Array, fragment: lance.LanceFragment) -> pa.Table:
    """Nulls for the IDs of these items, as far as they are in the fragment."""
    found = fragment.to_table(columns=["content_id"])
    found = found.filter(pc.is_in(found["content_id"], value_set=ids))
    for name in ("codes", "sid", "tokenizer_id"):
        found = found.append_column(name, pa.nulls(len(found), fragment.schema.field(name).type))
    return found


def _projected(store: Store, champion: str) -> None:
    project(store, champion)


def _reconciled(store: Store) -> None:
    reconcile(store)


def _fuse_again(store: Store) -> None:
    fusion = store.get_artifact(Fusion, store.setting("fusion"))
    dims = store.dims()
    used = [name for name in fusion.dims if name in dims]

    def update(fragment: lance.LanceFragment) -> pa.Table | None:
        parts = []
        for batch in fragment.to_batches(columns=["content_id", "fused", "fused_fp", *used], batch_size=_BATCH):
            rows = of_other_fusion(pa.Table.from_batches([batch]), fusion.id)
            if rows.num_rows:
                fused = fusion.transform({name: nan_rows(rows[name], dims[name]) for name in used})
                columns = [rows["content_id"], to_fixed(fused), fused_fingerprints(fusion.id, fused)]
                parts.append(pa.table(columns, names=["content_id", "fused", "fused_fp"]))
        return pa.concat_tables(parts) if parts else None

    store.rewrite_columns(update)
