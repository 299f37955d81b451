"""Frames of a video with decord: the nearest one by time stamp to each target time."""

from __future__ import annotations

import numpy as np

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia
from fuseid.encoders.sampling import nearest_indices, target_times
from fuseid.encoders.video_frames import Facts, Sampled, scale_rgb

# Full-size frames in memory at a time: 256 frames of 4K would take 6 GB.
_BATCH_FRAMES = 8


def sample_with_decord(path: str, facts: Facts, config: DecodeConfig) -> Sampled:
    """`path` must be a file that was already recognised as a self-contained video; `facts` come from PyAV.

    decord applies a video's rotation itself, but then its scaling fails, so rotated frames are scaled here.
    Raises CorruptMedia if it finds no frame, and decord's own errors (DECORDError is a RuntimeError) for a file that it
    cannot open.
    """
    import decord  # imported here because it uses 75 MB of address space

    decord.logging.set_level(decord.logging.QUIET)
    width, height = facts.shown_size
    size = {} if facts.quarter_turns else {"width": width, "height": height}
    reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1, **size)
    try:
        if len(reader) == 0:
            raise CorruptMedia(f"{path!r}: decord finds no frame")
        # Start of every frame in seconds, from its packet, never from the average frame rate.
        starts = np.asarray(reader.get_frame_timestamp(range(len(reader))))[:, 0].astype(np.float64)
        starts -= starts[0]
        targets = target_times(facts.duration, config.sampling)
        if config.sampling.method == "keyframe":
            candidates = np.asarray(reader.get_key_indices())
        else:
            candidates = np.arange(len(starts))
        candidates = candidates[np.argsort(starts[candidates], kind="stable")]
        indices = np.unique(candidates[nearest_indices(starts[candidates], targets)])
        frames = np.empty((len(indices), height, width, 3), np.uint8)
        for first in range(0, len(indices), _BATCH_FRAMES):
            batch = reader.get_batch(indices[first : first + _BATCH_FRAMES].tolist()).asnumpy()
            for offset, frame in enumerate(batch):
                frames[first + offset] = scale_rgb(frame, facts)
        return Sampled(frames, starts[indices], facts.width, facts.height, facts.duration, "decord")
    finally:
        del reader  # it holds hundreds of megabytes
