"""Which frames stand for a video's scenes, told from small views of its frames; pure functions of views and times."""

from __future__ import annotations

import numpy as np

# A view is this many by this many colours: smooth in motion and noise, steep at a cut.
VIEW_SIDE = 8

# Half the window of the running median, seconds: a flash that is shorter leaves no trace, nor does so short a scene.
_FLASH_SECONDS = 0.1

# A cut stands out from the changes around it by this factor, and differs by this mean of the range of a colour.
_CUT_RATIO = 3.0
_CUT_FLOOR = 0.03
_CUT_NEIGHBOURS = 2

# How far apart the ends of the video count, beside the root mean square of colours in 0..1: what decides in still
# pictures, so that the longest scenes have the frames that are left over.
_TIME_WEIGHT = 0.2

# Looks closer together than this are dense enough that a cut stands out from its neighbours.
_DENSE_SECONDS = 0.25


def view_of(small: np.ndarray) -> np.ndarray:
    """float32 [VIEW_SIDE * VIEW_SIDE * 3] in 0..1 of a picture uint8 [H, W, 3] whose sides are multiples of it."""
    height, width = small.shape[0] // VIEW_SIDE, small.shape[1] // VIEW_SIDE
    blocks = small.reshape(VIEW_SIDE, height, VIEW_SIDE, width, 3)
    return (blocks.mean((1, 3), dtype=np.float32) / 255.0).reshape(-1)


def scene_indices(views: np.ndarray, times: np.ndarray, count: int) -> np.ndarray:
    """The `count` (or all, where there are fewer) of `views` that stand best for the video; int64, ascending.

    views: float32 [N, D] in 0..1. times: float64 [N], seconds, strictly ascending.

    The time line is split into `count` runs so that views differ least from the mean of their run, weighted by the
    time that each stands for: Fisher's grouping for maximum homogeneity (JASA 1958) by Bellman's dynamic programme,
    as in kernel temporal segmentation (Potapov et al., ECCV 2014), but the number of runs is given. No run spans an
    abrupt cut while runs are left. Each run is represented by the view nearest to its mean.
    """
    if len(views) <= count:
        return np.arange(len(views))
    gaps = np.diff(times)
    weights = np.concatenate([gaps, gaps[-1:]]) / 2 + np.concatenate([gaps[:1], gaps]) / 2
    weights /= weights.sum()
    position = _TIME_WEIGHT * (times - times[0]) / (times[-1] - times[0])
    calm = _without_flashes(views, times)
    starts = _best_split(_with_time(calm, position), weights, _cuts(calm, times), count)
    points = _with_time(views, position)
    chosen = []
    for start, end in zip(starts, [*starts[1:], len(views)], strict=True):
        mean = np.average(points[start:end], axis=0, weights=weights[start:end])
        chosen.append(start + int(np.square(points[start:end] - mean).sum(1).argmin()))
    return np.array(chosen)


def _with_time(views: np.ndarray, position: np.ndarray) -> np.ndarray:
    """float64 [N, D + 1], scaled so that squared distances are mean squared differences of colour, plus time's."""
    return np.column_stack([views.astype(np.float64) / np.sqrt(views.shape[1]), position])


def _without_flashes(views: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The running median over time, which keeps the edges of cuts."""
    first = np.searchsorted(times, times - _FLASH_SECONDS, "left")
    end = np.searchsorted(times, times + _FLASH_SECONDS, "right")
    calm = views.copy()
    for index in np.flatnonzero(end - first > 2):
        calm[index] = np.median(views[first[index] : end[index]], axis=0)
    return calm


def _cuts(views: np.ndarray, times: np.ndarray) -> np.ndarray:
    """bool [N]: where a scene begins abruptly, by the change beside the mean change around it.

    The adaptive content detector of PySceneDetect, on the mean absolute difference of views.
    """
    change = np.abs(np.diff(views, axis=0)).mean(1)
    cuts = np.zeros(len(views), dtype=bool)
    for index, value in enumerate(change):
        before = change[max(0, index - _CUT_NEIGHBOURS) : index]
        around = np.concatenate([before, change[index + 1 : index + 1 + _CUT_NEIGHBOURS]])
        usual = around.mean() if len(around) else 0.0
        is_dense = times[index + 1] - times[index] <= _DENSE_SECONDS
        cuts[index + 1] = is_dense and value >= max(_CUT_FLOOR, _CUT_RATIO * usual)
    return cuts


def _best_split(points: np.ndarray, weights: np.ndarray, cuts: np.ndarray, count: int) -> list[int]:
    """Where each of `count` runs begins: the split of least weighted squared distance from the runs' means.

    points: float64 [N, D]. weights: [N], their sum 1. cuts: bool [N]. Time N^2 * (D + count), memory N^2.
    """
    total = len(points)
    points = points - np.average(points, axis=0, weights=weights)
    sums = np.zeros((total + 1, points.shape[1]))
    np.cumsum(points * weights[:, None], axis=0, out=sums[1:])
    mass = np.concatenate([[0.0], np.cumsum(weights)])
    squares = np.concatenate([[0.0], np.cumsum(weights * np.square(points).sum(1))])
    products = sums @ sums.T
    norms = np.diag(products)
    # cost[i, j] of the run [i, j), by prefix sums; a run that spans a cut costs more than any split without it.
    span = np.maximum(mass[None] - mass[:, None], 1e-300)
    cost = squares[None] - squares[:, None] - (norms[None] + norms[:, None] - 2 * products) / span
    passed = np.concatenate([np.cumsum(cuts), [cuts.sum()]])
    cost[:, 1:] += 1e3 * np.maximum(passed[None, :-1] - passed[:, None], 0)
    cost[np.tril_indices(total + 1)] = np.inf
    best = cost[0].copy()
    came_from = np.zeros((count, total + 1), dtype=np.int64)
    for run in range(1, count):
        through = best[:, None] + cost
        came_from[run] = through.argmin(0)
        best = through[came_from[run], np.arange(total + 1)]
    starts = []
    end = total
    for run in reversed(range(count)):
        end = int(came_from[run, end])
        starts.append(end)
    return starts[::-1]
