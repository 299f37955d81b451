"""The `.json` beside a medium, as img2dataset and video2dataset write it: its fields are the item's attributes."""

from __future__ import annotations

import json
from collections.abc import Container
from typing import Any

# Fields that describe the download, not the item.
_NOT_ATTRIBUTES = frozenset(["caption", "key", "status", "error_message"])
_FIELD_BYTES, _ALL_BYTES = 4 << 10, 64 << 10


def sidecar_attributes(fields: dict[str, Any], without: Container[str] = ()) -> dict[str, Any]:
    """The attributes in the fields of a sidecar, except very large values. without: further names to leave out."""
    kept, room = {}, _ALL_BYTES
    for name, value in sorted(fields.items()):
        size = len(name) + len(json.dumps(value))
        if name not in _NOT_ATTRIBUTES and name not in without and size <= min(_FIELD_BYTES, room):
            kept[name] = value
            room -= size
    return kept
