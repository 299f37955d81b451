"""The messages between the decode pool and its children, over pipes: JSON headers and raw bytes, never pickle."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from fuseid.core import errors
from fuseid.core.config import DecodeConfig
from fuseid.core.errors import ItemError, OutOfMemory
from fuseid.core.records import Decoded

LENGTH = struct.Struct("<I")

# A child cannot be trusted after it has read a hostile file, so what the parent allocates for it is limited.
MAX_HEADER_BYTES = 1 << 20

_ITEM_ERRORS = {name: cls for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, ItemError)}


def pack(message: dict[str, Any]) -> bytes:
    """A length (uint32, little-endian) and that many bytes of JSON. ASCII keeps file names that are not valid UTF-8."""
    body = json.dumps(message, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    return LENGTH.pack(len(body)) + body


def header_of(decoded: Decoded) -> dict[str, Any]:
    """The header; the bytes of the frames and then those of the thumbnail follow it."""
    return {
        "shape": decoded.frames.shape,
        "timestamps": decoded.timestamps.tolist(),
        "width": decoded.width,
        "height": decoded.height,
        "duration": decoded.duration,
        "media_hash": decoded.media_hash,
        "decoder": decoded.decoder,
        "thumbnail_bytes": len(decoded.thumbnail),
    }


def decoded_of(header: dict[str, Any], frames: np.ndarray, thumbnail: bytes) -> Decoded:
    return Decoded(
        frames=frames,
        timestamps=np.array(header["timestamps"], dtype=np.float64),
        width=header["width"],
        height=header["height"],
        duration=header["duration"],
        media_hash=header["media_hash"],
        decoder=header["decoder"],
        thumbnail=thumbnail,
    )


def header_of_error(error: Exception) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": str(error)[:2000]}


def error_of(header: dict[str, Any]) -> ItemError:
    return _ITEM_ERRORS.get(header["error"], errors.CorruptMedia)(header["message"])


def out_of_memory(path: str, config: DecodeConfig) -> OutOfMemory:
    """The error for an item that needs more than the limit, whoever notices it."""
    mebibytes = config.memory_bytes >> 20
    return OutOfMemory(f"decoding {path!r} needs more than decode.memory_bytes ({mebibytes} MiB)")
