"""Videos to a few RGB frames: chooses the decoder and the frames, and collects size, duration and hash."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from PIL import Image

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import ItemError, Unrecognised
from fuseid.core.platform import name_of_open_file
from fuseid.core.records import Decoded
from fuseid.encoders.images import make_thumbnail
from fuseid.encoders.media_file import HEAD_BYTES, hash_file, image_format, video_format
from fuseid.encoders.video_decoder import may_use_decord
from fuseid.encoders.video_decord import sample_with_decord
from fuseid.encoders.video_frames import Sampled
from fuseid.encoders.video_pyav import facts_with_pyav, sample_with_pyav
from fuseid.encoders.video_source import VideoSource

# decord seeks by its own packet index; in other containers, measurements showed that it returns wrong frames.
_DECORD_FORMATS = frozenset({"mov", "matroska", "avi"})


def decode_video(file: BinaryIO, path: str, config: DecodeConfig) -> Decoded:
    """Decodes an open file. Raises Unrecognised, CorruptMedia and TooLarge.

    `path` is only for messages.
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
    """Only the frames, without hash and thumbnail; the benchmark compares these."""
    head = file.read(HEAD_BYTES)
    demuxer = video_format(head)
    if demuxer is None:
        hint = " (it is a picture; set its kind to image)" if image_format(head) else ""
        raise Unrecognised(f"{path!r} is not a video in a known container{hint}")
    file.seek(0)
    with VideoSource(file, path, demuxer, config) as source:
        if may_use_decord(config) and demuxer in _DECORD_FORMATS and source.is_alone and not any(source.crop):
            sampled = _try_decord(source, file, path, config)
            if sampled is not None:
                return sampled
        return sample_with_pyav(source, path, config)


def _try_decord(source: VideoSource, file: BinaryIO, path: str, config: DecodeConfig) -> Sampled | None:
    """None if decord cannot be used for this file."""
    facts = facts_with_pyav(source, path, config)
    first = source.key_before(source.start).packet if facts.is_plain else None
    name = name_of_open_file(file.fileno())
    times = source.countable_times() if first is not None and source.crops_as_decord(first) else None
    if not times or name is None:
        return None
    seconds = np.array([source.seconds(at) for at in times])
    try:
        # By descriptor: this is the file that was checked, under a name without special meaning for FFmpeg (which takes
        # a % in a name, for example, as a pattern for an image sequence).
        return sample_with_decord(name, facts, seconds, config)
    except (ItemError, MemoryError):
        raise
    except Exception:
        # decord's bundled FFmpeg is from 2019: AV1 and newer containers need PyAV.
        return None
