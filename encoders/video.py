"""Videos to a few RGB frames: which decoder, which frames, limits, and the facts of the medium."""

from __future__ import annotations

import os
from typing import BinaryIO

from PIL import Image

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import ItemError, Unrecognised
from fuseid.core.records import Decoded
from fuseid.encoders.images import make_thumbnail
from fuseid.encoders.media_file import HEAD_BYTES, hash_file, image_format, video_format
from fuseid.encoders.video_decord import sample_with_decord
from fuseid.encoders.video_frames import Sampled
from fuseid.encoders.video_pyav import PyAvReader

# decord seeks by its own packet index, which these containers make reliable.
_DECORD_FORMATS = frozenset({"mov", "matroska", "avi"})


def decode_video(file: BinaryIO, path: str, config: DecodeConfig) -> Decoded:
    """Decodes an open file. Raises Unrecognised, CorruptMedia and TooLarge.

    `path` is opened again by decord (which takes no file object), and stands in messages.
    """
    sampled = sample_frames(file, path, config)
    middle = Image.fromarray(sampled.frames[len(sampled.frames) // 2])
    return Decoded(
        frames=sampled.frames,
        timestamps=sampled.timestamps,
        width=sampled.width,
        height=sampled.height,
        duration=sampled.duration,
        media_hash=hash_file(file),
        decoder=sampled.decoder,
        thumbnail=make_thumbnail(middle, config.thumbnail_side),
    )


def sample_frames(file: BinaryIO, path: str, config: DecodeConfig) -> Sampled:
    """The frames alone, without hash and thumbnail: what the benchmark compares."""
    head = file.read(HEAD_BYTES)
    demuxer = video_format(head)
    if demuxer is None:
        hint = " (it is a picture; set its kind to image)" if image_format(head) else ""
        raise Unrecognised(f"{path!r} is not a video in a known container{hint}")
    file.seek(0)
    with PyAvReader(file, path, demuxer, config) as reader:
        if _decord_first(demuxer, config):
            facts = reader.facts()
            try:
                return sample_with_decord(os.path.abspath(path), facts, config)
            except (ItemError, MemoryError):
                raise
            except Exception:
                # decord's bundled FFmpeg is old: AV1, rotated videos and newer containers are for PyAV.
                return reader.sample()
        return reader.sample()


def _decord_first(demuxer: str, config: DecodeConfig) -> bool:
    if config.video_decoder == "auto":
        return config.sampling.method != "keyframe" and demuxer in _DECORD_FORMATS
    return config.video_decoder == "decord"
