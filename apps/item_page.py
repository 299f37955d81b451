"""One self-contained HTML page about one item: its frames, what was made of them, and items with the same prefixes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from fuseid.apps.page import picture_source, render, tile
from fuseid.apps.show import flat
from fuseid.core.errors import NotReady
from fuseid.core.records import Decoded
from fuseid.pipelines.explain import explain
from fuseid.pipelines.item_frames import frames_again
from fuseid.pipelines.store.rows import rows_by_id
from fuseid.pipelines.store.store import Store

_SIDE = 320
_TILE = ("content_id", "kind", "sid", "caption", "thumbnail")


def write_item_page(uri: str | Path, content_id: str, path: Path) -> int:
    """Writes the page; returns the number of frames that it shows, 0 with a note if the medium cannot be decoded now.

    Raises NotReady for an item that is not in `contents`.
    """
    facts = explain(uri, content_id, examples=12)
    if facts["state"] == "rejected":
        raise NotReady(f"{content_id!r} was rejected ({facts['rejected']['message']}); there is nothing to draw")
    if facts["state"] != "in contents":
        raise NotReady(f"{content_id!r} is {facts['state']}; there is nothing to draw")
    note, decoded = None, None
    try:
        decoded = frames_again(uri, content_id)
    except NotReady as error:
        note = str(error)
    frames = [] if decoded is None else list(_frames(decoded))
    ids = {example["content_id"] for prefix in facts["prefixes"] for example in prefix["examples"]}
    tiles = {
        row["content_id"]: tile(row) for row in rows_by_id(Store.open(uri).dataset("contents"), sorted(ids), _TILE)
    }
    prefixes = [{**p, "tiles": [tiles[e["content_id"]] for e in p["examples"]]} for p in facts["prefixes"]]
    page = render(
        "item.html.j2", item=facts, frames=frames, note=note, prefixes=prefixes, rows=list(flat(facts, _SHOWN))
    )
    path.write_text(page, encoding="utf-8")
    return len(frames)


# The parts of an explanation that are tables of names and values.
_SHOWN = ("media", "models", "vectors", "fingerprints", "pinned", "attributes")


def _frames(decoded: Decoded) -> Iterator[dict[str, Any]]:
    for frame, seconds in zip(decoded.frames, decoded.timestamps, strict=True):
        picture = Image.fromarray(frame)
        picture.thumbnail((_SIDE, _SIDE))
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=80)
        yield {"seconds": float(seconds), "picture": picture_source(buffer.getvalue())}
