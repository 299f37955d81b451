"""Frames of a video with PyAV: key frames by seeking, others by decoding forward only as far as needed."""

from __future__ import annotations

import av
import numpy as np

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia
from fuseid.encoders.sampling import target_times
from fuseid.encoders.video_frames import Facts, Sampled, facts_of, to_rgb_stack
from fuseid.encoders.video_scenes import scene_times
from fuseid.encoders.video_source import Key, VideoSource

# Frames that `keyframe` sampling may decode beyond key frames, per video: about two seconds of one core at 720p.
# Short clips with one key frame need fewer and are sampled exactly; in long videos the sample is closer to key frames.
# A count, not a time: the same file must give the same frames on a busy machine.
ONWARD_FRAMES = 600

# Frames found so far, by time in ticks.
Found = dict[int, av.VideoFrame]


def sample_with_pyav(source: VideoSource, path: str, config: DecodeConfig) -> Sampled:
    """Frames at the configured times; fewer if the video has fewer distinct ones.

    Raises CorruptMedia if no frame decodes.
    """
    targets = [source.ticks(time) for time in target_times(source.duration_seconds, config.sampling)]
    method = config.sampling.method
    scenes = scene_times(source, config.sampling.frames) if method == "scene" else []
    if scenes or method in ("uniform", "fps"):
        found = _exactly(source, scenes or targets, None)
    else:
        found = _key_frames(source, targets)
    if not found:
        found = _walk(source, source.first_seek(), targets, ONWARD_FRAMES)
    if not found:
        raise CorruptMedia(f"{path!r}: no frame of its video decodes")
    times = sorted(found)
    facts = _facts(source, found[times[0]], config)
    seconds = np.array([source.seconds(at) for at in times])
    frames = to_rgb_stack([found[at] for at in times], facts)
    return Sampled(frames, seconds, facts.width, facts.height, facts.duration, "pyav")


def facts_with_pyav(source: VideoSource, path: str, config: DecodeConfig) -> Facts:
    """Properties from the first frame, because only a decoded frame has the rotation. Raises CorruptMedia."""
    for _, frame in source.frames(source.first_seek()):
        return _facts(source, frame, config)
    raise CorruptMedia(f"{path!r}: no frame of its video decodes")


def _facts(source: VideoSource, frame: av.VideoFrame, config: DecodeConfig) -> Facts:
    return facts_of(frame, source.pixel_aspect, config.long_side, source.duration_seconds)


def _key_frames(source: VideoSource, targets: list[int]) -> Found:
    """The key frame nearest each target; if targets share one, the nearest of them gets it, and frames for the others
    are found by decoding forward, up to a limit."""
    holders: dict[int, tuple[int, Key]] = {}
    onward = []
    for target in targets:
        keys = [key for key in (source.key_before(target), source.key_after(target)) if key and key.packet]
        if not keys:
            onward.append(target)
            continue
        key = min(keys, key=lambda key: abs(key.at - target))
        holder = holders.get(key.at)
        if holder is None:
            holders[key.at] = (target, key)
        elif abs(key.at - target) < abs(key.at - holder[0]):
            holders[key.at] = (target, key)
            onward.append(holder[0])
        else:
            onward.append(target)
    found = {}
    for at, (target, key) in holders.items():
        frame = source.decode_alone(key.packet) if key.packet else None
        if frame is None:
            onward.append(target)
        else:
            found[at] = frame
    if onward:
        found.update(_exactly(source, sorted(onward), max(1, ONWARD_FRAMES // len(onward))))
    return found


def _exactly(source: VideoSource, targets: list[int], allowance: int | None) -> Found:
    """The frame nearest each target; with an `allowance`, the nearest after decoding that many frames per target."""
    groups: dict[int, tuple[int, list[int]]] = {}
    for target in targets:
        key = source.key_before(target)
        groups.setdefault(key.at, (key.seek, []))[1].append(target)
    found: Found = {}
    for seek, group in groups.values():
        found.update(_walk(source, seek, group, allowance))
    return found


def _walk(source: VideoSource, seek: int, targets: list[int], allowance: int | None) -> Found:
    """Decodes forward once over ascending `targets`."""
    found: Found = {}
    frames = source.frames(seek)
    before, after = None, next(frames, None)
    for target in targets:
        steps = 0
        while after is not None and after[0] < target and steps != allowance:
            before, after = after, next(frames, None)
            steps += 1
        candidates = [entry for entry in (before, after) if entry is not None]
        if candidates:
            at, frame = min(candidates, key=lambda entry: abs(entry[0] - target))
            found[at] = frame
    return found
