"""Decoding against ground truth: a returned frame has its claimed time, and it is the one nearest to the target."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fuseid.core.config import DecodeConfig, SamplingConfig
from fuseid.core.records import Decoded
from fuseid.encoders.media import decode
from fuseid.encoders.sampling import target_times

from .conftest import read_number
from .stamped_clips import CLIPS, GOP, Clip

FRAMES = 6
# Decoders for each method; scenes are PyAV's alone.
WAYS = [
    (m, d) for m in ("keyframe", "uniform", "fps", "scene") for d in ("pyav", "decord") if (m, d) != ("scene", "decord")
]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Clip]:
    folder, made = tmp_path_factory.mktemp("clips"), {}

    def get(name: str) -> Clip:
        if name not in made:
            (folder / name).mkdir()
            made[name] = CLIPS[name](folder / name / name)
        return made[name]

    return get


def test_making_an_av1_clip_leaves_the_scheduling_of_this_process_alone(clip):
    before = os.sched_getscheduler(0)
    clip("av1.mp4")
    assert os.sched_getscheduler(0) == before


def test_decord_is_not_used_where_its_frame_count_would_be_wrong(clip):
    """With open groups of pictures or hidden frames, decord returns other frames than it names (measured)."""
    for name in ("h264.mp4", "h264.mkv", "vp9.webm", "variable.mp4", "sound.mkv"):
        assert sample(clip(name).path, "uniform", "decord")[0].decoder == "decord", name
    for name in ("open-groups.mp4", "open-groups.mkv", "hevc.mp4", "trimmed.mp4", "av1.mp4", "h264.ts"):
        assert sample(clip(name).path, "uniform", "decord")[0].decoder == "pyav", name


def sample(path: Path, method: str, decoder: str) -> tuple[Decoded, np.ndarray]:
    """-> (the decoded item, the target times in seconds)."""
    sampling = SamplingConfig(method=method, frames=FRAMES, fps=4.0)
    decoded = decode(str(path), "video", DecodeConfig(sampling=sampling, video_decoder=decoder))
    return decoded, target_times(decoded.duration, sampling)


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize(("method", "decoder"), WAYS)
def test_frames_have_their_claimed_times_and_are_nearest_to_the_targets(clip, name, method, decoder):
    truth = clip(name)
    decoded, wanted = sample(truth.path, method, decoder)
    times = np.array(truth.times)
    shown = np.arange(truth.first, len(times))
    intact = np.setdiff1d(shown, truth.lost)

    # The duration is measured from the first frame to the end of the last.
    if not truth.lost and len(shown) > 1:
        assert decoded.duration == pytest.approx(times[-1] + np.diff(times[-2:])[0], abs=truth.duration_within)

    # A frame shows its claimed number, except where the file is damaged.
    assert (np.diff(decoded.timestamps) > 0).all()
    claimed = [int(np.abs(times - time).argmin()) for time in decoded.timestamps]
    assert np.abs(times[claimed] - decoded.timestamps).max() <= truth.rounding
    assert set(claimed) <= set(shown)
    for number, frame in zip(claimed, decoded.frames, strict=True):
        if number in intact:
            assert read_number(np.rot90(frame, truth.turns)) == number

    if method == "scene":
        assert len(claimed) == min(FRAMES, len(shown)) or truth.lost
        return
    # Every target has the frame nearest to it; under `keyframe`, one no farther away than a key frame.
    candidates = shown[shown % GOP == 0] if method == "keyframe" else shown
    for moment in wanted:
        distances = np.abs(times[candidates] - moment)
        if candidates[distances.argmin()] in intact:
            assert np.abs(decoded.timestamps - moment).min() <= distances.min() + truth.rounding
