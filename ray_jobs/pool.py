"""A pool of actors of one kind: each is loaded once; the pool grows while blocks wait, and shrinks when actors idle."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from fuseid.core.errors import FuseidError
from fuseid.core.reasons import reason

log = logging.getLogger("fuseid")
# How long an actor may be idle before it is ended.
_IDLE_SECONDS = 60.0
_MOST_DEATHS = 5


@dataclass(eq=False)
class Worker:
    """busy: how many blocks the actor has. idle_since: when it last finished one."""

    actor: Any
    node: str = ""
    busy: int = 0
    idle_since: float = field(default_factory=time.monotonic)


class Pool:
    """kind: what messages call an actor. start: creates an actor and calls its `load` -> the actor, and a reference to
    the call's result, which is the id of its node. most: returns how many actors there may be now, as the cluster grows
    and shrinks. depth: how many blocks an actor has at a time."""

    def __init__(self, kind: str, start: Callable[[], tuple[Any, Any]], most: Callable[[], int], depth: int) -> None:
        self._kind = kind
        self._start = start
        self._most = most
        self._depth = depth
        self.loading: dict[Any, Worker] = {}
        self._ready: list[Worker] = []
        self.most_ready = 0  # how many were loaded at the same time
        self._deaths = 0  # since an actor last finished a block

    def close(self) -> None:
        for worker in (*self._ready, *self.loading.values()):
            ray.kill(worker.actor)

    @property
    def ready(self) -> int:
        """How many actors are loaded."""
        return len(self._ready)

    def resize(self, on_the_way: int, waiting: int) -> None:
        """on_the_way: how many blocks the pool has or will get. waiting: how many of them no actor has yet.

        Loading takes long: at first an actor is started for each block on the way; later only as many as blocks are
        waiting, and an actor that was idle for a minute is ended.
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
        """The actor with the fewest blocks, preferably one on `node`; None if all have `depth` blocks."""
        able = [worker for worker in self._ready if worker.busy < self._depth]
        return min(able, key=lambda each: each.busy + (each.node != node), default=None)

    def loaded(self, ref: Any) -> None:
        """To be called when one of `loading` is ready. Raises what its `load` raised."""
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
            self.most_ready = max(self.most_ready, len(self._ready))

    def finished(self, worker: Worker) -> None:
        """To be called when an actor has finished a block."""
        worker.busy -= 1
        worker.idle_since = time.monotonic()
        self._deaths = 0

    def died(self, worker: Worker, error: RayError) -> None:
        """To be called when an actor has died; `resize` starts another one if there is work. Raises FuseidError if too
        many die without finishing a block."""
        if worker in self._ready:
            self._ready.remove(worker)
        self._deaths += 1
        if self._deaths > _MOST_DEATHS * max(1, self._most()):
            raise FuseidError(f"{self._kind}s died {self._deaths} times and finished nothing: {reason(error)}")
        log.warning("%s died, another one takes its place: %s", self._kind, reason(error))
        ray.kill(worker.actor)


def cause(error: RayTaskError) -> Exception:
    """What a step raised, if it is a FuseidError, whose message is complete; else Ray's error with its traceback."""
    return error.cause if isinstance(error.cause, FuseidError) else error
