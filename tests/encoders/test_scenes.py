"""Scenes against ground truth: clips made of known scenes, each with its own picture, in motion and with film grain."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fuseid.core.config import DecodeConfig, SamplingConfig
from fuseid.encoders import video_scenes
from fuseid.encoders.media import decode
from fuseid.encoders.scenes import scene_indices

RATE = 25
WIDTH, HEIGHT = 160, 96


def picture(seed: int) -> np.ndarray:
    """float32 [HEIGHT, 2 * WIDTH, 3]: a few soft patches of colour, wider than a frame."""
    patches = np.random.default_rng(seed).integers(20, 236, (4, 8, 3), dtype=np.uint8)
    large = Image.fromarray(patches).resize((2 * WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.asarray(large, dtype=np.float32)


def scene(seed: int, seconds: float, pixels_per_second: float = 8.0) -> list[np.ndarray]:
    """Frames of a camera that moves sideways over a picture, with grain."""
    whole, random = picture(seed), np.random.default_rng(1000 + seed)
    grain = random.normal(0, 6, (4, HEIGHT, WIDTH, 1)).astype(np.float32)
    frames = []
    for index in range(round(seconds * RATE)):
        left = int(index / RATE * pixels_per_second)
        frames.append(whole[:, left : left + WIDTH] + grain[index % 4])
    return frames


def dissolve(first: int, second: int, seconds: float) -> list[np.ndarray]:
    shares = np.linspace(0, 1, round(seconds * RATE), dtype=np.float32)
    return [(1 - share) * picture(first)[:, :WIDTH] + share * picture(second)[:, :WIDTH] for share in shares]


def film(path: Path, frames: Sequence[np.ndarray], rate: int = RATE, **options: str) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=rate, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        stream.gop_size, stream.codec_context.thread_count = 250, 1
        stream.options = {"preset": "ultrafast", "bf": "2", **options}
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def chosen(path: Path, frames: int) -> np.ndarray:
    """Time stamps of the sample, seconds."""
    config = DecodeConfig(sampling=SamplingConfig(method="scene", frames=frames))
    return decode(str(path), "video", config).timestamps


def scenes_of(times: np.ndarray, lengths: Sequence[float]) -> list[int]:
    """The scene that each time falls into."""
    return np.searchsorted(np.cumsum(lengths), times + 1e-6, side="right").tolist()


LENGTHS = [1.2, 0.4, 3.0, 0.6, 0.8, 2.0, 0.4]


@pytest.fixture(scope="module")
def cut_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven scenes with cuts between them and no key frame at any but the first."""
    frames = [frame for seed, seconds in enumerate(LENGTHS) for frame in scene(seed, seconds)]
    return film(tmp_path_factory.mktemp("film") / "cuts.mp4", frames, sc_threshold="0")


@pytest.mark.parametrize("frames", [7, 9, 16])
def test_every_scene_has_a_frame_where_there_are_enough(cut_film, frames):
    times = chosen(cut_film, frames)
    assert len(times) == frames
    assert (np.diff(times) > 0).all()
    assert set(scenes_of(times, LENGTHS)) == set(range(7))


def test_frames_left_over_go_to_the_longest_scenes(cut_film):
    found = scenes_of(chosen(cut_film, 10), LENGTHS)
    assert found.count(2) >= 2
    assert found.count(5) >= 2
    assert found.count(1) == found.count(6) == 1


def test_with_fewer_frames_than_scenes_no_scene_has_two(cut_film):
    for frames in (1, 3, 5):
        found = scenes_of(chosen(cut_film, frames), LENGTHS)
        assert len(found) == len(set(found)) == frames


def test_a_frame_is_taken_from_the_middle_of_its_scene(cut_film):
    ends = np.cumsum(LENGTHS)
    for time, index in zip(chosen(cut_film, 7), range(7), strict=True):
        assert abs(time - (ends[index] - LENGTHS[index] / 2)) <= 0.35 * LENGTHS[index]


def test_a_camera_that_sweeps_takes_no_frame_from_a_short_scene(tmp_path):
    lengths = [3.0, 0.4, 0.4]
    frames = scene(11, 3.0, pixels_per_second=50.0) + scene(12, 0.4) + scene(13, 0.4)
    assert scenes_of(chosen(film(tmp_path / "sweep.mp4", frames), 3), lengths) == [0, 1, 2]


