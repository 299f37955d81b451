"""Items that lack a vector which an encoder could not compute: the encoder's fingerprint is beside an absent vector."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import lance

from fuseid.core.modalities import ENCODED
from fuseid.core.surface import command
from fuseid.pipelines.store.store import Store


def lacking(dims: Container[str]) -> dict[str, str]:
    """For each modality that encoders make, the condition on rows of `contents` that lack it although they have what it
    is made from. dims: the columns of vectors that there are."""
    return {name: f"({due}{f' AND {name} IS NULL' if name in dims else ''})" for name, due in _tried().items()}


def _tried() -> dict[str, str]:
    """For each modality, the condition on rows for which its encoder has tried to compute it. A VLM does not encode
    items without media beside a CLIP, which encodes their captions."""
    made_from = {"frames": "media_hash IS NOT NULL", "both": "media_hash IS NOT NULL", "caption": "caption IS NOT NULL"}
    return {each.name: f"{made_from[each.made_from]} AND {each.fingerprint} IS NOT NULL" for each in ENCODED}


def incomplete(contents: lance.LanceDataset, present: Mapping[str, int]) -> dict[str, Any]:
    """items: how many lack a vector that an encoder could not compute. by_vector: of each such vector. where: the
    filter on `contents` that lists them, empty if there are none.

    present: for each column of vectors, how many items have one. To count absent vectors, Lance reads all of them: that
    is done only if some are absent.
    """
    some = [name for name, tried in _tried().items() if contents.count_rows(tried) > present.get(name, 0)]
    conditions = lacking(present)
    counts = {name: contents.count_rows(conditions[name]) for name in some}
    found = {name: count for name, count in counts.items() if count}
    where = " OR ".join(conditions[name] for name in found)
    return {"items": contents.count_rows(where) if where else 0, "by_vector": found, "where": where}


def remedy(uri: str | Path, found: dict[str, Any]) -> str:
    """The line about what `incomplete` has found."""
    vectors = ", ".join(f"{name} {count:,}" for name, count in found["by_vector"].items())
    return (
        f"{found['items']:,} items lack a vector that its encoder could not compute ({vectors}). "
        f"{command('retry', uri)} tries them again; the filter {found['where']} lists them (docs/lookup.md)"
    )


def mark_lacking(store: Store) -> int:
    """Makes the next ingest that lists them compute what these items lack, and returns how many there are. A running
    job's lease must be held."""
    if not store.has_contents():
        return 0
    conditions = lacking(store.dims())
    of_frames = [conditions[modality.name] for modality in ENCODED if modality.from_frames]
    of_captions = [conditions[modality.name] for modality in ENCODED if not modality.from_frames]
    contents = store.dataset("contents")
    items = contents.count_rows(" OR ".join(conditions.values()))
    # Not the fingerprint of the encoder, which may have made another vector of the row.
    for column, found in (("decode_fp", of_frames), ("caption_hash", of_captions)):
        where = " OR ".join(found)
        if contents.count_rows(where):
            store.update("contents", {column: "''"}, where)
    return items
