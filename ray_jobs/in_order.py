"""Pieces of work in tasks anywhere in the cluster, their results in order; a piece whose worker dies is given out
again."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from fuseid.core.errors import FuseidError
from fuseid.core.reasons import reason
from fuseid.ray_jobs.pool import cause
from fuseid.ray_jobs.runner import connect

log = logging.getLogger("fuseid")
T = TypeVar("T")
_MOST_TRIES = 5
# Tasks per core that run or wait.
_AHEAD = 2
_POLL_SECONDS = 0.2


def in_order(pieces: Iterable[T], start: Callable[[T], Any], named: Callable[[T], str]) -> Iterator[Any]:
    """start: gives a piece to a task, which Ray must not try again itself -> the reference to its result. named: what
    the log calls a piece. Raises what a task raises, and FuseidError for a piece that is lost again and again."""
    connect()
    at_once = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting = iter(pieces)
    running: deque[tuple[T, Any]] = deque()
    tries = 0
    try:
        while True:
            while len(running) < at_once and (given := next(waiting, None)) is not None:
                running.append((given, start(given)))
            if not running:
                return
            piece, ref = running[0]
            # Nothing that waits in Ray can be stopped by a signal.
            if not ray.wait([ref], timeout=_POLL_SECONDS)[0]:
                continue
            try:
                found = ray.get(ref)
            except RayTaskError as error:
                raise cause(error) from None
            except RayError as error:
                tries += 1
                if tries == _MOST_TRIES:
                    raise FuseidError(f"a piece of work was lost {tries} times over: {reason(error)}") from None
                log.warning("%s is given out again: %s", named(piece), reason(error))
                running[0] = piece, start(piece)
                continue
            running.popleft()
            tries = 0
            yield found
    finally:
        for _, ref in running:
            ray.cancel(ref)
