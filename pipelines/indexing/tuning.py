"""The least effort with which a search finds enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fuseid.pipelines.indexing.recall import Recall
from fuseid.pipelines.store.index_figures import Effort, Found

# Probes are tried in steps of a quarter; the first step that is tried, and how much further the next ones lie: about
# twice as many probes.
_STEP, _FIRST, _NEXT = 1.25, 3, 3


def tuned(
    measure: Callable[[Effort], Recall | None],
    partitions: int,
    compared: Sequence[int],
    target: float,
    errors: float = 1.0,
) -> Found:
    """The fewest probes, with the fewest compared candidates, whose recall is the target or more with so many standard
    errors taken off, so that other items are found as often. If no effort is enough, the greatest one.

    compared: what is tried, the least first. More probes are taken never to find less.
    """
    steps = _steps(partitions)
    for candidates in compared:
        tried = [_Trial(measure, Effort(probes, candidates), target, errors) for probes in steps]
        high = _FIRST if len(steps) > _FIRST else len(steps) - 1
        low = -1
        while not tried[high].enough and high < len(steps) - 1:
            low, high = high, min(high + _NEXT, len(steps) - 1)
        if tried[high].enough:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if tried[middle].enough else (middle, high)
            break
    return tried[high].found


class _Trial:
    """An effort, measured when it is first asked for."""

    def __init__(
        self, measure: Callable[[Effort], Recall | None], effort: Effort, target: float, errors: float
    ) -> None:
        self._measure, self._effort, self._target, self._errors = measure, effort, target, errors
        self._recall: Recall | None = None
        self._is_measured = False

    @property
    def enough(self) -> bool:
        """Also if nothing can be judged: then all items are alike."""
        found = self._measured()
        return found is None or found.mean - self._errors * found.error >= self._target

    @property
    def found(self) -> Found:
        found = self._measured()
        return Found(self._effort, None if found is None else round(found.mean, 4))

    def _measured(self) -> Recall | None:
        if not self._is_measured:
            self._recall, self._is_measured = self._measure(self._effort), True
        return self._recall


def _steps(partitions: int) -> list[int]:
    """1, 2, 3, 4, 5, 6, 8, 10 and so on, up to all partitions."""
    steps, step = [], 1.0
    while round(step) < partitions:
        steps.append(round(step))
        step = max(step * _STEP, round(step) + 1)
    return [*steps, partitions]
