"""Decodes an item's frames again, as the run that encoded them did, to show them."""

from __future__ import annotations

from pathlib import Path

from fuseid.core.errors import ItemError, NotReady
from fuseid.core.records import Decoded
from fuseid.encoders.decode_pool import DecodePool
from fuseid.encoders.video_decoder import decoder_here
from fuseid.pipelines.files.access import AccessPolicy
from fuseid.pipelines.files.fetcher import Fetcher
from fuseid.pipelines.jobs.runs import run_of
from fuseid.pipelines.store.rows import rows_by_id
from fuseid.pipelines.store.store import Store


def frames_again(uri: str | Path, content_id: str) -> Decoded | None:
    """Decodes the medium of an item in `contents`, with the limits, the sampling and the allowed prefixes of the run
    that encoded it; None for an item without a medium.

    Raises BadInput for an id that is not there, and for a medium that cannot be decoded now or has changed.
    """
    store = Store.open(uri)
    rows = list(
        rows_by_id(store.dataset("contents"), [content_id], ["content_id", "uri", "kind", "media_hash", "run_id"])
        if store.has_contents()
        else ()
    )
    if not rows:
        raise NotReady(f"no item {content_id!r} in contents of {uri}")
    row = rows[0]
    if row["media_hash"] is None:
        return None
    config, base = run_of(store, row["run_id"])
    try:
        place = str(AccessPolicy(base or ".", config.source).locate(row["uri"]))
        with (
            Fetcher(config.source, config.decode.max_bytes) as fetcher,
            DecodePool(decoder_here(config.decode)) as pool,
            fetcher.files([place]) as files,
        ):
            file = next(files)
            result = file if isinstance(file, ItemError) else next(pool.decode_many([(file.path, row["kind"])]))
    except ItemError as error:
        result = error
    if isinstance(result, ItemError):
        raise NotReady(f"the medium of {content_id!r} cannot be shown: {result}")
    if result.media_hash != row["media_hash"]:
        raise NotReady(f"the medium of {content_id!r} has changed since it was encoded; ingest again")
    return result
