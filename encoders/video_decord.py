"""Frames of a video with decord: the nearest one by time stamp to each target time."""

from __future__ import annotations

from typing import Any

import numpy as np

from fuseid.core.config import DecodeConfig
from fuseid.encoders.sampling import nearest_indices, target_times
from fuseid.encoders.video_frames import Facts, Sampled

# Full-size frames in memory at a time: 256 frames of 4K would take 6 GB.
_BATCH_FRAMES = 8
# decord's time stamps are float32: after six hours, they are 2 ms apart.
_SAME_SECONDS = 0.005


class NotDecordable(Exception):
    """decord's list of frames is not that of the file."""


def sample_with_decord(path: str, facts: Facts, seconds: np.ndarray, config: DecodeConfig) -> Sampled:
    """`path` must be a file that was already recognised as a self-contained video, with one video track that only has
    to be scaled; `facts` and `seconds`, the times of all its frames (float64, ascending), come from PyAV.

    Raises NotDecordable if decord lists other frames than these, and decord's own errors (DECORDError is a
    RuntimeError) for a file that it cannot open.
    """
    import decord  # imported here because it uses 75 MB of address space

    decord.logging.set_level(decord.logging.QUIET)
    width, height = facts.shown_size
    reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1, width=width, height=height)
    try:
        _compare(reader, seconds)
        targets = target_times(facts.duration, config.sampling)
        candidates = np.arange(len(seconds))
        if config.sampling.method == "keyframe":
            candidates = np.sort(np.asarray(reader.get_key_indices()))
        indices = np.unique(candidates[nearest_indices(seconds[candidates], targets)])
        frames = np.empty((len(indices), height, width, 3), np.uint8)
        for first in range(0, len(indices), _BATCH_FRAMES):
            last = first + _BATCH_FRAMES
            frames[first:last] = reader.get_batch(indices[first:last].tolist()).asnumpy()
        return Sampled(frames, seconds[indices], facts.width, facts.height, facts.duration, "decord")
    finally:
        del reader  # it holds hundreds of megabytes


def _compare(reader: Any, seconds: np.ndarray) -> None:
    """Without time stamps (AVI) or at one frame per second and less (Matroska), decord's list is wrong, and with it the
    frames that it returns."""
    if len(reader) != len(seconds) or not len(seconds):
        raise NotDecordable(f"{len(reader)} frames instead of {len(seconds)}")
    starts = np.asarray(reader.get_frame_timestamp(range(len(reader))))[:, 0].astype(np.float64)
    starts -= starts[0]
    if not np.abs(starts - seconds).max() <= _SAME_SECONDS:
        raise NotDecordable("the time stamps differ")
