"""Checks of IDs and fused vectors: `contents` is compared with the ledger, with `rejected` and with the fusion in
force."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import lance
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.surface import command
from fuseid.pipelines.assignment.champion import load_fusion
from fuseid.pipelines.assignment.finish import write_fused
from fuseid.pipelines.assignment.ledger import Ledger, ledger_rows, pinned_policy, tokenizers_with_ids
from fuseid.pipelines.assignment.projection import project
from fuseid.pipelines.checks.damage import RESTORE, Damage
from fuseid.pipelines.checks.tables import keys_twice
from fuseid.pipelines.ingestion.commit import reconcile
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.store.copied_ids import copies_unknown_to_ledger, ledger_rows_when_copied, note_ledger_rows
from fuseid.pipelines.store.generations import fingerprint, fused_column, generations
from fuseid.pipelines.store.integrity import of_other_fusion
from fuseid.pipelines.store.rows import rows_by_id, sql_string
from fuseid.pipelines.store.store import Store

_BATCH = 4096


def _accept(store: Store) -> str:
    goes_on = command("check", store.uri, repair=True, accept_lost_ids=True)
    return f"{RESTORE}; or {goes_on} goes on without them"


def doubled_ids(store: Store) -> Iterator[Damage]:
    """Items with two IDs under one tokenizer; IDs of two items although the policy gives every item its own."""
    ledger = store.dataset("assignments")
    for tokenizer_id in tokenizers_with_ids(store):
        where = f"tokenizer_id = {sql_string(tokenizer_id)}"
        twice, example = keys_twice(ledger, ["content_id"], where)
        if twice:
            yield Damage("assignments", f"{twice} items have two IDs under {tokenizer_id}, {example!r} for one",
                         "which of them was exported cannot be known")  # fmt: skip
        policy = pinned_policy(store, tokenizer_id)
        if policy.collisions == "none" or policy.duplicates == "share":
            continue
        twice, example = keys_twice(ledger, ["sid"], where)
        if twice:
            yield Damage("assignments", f"{twice} IDs under {tokenizer_id} belong to two items, {example} for one",
                         "a generated ID leads to two items")  # fmt: skip


def malformed_rows(store: Store) -> Iterator[Damage]:
    """Rows of the ledger whose ID does not match their codes and digit."""
    wrong, example = 0, ""
    for batch in store.dataset("assignments").to_batches(columns=["content_id", "codes", "suffix", "base", "sid"]):
        bad = batch.filter(pc.invert(_agree(batch["codes"], batch["sid"], batch["base"], batch["suffix"])))
        wrong += bad.num_rows
        example = example or (bad["content_id"][0].as_py() if bad.num_rows else "")
    if wrong:
        what = f"in {wrong} rows the ID is not that of the codes and the digit, of {example!r} for one"
        yield Damage("assignments", what, "these IDs, and IDs may be given twice")


def other_codes(store: Store) -> Iterator[Damage]:
    """Items in `contents` whose codes do not match their ID."""
    wrong = 0
    for batch in store.dataset("contents").to_batches(columns=["codes", "sid"], filter="sid IS NOT NULL"):
        wrong += pc.sum(pc.invert(_agree(batch["codes"], batch["sid"])), min_count=0).as_py()
    if wrong:
        what = f"{wrong} items show codes that are not those of their ID"
        yield Damage("contents", what, "nothing: the ledger has them", repair=partial(_copy_again, store))


def copies_that_differ(store: Store, accept: bool) -> Iterator[Damage]:
    """IDs in `contents` that the ledger did not give, under any tokenizer; and a ledger that is older than `contents`.

    accept: repairs give up the IDs that are lost.
    """
    differ = absent = taken = 0
    example = ""
    for rows in copies_unknown_to_ledger(store):
        has_other, well_formed = rows["ledger_sid"].is_valid(), _well_formed(rows)
        differ += pc.sum(pc.or_(has_other, pc.invert(well_formed)), min_count=0).as_py()
        rows = rows.filter(pc.and_(pc.invert(has_other), well_formed))
        conflicts = _taken(store, rows)
        taken += len(conflicts)
        absent += len(rows) - len(conflicts)
        example = example or (conflicts["content_id"][0].as_py() if len(conflicts) else "")
    taken_back = partial(_take_back, store) if accept else None
    if absent:
        what = f"the ledger lacks the IDs that {absent} items show: it is older than contents"
        yield Damage("assignments", what, "nothing of these IDs", repair=partial(_adopt, store))
    if differ:
        what = f"{differ} items show another ID than the ledger gave them"
        yield Damage("contents", what, "one of the two was exported, perhaps", _accept(store), taken_back)
    if taken:
        what = f"{taken} items show an ID that the ledger gave to another item, {example!r} for one"
        yield Damage("contents", what, "a generated ID leads to two items", _accept(store), taken_back)
    rows, noted = store.dataset("assignments").count_rows(), ledger_rows_when_copied(store)
    if noted is not None and rows < noted and not absent:
        what = f"the ledger has {rows} rows and had {noted} when contents copied IDs: it is older"
        cost = "IDs of items that were removed since, and of other tokenizers: they may be given again"
        yield Damage(
            "assignments", what, cost, _accept(store), partial(note_ledger_rows, store, True) if accept else None
        )


def stale_copies(store: Store) -> Iterator[Damage]:
    """Items whose ID is in the ledger and not yet in `contents`: a run was killed before it copied the IDs."""
    champion = store.setting("champion")
    if champion is None:
        return
    ledger, stale = Ledger(store, champion), 0
    where = f"tokenizer_id IS NULL OR tokenizer_id <> {sql_string(champion)}"
    for batch in store.dataset("contents").to_batches(columns=["content_id"], filter=where, batch_size=1 << 16):
        stale += sum(part.num_rows for part in ledger.rows("content_id", batch["content_id"], []))
    if stale:
        what = f"{stale} items do not show the ID that the ledger gave them"
        yield Damage("contents", what, "look-ups do not find them by ID", repair=partial(_projected, store))


def vectors_of_other_fusions(store: Store, progress: Progress) -> Iterator[Damage]:
    """Compares every fused vector of each generation with its fingerprint, which depends on the fusion."""
    contents = store.dataset("contents")
    for each in generations(store.settings()):
        column = fused_column(contents.schema, each.fusion)
        if column is None:
            continue
        others, stage = 0, f"compare {column}"
        progress.begin(stage, contents.count_rows())
        for batch in contents.to_batches(columns=[column, fingerprint(column)], batch_size=_BATCH):
            others += of_other_fusion(pa.Table.from_batches([batch]), column, each.fusion).num_rows
            progress.advance(stage, batch.num_rows)
        if others:
            cost = "look-ups and IDs of these items are wrong"
            repair = partial(_fuse_again, store, each.fusion, column)
            yield Damage("contents", f"{others} fused vectors are not of {each.fusion}", cost, repair=repair)


def rejected_and_good(store: Store) -> Iterator[Damage]:
    """Items in both `contents` and `rejected`: a run was killed between its commits to the two tables."""
    contents, both = store.dataset("contents"), 0
    for batch in store.dataset("rejected").to_batches(columns=["content_id"], batch_size=1000):
        both += sum(1 for _ in rows_by_id(contents, batch["content_id"].to_pylist(), ["content_id"]))
    if both:
        repair = partial(reconcile, store)
        yield Damage("rejected", f"{both} items are in contents, too", "they count as rejected", repair=repair)


def _agree(codes: pa.Array, sid: pa.Array, base: pa.Array | None = None, suffix: pa.Array | None = None) -> pa.Array:
    """bool [N]: whether an ID matches its codes and its digit; without `base` and `suffix`, only its codes."""
    written = pc.binary_join(codes.cast(pa.list_(pa.string())), "-")
    if base is None or suffix is None:
        base = pc.list_element(pc.split_pattern(pc.fill_null(sid, ""), "."), 0)
        return pc.fill_null(pc.equal(written, base), False)
    whole = pc.coalesce(pc.binary_join_element_wise(base, suffix.cast(pa.string()), "."), base)
    return pc.fill_null(pc.and_(pc.equal(written, base), pc.equal(whole, sid)), False)


def _well_formed(rows: pa.Table) -> pa.ChunkedArray:
    agrees = _agree(rows["codes"].combine_chunks(), rows["sid"].combine_chunks())
    return pc.and_(pc.match_substring_regex(rows["sid"], r"^\d+(-\d+)*(\.[1-9]\d*)?$"), agrees)


def _taken(store: Store, rows: pa.Table) -> pa.Table:
    """The rows whose ID an item of other content has under the same tokenizer, in the ledger or among these rows."""
    parts = [rows.slice(0, 0)]
    for tokenizer_id in rows["tokenizer_id"].unique().to_pylist():
        ours = rows.filter(pc.equal(rows["tokenizer_id"], tokenizer_id))
        policy = pinned_policy(store, tokenizer_id)
        if policy.collisions == "none":
            continue
        held: dict[str, str | None] = {}
        bases = pc.list_element(pc.split_pattern(ours["sid"], "."), 0).combine_chunks()
        wanted = ours["sid"].combine_chunks()
        for part in Ledger(store, tokenizer_id).rows("base", bases.unique(), ["sid", "fused_fp"]):
            part = part.filter(pc.is_in(part["sid"], value_set=wanted))
            held |= dict(zip(part["sid"].to_pylist(), part["fused_fp"].to_pylist(), strict=True))
        taken = []
        for sid, content in zip(ours["sid"].to_pylist(), ours["fused_fp"].to_pylist(), strict=True):
            shared = policy.duplicates == "share" and held.get(sid, content) == content
            taken.append(sid in held and not shared)
            held.setdefault(sid, content)
        parts.append(ours.filter(pa.array(taken, pa.bool_())))
    return pa.concat_tables(parts)


def _adopt(store: Store) -> None:
    """Adds IDs of `contents` that the ledger lacks to the ledger, unless another item has them."""
    for rows in copies_unknown_to_ledger(store):
        rows = rows.filter(pc.and_(rows["ledger_sid"].is_null(), _well_formed(rows)))
        conflicts = _taken(store, rows)["content_id"].combine_chunks()
        rows = rows.filter(pc.invert(pc.is_in(rows["content_id"], value_set=conflicts)))
        if len(rows):
            reader = ledger_rows(rows).to_reader()
            store.append("assignments", reader, store.dataset("assignments").version)


def _take_back(store: Store) -> None:
    """In `contents`, replaces IDs that the ledger did not give to their items by the ledger's ID, or by null."""
    for rows in copies_unknown_to_ledger(store):
        store.rewrite_columns(partial(_without_id, rows["content_id"].combine_chunks()))
    _projected(store)


