"""Items that lack a vector which an encoder could not compute: the encoder's fingerprint is beside an absent vector."""

from __future__ import annotations

from fuseid.core.modalities import ENCODED
from fuseid.pipelines.store.store import Store


def lacking(store: Store) -> dict[str, str]:
    """For each modality that encoders make, the condition on rows of `contents` that lack it although they have what it
    is made from. A VLM does not encode items without media beside a CLIP, which encodes their captions."""
    dims = store.dims()
    made_from = {"frames": "media_hash IS NOT NULL", "both": "media_hash IS NOT NULL", "caption": "caption IS NOT NULL"}
    return {
        modality.name: f"({made_from[modality.made_from]} AND {modality.fingerprint} IS NOT NULL"
        f"{f' AND {modality.name} IS NULL' if modality.name in dims else ''})"
        for modality in ENCODED
    }


def mark_lacking(store: Store) -> int:
    """Makes the next ingest that lists them compute what these items lack, and returns how many there are. A running
    job's lease must be held."""
    if not store.has_contents():
        return 0
    conditions = lacking(store)
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
