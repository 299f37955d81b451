"""Scans a video cheaply and selects times that represent its scenes."""

from __future__ import annotations

import av
import numpy as np

from fuseid.encoders.scenes import VIEW_SIDE, scene_indices, view_of
from fuseid.encoders.video_frames import to_rgb
from fuseid.encoders.video_source import VideoSource

# Limits of the scan, as counts and not times, because the same file must give the same frames on a busy machine.
# Every frame is viewed if the video has at most ALL_FRAMES frames with at most ALL_PIXELS pixels in all (900 frames of
# 720p). Otherwise key frames are viewed, evenly spread, 240 at 720p and fewer of larger ones: video encoders place a
# key frame where a scene starts.
ALL_FRAMES = 1800
ALL_PIXELS = 900 * 1280 * 720
KEY_PIXELS = 240 * 1280 * 720
_FEWEST_KEYS, _MOST_KEYS = 32, 240

_SMALL = 4 * VIEW_SIDE

# Views by time in ticks.
Views = dict[int, np.ndarray]


def scene_times(source: VideoSource, count: int) -> list[int]:
    """Times in ticks of `count` frames, one per scene if there are enough scenes; empty if too few frames were viewed.

    The candidates are all frames of a short video (of which there may be fewer than `count`), or key frames of a long
    one.
    """
    pixels = max(1, source.width * source.height)
    views = _all(source, min(ALL_FRAMES, ALL_PIXELS // pixels))
    if not views:
        views = _key_frames(source, min(_MOST_KEYS, max(_FEWEST_KEYS, KEY_PIXELS // pixels)))
        if len(views) < count:
            return []
    times = sorted(views)
    seconds = np.array([source.seconds(at) for at in times])
    chosen = scene_indices(np.stack([views[at] for at in times]), seconds, count)
    return [times[index] for index in chosen]


def _all(source: VideoSource, most: int) -> Views:
    """Views of all frames; empty if there are more than `most`."""
    if source.expected_frames > most:
        return {}
    views: Views = {}
    for count, (at, frame) in enumerate(source.frames(source.first_seek())):
        if count == most:  # more frames than the container's header says
            return {}
        views[at] = _view(frame)
    return views


def _key_frames(source: VideoSource, most: int) -> Views:
    """Views of at most `most` key frames: the first one after each of `most` evenly spread times."""
    views: Views = {}
    step = max(1, source.ticks(source.duration_seconds / most) - source.start)
    at = source.start
    for _ in range(most):
        key = source.key_before(at) if at == source.start else source.key_after(at)
        if key is None or key.packet is None:
            break
        if key.at not in views:
            frame = source.decode_alone(key.packet)
            if frame is not None:
                views[key.at] = _view(frame)
        # A wrong seek may return the same key frame again, so always move forward.
        at = max(at, key.at) + step
    return views


def _view(frame: av.VideoFrame) -> np.ndarray:
    return view_of(to_rgb(frame, _SMALL, _SMALL))
