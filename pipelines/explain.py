"""Explain: everything that the store knows about one item, and how it got its ID; also where it is there no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fuseid.core.artifacts import ADOPTED, encodes, kind_of, without_codebooks
from fuseid.core.errors import FuseidError, NotReady
from fuseid.core.modalities import ENCODED
from fuseid.core.nearest import nearest
from fuseid.core.records import SemanticId
from fuseid.core.surface import command
from fuseid.core.text import storable
from fuseid.pipelines.jobs.runs import run_of
from fuseid.pipelines.store.incomplete import lacking
from fuseid.pipelines.store.rows import attributes_of, below_prefix, rows_by_id, sql_string
from fuseid.pipelines.store.store import Store

# How many ids are compared with one that is unknown.
_ALIKE = 10_000
_VLM_FACTS = {"model", "revision", "precision", "prompt", "system", "pooling", "dim", "frames", "caption", "tags"}


def explain(uri: str | Path, content_id: str, examples: int = 5) -> dict[str, Any]:
    """A plain dictionary: media facts, captions, vectors present, and missing although an encoder was to compute them,
    models, fingerprints, every ID in the ledger, and for each prefix of the ID how many items share it, with examples.
    A rejected item is explained by its row in `rejected`, a removed one by its IDs, which stay reserved for it, and by
    when it was removed. `without_id`: why an item of `contents` has no ID.

    Raises NotReady for an id that the store does not know.
    """
    store, content_id = Store.open(uri), storable(content_id)
    dims = store.dims()
    ledger = ["tokenizer_id", "codes", "suffix", "sid", "moved_error", "run_id"]
    champion, runs = store.setting("champion"), _Runs(store)
    ids = [
        {
            **{name: row[name] for name in ledger},
            "champion": row["tokenizer_id"] == champion,
            "given_at": runs.time_of(row["run_id"]),
        }
        for row in rows_by_id(store.dataset("assignments"), [content_id], ledger)
    ]
    rows = []
    if store.has_contents():
        plain = [name for name in store.dataset("contents").schema.names if name != "thumbnail" and name not in dims]
        present = {f"has_{name}": f"{name} IS NOT NULL" for name in dims}
        present |= {f"lacks_{name}": condition for name, condition in lacking(dims).items()}
        rows = list(_with_presence(store, content_id, plain, present))
    if not rows:
        rejected = list(rows_by_id(store.dataset("rejected"), [content_id], store.dataset("rejected").schema.names))
        if rejected:
            return {"content_id": content_id, "state": "rejected", "rejected": rejected[0], "ids": ids}
        if ids:
            return _absent(store, content_id, ids, runs)
        raise NotReady(f"no item {content_id!r} in {uri}{_meant(store, content_id)}")
    row = rows[0]
    config = run_of(store, row["run_id"])[0]
    return {
        "content_id": content_id,
        "state": "in contents",
        "kind": row["kind"],
        "uri": row["uri"],
        "caption": row["caption"],
        "vlm_caption": row["vlm_caption"],
        "vlm_tags": row["vlm_tags"],
        "attributes": attributes_of(row["attributes"]),
        "media": {
            name: row[name] for name in ("media_hash", "decoder", "width", "height", "duration", "timestamps")
        } | {"sampling": config.decode.sampling.model_dump()} if row["media_hash"] else None,
        "vectors": {name: size for name, size in dims.items() if row[f"has_{name}"]},
        "missing": {each.name: _why(store, row[each.fingerprint]) for each in ENCODED if row[f"lacks_{each.name}"]},
        "fingerprints": {name: row[name] for name in plain if name.endswith("_fp")} | {
            "caption_hash": row["caption_hash"]
        },
        "models": {
            "clip": config.clip.model_dump(include={"model", "revision", "precision"}) if config.clip else None,
            "vlm": config.vlm.model_dump(include=_VLM_FACTS, exclude_none=True) if config.vlm.model else None,
        },
        "pinned": {"fusion": store.setting("fusion"), "champion": champion},
        "run_id": row["run_id"],
        "updated_at": row["updated_at"].isoformat(),
        "sid": row["sid"],
        "without_id": None if row["sid"] else _why_none(store, champion, [name for name in dims if row[f"has_{name}"]]),
        "ids": ids,
        "prefixes": _prefixes(store, row["sid"], content_id, examples) if row["sid"] else [],
    }  # fmt: skip


def _why(store: Store, fingerprint: str) -> str:
    return (
        f"the encoder of fingerprint {fingerprint} could not compute it; the log of its run says why. It is tried again"
        f" when the medium or the model changes, or after {command('retry', store.uri)}"
    )


def _with_presence(store: Store, content_id: str, plain: list[str], present: dict[str, str]) -> list[dict[str, Any]]:
    columns = {name: name for name in plain} | present
    where = f"content_id = {sql_string(content_id)}"
    return store.dataset("contents").to_table(columns=columns, filter=where).to_pylist()


class _Runs:
    """When runs began, and which one was at work at a moment."""

    def __init__(self, store: Store) -> None:
        rows = store.dataset("runs").to_table(columns=["run_id", "job", "started_at", "finished_at"])
        self._by_id = {row["run_id"]: row for row in rows.to_pylist()}

    def time_of(self, run_id: str | None) -> str | None:
        row = self._by_id.get(run_id or "")
        return None if row is None else row["started_at"].isoformat(timespec="seconds")

    def at(self, moment: datetime) -> dict[str, Any]:
        """`run_id` and `job`, None where no run is known."""
        begun = [row for row in self._by_id.values() if row["started_at"] <= moment]
        last = max(begun, key=lambda row: row["started_at"], default=None)
        if last is None or (last["finished_at"] is not None and last["finished_at"] < moment):
            return {"run_id": None, "job": None}
        return {"run_id": last["run_id"], "job": last["job"]}


def _absent(store: Store, content_id: str, ids: list[dict[str, Any]], runs: _Runs) -> dict[str, Any]:
    """An item that has IDs and is in no table: it was removed, or its IDs were adopted before it came."""
    removed = _removal(store, content_id, runs)
    never = removed["at"] is None and all(kind_of(entry["tokenizer_id"]) == ADOPTED for entry in ids)
    return {
        "content_id": content_id,
        "state": "not ingested" if never else "removed",
        "sid": next((entry["sid"] for entry in ids if entry["champion"]), None),
        "removed": None if never else removed,
        "reserved": "no other item gets its IDs; it has them again when it is ingested"
        + (" again" if not never else ""),
        "ids": ids,
    }


def _removal(store: Store, content_id: str, runs: _Runs) -> dict[str, Any]:
    """`at`, `run_id` and `job`: when it left `contents`, and by which run, found in the versions of `contents` that are
    kept; `before`: the time of the oldest of them, if it was gone by then."""
    unknown: dict[str, Any] = {"at": None, "before": None, "run_id": None, "job": None}
    if not store.has_contents():
        return unknown
    contents, where = store.dataset("contents"), f"content_id = {sql_string(content_id)}"
    versions = contents.versions()

    def has_item(position: int) -> bool:
        return contents.checkout_version(versions[position]["version"]).count_rows(where) > 0

    # The last version that has it; newer ones lack it.
    kept = next((position for position in _halving(len(versions)) if has_item(position)), None)
    if kept is None:
        return unknown | {"before": _utc(versions[0]["timestamp"]).isoformat(timespec="seconds")}
    gone = len(versions) - 1
    while gone - kept > 1:
        middle = (kept + gone) // 2
        kept, gone = (middle, gone) if has_item(middle) else (kept, middle)
    moment = _utc(versions[gone]["timestamp"])
    return {"at": moment.isoformat(timespec="seconds"), "before": None, **runs.at(moment)}


def _halving(count: int) -> Iterator[int]:
    """Positions from the second newest version to the oldest, in steps that double."""
    step, position = 1, count - 2
    while position > 0:
        yield position
        position, step = position - step, 2 * step
    if count > 1:
        yield 0


def _utc(moment: Any) -> datetime:
    """A time of Lance, which is local."""
    return moment.astimezone(UTC)


def _why_none(store: Store, champion: str | None, vectors: list[str]) -> str:
    """Why an item has no ID, and what gives it one."""
    if champion is None:
        return f"there is no tokenizer yet; {command('fit', store.uri)} makes one"
    try:
        tokenizer = store.describe_tokenizer(champion)
        if not encodes(tokenizer):
            return without_codebooks(champion)
        used = store.describe_fusion(store.setting("fusion")).meta["dims"]
    except FuseidError as error:
        return str(error)
    if not any(name in used for name in vectors):
        return f"it has no vector of {', '.join(used)}, on which the fusion was fitted"
    return (
        f"it is newer than the last run that gave IDs; {command('assign', store.uri)}, or the next ingest, gives it one"
    )


def _meant(store: Store, content_id: str) -> str:
    """The items whose ids are most like an unknown one, as the end of a message."""
    if not content_id or not store.has_contents():
        return ""
    alike = f"lower(content_id) = {sql_string(content_id.lower())}"
    begins = f"starts_with(content_id, {sql_string(content_id[: (len(content_id) + 1) // 2])})"
    rows = store.dataset("contents").to_table(columns=["content_id"], filter=f"{alike} OR {begins}", limit=_ALIKE)
    near = nearest(content_id, rows["content_id"].to_pylist())
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _prefixes(store: Store, sid: str, content_id: str, examples: int) -> list[dict[str, Any]]:
    codes = SemanticId.parse(sid).codes
    dataset = store.dataset("contents")
    out = []
    for depth in range(len(codes), 0, -1):
        prefix = "-".join(map(str, codes[:depth]))
        where = below_prefix(prefix)
        rows = dataset.to_table(columns=["content_id", "sid", "caption"], filter=where, limit=examples + 1)
        others = [row for row in rows.to_pylist() if row["content_id"] != content_id][:examples]
        out.append({"prefix": prefix, "items": dataset.count_rows(where), "examples": others})
    return out