def test_a_slow_dissolve_makes_no_scene_of_its_own(tmp_path):
    lengths = [2.0, 1.0, 2.0]
    frames = scene(21, 2.0, 0.0) + dissolve(21, 22, 1.0) + scene(22, 2.0, 0.0)
    assert scenes_of(chosen(film(tmp_path / "dissolve.mp4", frames), 2), lengths) == [0, 2]


def test_a_flash_does_not_make_a_scene(tmp_path):
    frames = scene(31, 2.0) + scene(32, 2.0)
    for flash in (20, 21, 70):
        frames[flash] = np.full((HEIGHT, WIDTH, 3), 255, np.float32)
    path = film(tmp_path / "flash.mp4", frames)
    assert scenes_of(chosen(path, 2), [2.0, 2.0]) == [0, 1]
    for count in (2, 4, 8):
        assert not set((chosen(path, count) * RATE).round().astype(int)) & {20, 21, 70}


def test_a_still_picture_is_sampled_evenly(tmp_path):
    path = film(tmp_path / "still.mp4", [picture(41)[:, :WIDTH]] * 100)
    assert chosen(path, 4) == pytest.approx([0.5, 1.5, 2.5, 3.5], abs=0.05)


def test_slides_of_one_frame_each_are_scenes(tmp_path):
    path = film(tmp_path / "slides.mkv", [picture(seed)[:, :WIDTH] for seed in (51, 51, 52, 53, 53, 53, 54)], rate=1)
    times = chosen(path, 4)
    assert scenes_of(times, [2, 1, 3, 1]) == [0, 1, 2, 3]


def test_in_a_long_video_scenes_are_found_by_key_frames(cut_film, tmp_path, monkeypatch):
    monkeypatch.setattr(video_scenes, "ALL_PIXELS", 0)
    # A key frame at every cut, as encoders set them, and one each half second.
    frames = [frame for seed, seconds in enumerate(LENGTHS) for frame in scene(seed, seconds)]
    path = film(tmp_path / "long.mp4", frames, sc_threshold="40", g="12")
    assert set(scenes_of(chosen(path, 7), LENGTHS)) == set(range(7))
    # With a single key frame no scene can be found: the sample is that of `keyframe`.
    config = DecodeConfig(sampling=SamplingConfig(method="keyframe", frames=5))
    assert chosen(cut_film, 5).tolist() == decode(str(cut_film), "video", config).timestamps.tolist()


def test_the_number_of_decoded_frames_is_bounded(cut_film, monkeypatch):
    looked = []
    monkeypatch.setattr(video_scenes, "_view", lambda frame, view=video_scenes._view: looked.append(1) or view(frame))
    monkeypatch.setattr(video_scenes, "ALL_PIXELS", 100 * WIDTH * HEIGHT)
    chosen(cut_film, 4)
    assert len(looked) <= 32  # of 210 frames: key frames alone


def test_indices_are_a_function_of_views_and_times():
    random = np.random.default_rng(0)
    views = random.random((60, 12)).astype(np.float32)
    times = np.cumsum(random.random(60) + 0.01)
    for count in (1, 2, 7, 59, 60, 90):
        found = scene_indices(views, times, count)
        assert len(found) == min(count, 60)
        assert (np.diff(found) > 0).all()
        assert found.tolist() == scene_indices(views, times + 100, count).tolist()


def test_the_split_is_optimal():
    """Compared with every other split of a small example, by brute force."""
    from itertools import combinations

    from fuseid.encoders.scenes import _best_split

    random = np.random.default_rng(1)
    points, weights = random.random((9, 2)), random.random(9)
    weights /= weights.sum()

    def cost(starts: Sequence[int]) -> float:
        total = 0.0
        for start, end in zip(starts, [*starts[1:], 9], strict=True):
            run, share = points[start:end], weights[start:end]
            total += (share[:, None] * (run - np.average(run, axis=0, weights=share)) ** 2).sum()
        return total

    for count in (1, 2, 3, 5):
        best = min(([0, *rest] for rest in combinations(range(1, 9), count - 1)), key=cost)
        assert _best_split(points, weights, np.zeros(9, dtype=bool), count) == best
