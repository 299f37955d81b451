"""Decodes one medium in this process; `decode_pool` runs the same function in processes that can be killed."""

from __future__ import annotations

from fuseid.core.config import DecodeConfig
from fuseid.core.records import Decoded
from fuseid.encoders.images import decode_image
from fuseid.encoders.media_file import open_media


def decode(path: str, kind: str, config: DecodeConfig) -> Decoded:
    """Decodes the local file at `path`, an "image" or a "video".

    Raises ItemError (MissingFile, Unrecognised, CorruptMedia, TooLarge) for what is wrong with the file, and
    ValueError for any other kind. Time and memory limits need the pool: hostile files can hang or kill a process.
    """
    if kind not in ("image", "video"):
        raise ValueError(f"only images and videos are decoded, got kind {kind!r}")
    with open_media(path, config.max_bytes) as file:
        if kind == "image":
            return decode_image(file, path, config)
        # FFmpeg uses 100 MB of address space; a child that decodes only pictures does not load it.
        from fuseid.encoders.video import decode_video

        return decode_video(file, path, config)
