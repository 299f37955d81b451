"""A cheap look over a video, and from it the moments that stand for its scenes."""

from __future__ import annotations

import av
import numpy as np

from fuseid.encoders.scenes import VIEW_SIDE, scene_indices, view_of
from fuseid.encoders.video_frames import scaled
from fuseid.encoders.video_source import VideoSource

# What looking may cost, as counts and not times, for the same file must give the same frames on a busy machine.
# Every frame is looked at where there are no more than these and they have no more pixels than these in all (900
# frames of 720p); else key frames, spread evenly, 240 at 720p and fewer of larger ones: encoders begin a group of
# pictures where a scene begins.
ALL_FRAMES = 1800
ALL_PIXELS = 900 * 1280 * 720
KEY_PIXELS = 240 * 1280 * 720
_FEWEST_KEYS, _MOST_KEYS = 32, 240

_SMALL = 4 * VIEW_SIDE

# Views by time in ticks.
Views = dict[int, np.ndarray]


def scene_times(source: VideoSource, count: int) -> list[int]:
    """Times in ticks of `count` frames, one for each scene while they last; none where too few are cheap to look at.

    All frames of a short video are candidates, so there may be fewer than `count`; in a long one key frames are.
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
    """Views of all frames, none where there are more than `most`."""
    if source.expected_frames > most:
        return {}
    views: Views = {}
    for count, (at, frame) in enumerate(source.frames(source.first_seek())):
        if count == most:  # the container promised fewer
            return {}
        views[at] = _view(frame)
    return views


def _key_frames(source: VideoSource, most: int) -> Views:
    """Views of at most `most` key frames: the first one after each of as many evenly spread moments."""
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
        # Where a seek goes wrong the same key frame may come again, so the moment moves on in any case.
        at = max(at, key.at) + step
    return views


def _view(frame: av.VideoFrame) -> np.ndarray:
    return view_of(scaled(frame, _SMALL, _SMALL))
