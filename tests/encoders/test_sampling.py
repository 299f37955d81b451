import numpy as np
import pytest

from fuseid.core.config import SamplingConfig
from fuseid.encoders.sampling import nearest_indices, target_times


@pytest.mark.parametrize("method", ["keyframe", "uniform"])
def test_targets_are_the_middles_of_equal_parts(method):
    assert target_times(8.0, SamplingConfig(method=method, frames=4)).tolist() == [1, 3, 5, 7]


def test_fps_counts_from_zero():
    assert target_times(2.0, SamplingConfig(method="fps", fps=2, frames=8)).tolist() == [0, 0.5, 1, 1.5]


def test_fps_beyond_the_most_frames_is_thinned_over_the_whole_duration():
    assert target_times(100.0, SamplingConfig(method="fps", fps=1, frames=3)).tolist() == [0, 50, 99]


@pytest.mark.parametrize("method", ["keyframe", "uniform", "fps"])
def test_no_duration_still_gives_a_target(method):
    assert set(target_times(0.0, SamplingConfig(method=method))) == {0.0}


def test_nearest_by_time_and_the_earlier_on_a_tie():
    times = np.array([0.0, 1.0, 5.0])
    assert nearest_indices(times, np.array([-1, 0.5, 0.6, 2.9, 3.1, 99])).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest_indices(times[:1], np.array([0.0, 7.0])).tolist() == [0, 0]
