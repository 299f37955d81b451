"""Which times of a video to sample, and which available frames are nearest; pure functions of time stamps."""

from __future__ import annotations

import numpy as np

from fuseid.core.config import SamplingConfig


def target_times(duration_seconds: float, sampling: SamplingConfig) -> np.ndarray:
    """The times to sample, float64 [T], seconds from the first frame, ascending.

    `keyframe` and `uniform`: the middles of `frames` equal parts of the duration, so that fades and black frames at
    either end matter little. `fps`: every 1/fps seconds from 0; if these are more than `frames`, `frames` of them,
    evenly spread. `scene`: as `keyframe`, for videos whose scenes cannot be determined (see `video_scenes`).
    """
    if sampling.method == "fps":
        count = max(1, int(np.ceil(duration_seconds * sampling.fps - 1e-9)))
        if count <= sampling.frames:
            return np.arange(count, dtype=np.float64) / sampling.fps
        steps = np.linspace(0, count - 1, sampling.frames).round()
        return np.asarray(steps, dtype=np.float64) / sampling.fps
    return (np.arange(sampling.frames, dtype=np.float64) + 0.5) * (max(duration_seconds, 0.0) / sampling.frames)


def nearest_indices(times: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """For each of `targets`, the index in `times` (float64 [N], ascending) nearest to it; the earlier one on a tie."""
    right = np.clip(np.searchsorted(times, targets), 1, max(1, len(times) - 1))
    if len(times) == 1:
        return np.zeros(len(targets), dtype=np.int64)
    left = right - 1
    return np.where(targets - times[left] <= times[right] - targets, left, right)