def _copy_again(store: Store) -> None:
    """In `contents`, replaces codes that do not match the ID by the ledger's."""
    where = "sid IS NOT NULL"
    for batch in store.dataset("contents").to_batches(columns=["content_id", "codes", "sid"], filter=where):
        wrong = batch.filter(pc.invert(_agree(batch["codes"], batch["sid"])))
        if wrong.num_rows:
            store.rewrite_columns(partial(_without_id, wrong["content_id"]))
    _projected(store)


def _without_id(ids: pa.Array, fragment: lance.LanceFragment) -> list[pa.RecordBatch]:
    """For those of the items that are in the fragment: nulls in the columns of the ID."""
    found = fragment.to_table(columns=["content_id"])
    found = found.filter(pc.is_in(found["content_id"], value_set=ids))
    for name in ("codes", "sid", "tokenizer_id"):
        found = found.append_column(name, pa.nulls(len(found), fragment.schema.field(name).type))
    return found.to_batches()


def _projected(store: Store) -> None:
    if (champion := store.setting("champion")) is not None:
        project(store, champion)


def _fuse_again(store: Store, fusion_id: str, column: str) -> None:
    write_fused(
        store, load_fusion(store, fusion_id), column, select=lambda rows: of_other_fusion(rows, column, fusion_id)
    )
