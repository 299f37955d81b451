"""A pool of actors of one kind: each is loaded once, more of them while blocks wait, fewer once they idle."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from fuseid.core.errors import FuseidError

log = logging.getLogger("fuseid")
# How long an actor may have nothing to do before its place is left to others.
_IDLE_SECONDS = 60.0
_MOST_DEATHS = 5


@dataclass(eq=False)
class Worker:
    """busy: the blocks that it has. idle_since: when it last gave one back."""

    actor: Any
    node: str = ""
    busy: int = 0
    idle_since: float = field(default_factory=time.monotonic)


class Pool:
    """kind: what its actors are called. start: makes an actor and calls it to load, whose result is its node.
    most: how many there may be now, as the cluster grows and shrinks. depth: blocks that one has at a time."""

    def __init__(self, kind: str, start: Callable[[], tuple[Any, Any]], most: Callable[[], int], depth: int) -> None:
        self._kind = kind
        self._start = start
        self._most = most
        self._depth = depth
        self.loading: dict[Any, Worker] = {}
        self._ready: list[Worker] = []
        self._deaths = 0  # since one of them finished a block

    def close(self) -> None:
        for worker in (*self._ready, *self.loading.values()):
            ray.kill(worker.actor)

    @property
    def ready(self) -> int:
        """How many work, or could."""
        return len(self._ready)

    def resize(self, on_the_way: int, waiting: int) -> None:
        """on_the_way: all blocks that it has or will have. waiting: those of them that no actor has.

        Loading takes long: at first there is an actor for each block on the way; later another one where blocks wait
        for those that there are, and one less where one was idle for a minute.
        """
        most = self._most()
        for ref in list(self.loading)[max(0, most - len(self._ready)) :]:
            ray.kill(self.loading.pop(ref).actor)  # its place in the cluster is gone
        room = most - len(self._ready) - len(self.loading)
        for _ in range(min((waiting if self._ready else on_the_way) - len(self.loading), room)):
            actor, ref = self._start()
            self.loading[ref] = Worker(actor)
        now = time.monotonic()
        idle = [each for each in self._ready if not each.busy and now - each.idle_since >= _IDLE_SECONDS]
        for worker in idle[: len(self._ready) - 1]:
            self._ready.remove(worker)
            ray.kill(worker.actor)

    def free(self, node: str = "") -> Worker | None:
        """The actor with least to do, rather one on `node`; None where all have enough."""
        able = [worker for worker in self._ready if worker.busy < self._depth]
        return min(able, key=lambda each: each.busy + (each.node != node), default=None)

    def loaded(self, ref: Any) -> None:
        """One of `loading` is done. Raises what its load raised."""
        worker = self.loading.pop(ref)
        try:
            worker.node = ray.get(ref)
        except RayTaskError as error:
            raise cause(error) from None
        except RayError as error:
            self.died(worker, error)
        else:
            worker.idle_since = time.monotonic()
            self._ready.append(worker)

    def finished(self, worker: Worker) -> None:
        """It gave a block back."""
        worker.busy -= 1
        worker.idle_since = time.monotonic()
        self._deaths = 0

    def died(self, worker: Worker, error: RayError) -> None:
        """Another one takes its place where there is work. Raises FuseidError where none lives to finish a block."""
        if worker in self._ready:
            self._ready.remove(worker)
        self._deaths += 1
        if self._deaths > _MOST_DEATHS * max(1, self._most()):
            raise FuseidError(f"{self._kind}s died {self._deaths} times and finished nothing: {line(error)}")
        log.warning("%s died, another one takes its place: %s", self._kind, line(error))
        ray.kill(worker.actor)


def cause(error: RayTaskError) -> Exception:
    """What a step raised: an error that is told in one line, where it is one of ours."""
    return error.cause if isinstance(error.cause, FuseidError) else error


def line(error: RayError) -> str:
    return " ".join(str(error).split())[:300]
