"""Selects frames that represent a video's scenes, from small views of its frames; pure functions of views and times."""

from __future__ import annotations

import numpy as np

# A view has this many by this many colours: it changes little with motion and noise, and much at a cut.
VIEW_SIDE = 8

# Half the window of the running median, in seconds: it removes shorter flashes, and also scenes as short as that.
_FLASH_SECONDS = 0.1

# At a cut, views change by this factor more than around it, and on average by this share of the range of a colour.
_CUT_RATIO = 3.0
_CUT_FLOOR = 0.03
_CUT_NEIGHBOURS = 2

# The distance in time between both ends of the video, on the scale of the root mean square of colours in 0..1. It
# decides where the picture does not change, so that the longest scenes get the frames that are left over.
_TIME_WEIGHT = 0.2

# Views must be at most this far apart for a cut to be detected by comparison with its neighbours.
_DENSE_SECONDS = 0.25


def view_of(small: np.ndarray) -> np.ndarray:
    """float32 [VIEW_SIDE * VIEW_SIDE * 3] in 0..1 of a picture uint8 [H, W, 3] whose sides are multiples of it."""
    height, width = small.shape[0] // VIEW_SIDE, small.shape[1] // VIEW_SIDE
    blocks = small.reshape(VIEW_SIDE, height, VIEW_SIDE, width, 3)
    return (blocks.mean((1, 3), dtype=np.float32) / 255.0).reshape(-1)


def scene_indices(views: np.ndarray, times: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` views (or all, if there are fewer) that best represent the video; int64, ascending.

    views: float32 [N, D] in 0..1. times: float64 [N], seconds, strictly ascending.

    The time line is split into `count` runs so that views differ least from the mean of their run, weighted by the time
    that each covers: Fisher's grouping for maximum homogeneity (JASA 1958) by Bellman's dynamic programme, as in kernel
    temporal segmentation (Potapov et al., ECCV 2014), but with a given number of runs. No run contains an abrupt cut
    unless there are more cuts than runs allow. Each run is represented by the view nearest to its mean.
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
    """float64 [N, D + 1], scaled so that a squared distance is the mean squared difference of colours, plus time's."""
    return np.column_stack([views.astype(np.float64) / np.sqrt(views.shape[1]), position])


def _without_flashes(views: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The running median over time, which keeps cuts sharp."""
    first = np.searchsorted(times, times - _FLASH_SECONDS, "left")
    end = np.searchsorted(times, times + _FLASH_SECONDS, "right")
    calm = views.copy()
    for index in np.flatnonzero(end - first > 2):
        calm[index] = np.median(views[first[index] : end[index]], axis=0)
    return calm


def _cuts(views: np.ndarray, times: np.ndarray) -> np.ndarray:
    """bool [N]: where a scene starts abruptly, by comparing each change with the mean change around it.

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
    """Where each of `count` runs starts, for the least weighted sum of squared distances from the runs' means.

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
    # cost[i, j] of the run [i, j), by prefix sums; a run that contains a cut costs more than any split without it.
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
