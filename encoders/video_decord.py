"""Frames of a video by decord: the nearest to each wanted moment by time stamp, in one batch."""

from __future__ import annotations

import numpy as np

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia
from fuseid.encoders.sampling import nearest_indices, target_times
from fuseid.encoders.video_frames import Facts, Sampled


def sample_with_decord(path: str, facts: Facts, config: DecodeConfig) -> Sampled:
    """`path` must be absolute and already recognised as a self-contained video; `facts` come from PyAV.

    decord turns rotated videos by itself. Raises CorruptMedia where it finds no frame, and decord's own errors
    (DECORDError is a RuntimeError) for what it cannot open.
    """
    import decord  # here, for only this decoder needs its 75 MB of address space

    decord.logging.set_level(decord.logging.QUIET)
    width, height = facts.shown_size
    reader = decord.VideoReader(path, ctx=decord.cpu(0), width=width, height=height, num_threads=1)
    try:
        if len(reader) == 0:
            raise CorruptMedia(f"{path!r}: decord finds no frame")
        # Start of every frame in seconds, from packets; the average frame rate is never consulted.
        starts = np.asarray(reader.get_frame_timestamp(range(len(reader))))[:, 0].astype(np.float64)
        starts -= starts[0]
        order = np.argsort(starts, kind="stable")
        targets = target_times(facts.duration, config.sampling)
        if config.sampling.method == "keyframe":
            keys = np.sort(np.asarray(reader.get_key_indices()))
            indices = keys[nearest_indices(starts[keys], targets)]
        else:
            indices = order[nearest_indices(starts[order], targets)]
        indices = np.unique(indices)
        frames = reader.get_batch(indices.tolist()).asnumpy()
        return Sampled(frames, starts[indices], facts.width, facts.height, facts.duration, "decord")
    finally:
        del reader  # a living reader holds on to hundreds of megabytes
