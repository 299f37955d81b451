"""Explain: everything that the store knows about one item, and how it got its ID."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fuseid.core.errors import NotReady
from fuseid.core.modalities import ENCODED
from fuseid.core.records import SemanticId
from fuseid.core.text import storable
from fuseid.pipelines.jobs.runs import run_of
from fuseid.pipelines.store.incomplete import lacking
from fuseid.pipelines.store.rows import attributes_of, below_prefix, rows_by_id, sql_string
from fuseid.pipelines.store.store import Store

_VLM_FACTS = {"model", "revision", "precision", "prompt", "system", "pooling", "dim", "frames", "caption", "tags"}


def explain(uri: str | Path, content_id: str, examples: int = 5) -> dict[str, Any]:
    """A plain dictionary: media facts, captions, vectors present, and missing although an encoder was to compute them,
    models, fingerprints, every ID in the ledger, and for each prefix of the ID how many items share it, with examples.
    A rejected item is explained by its row in `rejected`.

    Raises NotReady for an id that the store does not know.
    """
    store, content_id = Store.open(uri), storable(content_id)
    dims = store.dims()
    ledger = ["tokenizer_id", "codes", "suffix", "sid", "moved_error", "run_id"]
    ids = [
        {name: row[name] for name in ledger} for row in rows_by_id(store.dataset("assignments"), [content_id], ledger)
    ]
    rows = []
    if store.has_contents():
        plain = [name for name in store.dataset("contents").schema.names if name != "thumbnail" and name not in dims]
        present = {f"has_{name}": f"{name} IS NOT NULL" for name in dims}
        present |= {f"lacks_{name}": condition for name, condition in lacking(store).items()}
        rows = list(_with_presence(store, content_id, plain, present))
    if not rows:
        rejected = list(rows_by_id(store.dataset("rejected"), [content_id], store.dataset("rejected").schema.names))
        if not rejected:
            raise NotReady(f"no item {content_id!r} in {uri}")
        return {"content_id": content_id, "state": "rejected", "rejected": rejected[0], "ids": ids}
    row = rows[0]
    champion = store.setting("champion")
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
        "missing": {each.name: _why(row[each.fingerprint]) for each in ENCODED if row[f"lacks_{each.name}"]},
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
        "ids": [{**entry, "champion": entry["tokenizer_id"] == champion} for entry in ids],
        "prefixes": _prefixes(store, row["sid"], content_id, examples) if row["sid"] else [],
    }  # fmt: skip


def _why(fingerprint: str) -> str:
    return (
        f"the encoder of fingerprint {fingerprint} could not compute it; the log of its run says why. It is tried again"
        " when the medium or the model changes, or after `fuseid retry`"
    )


def _with_presence(store: Store, content_id: str, plain: list[str], present: dict[str, str]) -> list[dict[str, Any]]:
    columns = {name: name for name in plain} | present
    where = f"content_id = {sql_string(content_id)}"
    return store.dataset("contents").to_table(columns=columns, filter=where).to_pylist()


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
