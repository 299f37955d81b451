"""A fit on Ray: actors hold the blocks of its rows, each in files of its own node, and work on them.

Which actor has a block makes no difference to a result. An actor that dies is replaced, and what it held is read again
from the version of the table that the fit began with.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import ray
import torch
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError

from fuseid.core.errors import FuseidError
from fuseid.core.reasons import reason
from fuseid.core.row_blocks import BlockWork
from fuseid.pipelines.assignment.fit_blocks import FitBlocks, first_rows, worked
from fuseid.pipelines.assignment.fit_rows import FitRows
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.store.pins import pinned
from fuseid.pipelines.streams.block_files import BlockFiles, FileBlock, Piece
from fuseid.ray_jobs.pool import cause
from fuseid.ray_jobs.runner import connect

T = TypeVar("T")
log = logging.getLogger("fuseid")
_POLL_SECONDS = 0.2
_SILENCE_SECONDS = 60.0
# Blocks per actor that are being worked on, or whose results wait for their turn.
_AHEAD = 3
# Parts of the table per actor: the one that it reads, and the next one.
_PARTS_AHEAD = 2
_MOST_DEATHS, _MOST_TRIES = 5, 5
_REPLACED_CPUS = 0.001


class _FitterActor:
    """Has the blocks whose numbers it is asked to keep."""

    def begin(self, rows: FitRows) -> None:
        # Each block is worked on by one thread, whoever does it.
        torch.set_num_threads(1)
        self._rows = rows
        self._files = BlockFiles(rows.vectors.dim)
        self._blocks: dict[int, FileBlock] = {}
        self._parts: set[int] = set()

    def part(self, number: int, fitters: int, wanted: list[int]) -> tuple[Any, ...]:
        """-> the number of rows read, and the piece for each of the actors that want one."""
        piece = self._rows.read(number)
        owners = piece.numbers_N % fitters
        return (piece.rows_read, *(piece.where(owners == fitter, piece.rows_read) for fitter in wanted))

    def add(self, part: int, piece: Piece) -> None:
        """A part that has come before, and whose answer was lost, is not added again."""
        if part not in self._parts:
            self._files.add(piece)
            self._parts.add(part)

    def finish(self, numbers: list[int]) -> dict[int, int]:
        """-> the rows of each block."""
        self._blocks = self._blocks or self._files.finish(numbers)
        return {number: block.rows for number, block in self._blocks.items()}

    def work(self, work: BlockWork[Any], number: int) -> Any:
        return worked(work, self._blocks[number])

    def read(self, number: int) -> np.ndarray:
        return self._blocks[number].read()


_new_fitter: Any = ray.remote(_FitterActor)


@dataclass
class _Part:
    """A part of the table that an actor is reading. pieces: references to what others get of it, by actor."""

    number: int
    reader: int
    pieces: dict[int, Any]


class RayBlocks:
    """Blocks of the rows of a fit in actors; see `core.row_blocks.Blocks`. Block b belongs to actor b modulo their
    number; the last block has what is held out."""

    def __init__(self, rows: FitRows, fitters: int, cpus: float) -> None:
        self.count = rows.count
        self.dim = rows.vectors.dim
        self.source = rows
        self._shared = ray.put(rows)
        self._cpus = cpus
        self.fitters = fitters
        self.actors: dict[int, Any] = {}
        self._started: set[int] = set()
        self._sizes: dict[int, int] = {}
        self._deaths = 0  # since a block was last finished
        self.rows = 0

    def load(self, progress: Progress) -> None:
        """To be called once, before all others."""
        progress.begin("read", self.source.to_read)
        self._fill(set(range(self.fitters)), progress)
        self.rows = sum(self._sizes[number] for number in range(self.count))

    def close(self) -> None:
        for actor in self.actors.values():
            ray.kill(actor)

    def map(self, work: BlockWork[T]) -> Iterator[T]:
        shared = ray.put(work)
        running: deque[tuple[int, Any]] = deque()
        waiting, tries = iter(range(self.count)), 0

        def start(number: int) -> tuple[int, Any]:
            return number, self._actor_of(number).work.remote(shared, number)

        while True:
            while len(running) < _AHEAD * self.fitters and (number := next(waiting, None)) is not None:
                running.append(start(number))
            if not running:
                return
            number, ref = running[0]
            if not ray.wait([ref], timeout=_POLL_SECONDS)[0]:
                continue
            try:
                result = ray.get(ref)
            except RayTaskError as error:
                raise cause(error) from None
            except (ActorDiedError, ActorUnavailableError) as error:
                fitter = number % self.fitters
                self._replace(fitter, error)
                running = deque(start(each) if each % self.fitters == fitter else (each, old) for each, old in running)
                continue
            except RayError as error:
                tries = _next_try(tries, f"the result of block {number}", error)
                running[0] = start(number)
                continue
            running.popleft()
            self._deaths = tries = 0
            yield result

    def read(self, number: int) -> np.ndarray:
        while True:
            try:
                found: np.ndarray = ray.get(self._actor_of(number).read.remote(number))
            except RayTaskError as error:
                raise cause(error) from None
            except RayError as error:
                self._replace(number % self.fitters, error)
            else:
                return found

    def sample(self, rows: int) -> np.ndarray:
        return first_rows(self, rows)

    def held_out(self) -> np.ndarray:
        return self.read(self.count)

    def _actor_of(self, number: int) -> Any:
        return self.actors[number % self.fitters]

    def _numbers(self, fitter: int) -> list[int]:
        return list(range(fitter, self.count + 1, self.fitters))

    def _replace(self, fitter: int, error: RayError) -> None:
        self.lost(fitter, error)
        self._fill({fitter})

    def lost(self, fitter: int, error: RayError) -> None:
        """Raises FuseidError if too many actors die without finishing a block."""
        self._deaths += 1
        if self._deaths > _MOST_DEATHS:
            raise FuseidError(f"fitters died {self._deaths} times and finished nothing: {reason(error)}") from None
        log.warning("a fitter died, another one reads its blocks again: %s", reason(error))
        ray.kill(self.actors.pop(fitter))

    def _fill(self, empty: set[int], progress: Progress | None = None) -> None:
        """Starts actors and gives them their rows, until none of them has died meanwhile."""
        while empty:
            for fitter in sorted(empty):
                # In place of one that died with its node there may be no core free; nodes without cores get none.
                cpus = _REPLACED_CPUS if fitter in self._started else self._cpus
                self._started.add(fitter)
                actor = _new_fitter.options(num_cpus=cpus, scheduling_strategy="SPREAD").remote()
                actor.begin.remote(self._shared)
                self.actors[fitter] = actor
            left = _Filling(self, set(empty), progress).run()
            for fitter in sorted(empty - left):
                try:
                    self._sizes |= ray.get(self.actors[fitter].finish.remote(self._numbers(fitter)))
                except RayTaskError as error:
                    raise cause(error) from None
                except RayError as error:
                    self.lost(fitter, error)
                    left.add(fitter)
            empty, progress = left, None


class _Filling:
    """Reads the table part by part, by all actors, and passes on to some of them their rows. Each actor has a part that
    it reads and one that it reads next."""

    def __init__(self, blocks: RayBlocks, fitters: set[int], progress: Progress | None) -> None:
        self._blocks = blocks
        self._fitters = fitters
        self._progress = progress
        self._waiting = deque((number, fitters) for number in range(blocks.source.parts))
        self._reading: dict[Any, _Part] = {}
        self._adding: dict[Any, tuple[int, int]] = {}
        self._busy: Counter[int] = Counter()
        self._tries: Counter[int] = Counter()
        self._shown: set[int] = set()
        self._died: set[int] = set()

    def run(self) -> set[int]:
        """-> the actors that have died. Raises what reading raises, and FuseidError for a part that is lost too
        often."""
        last = time.monotonic()
        while self._fitters - self._died:
            while self._waiting and (reader := self._free()) is not None:
                self._start(*self._waiting.popleft(), reader)
            going = [*self._adding, *self._reading]
            if not going:
                break
            ready, _ = ray.wait(going, num_returns=1, timeout=_POLL_SECONDS, fetch_local=False)
            if ready:
                last = time.monotonic()
            elif time.monotonic() - last > _SILENCE_SECONDS:
                last = time.monotonic()
                log.warning(
                    "no part of the table has arrived for %.0f s; actors of the fit may wait for cores of the cluster, "
                    "which has %g now", _SILENCE_SECONDS, ray.cluster_resources().get("CPU", 0),
                )  # fmt: skip
            for ref in ready:
                if ref in self._reading:
                    self._have_read(ref)
                else:
                    self._have_added(ref)
        return self._died

    def _free(self) -> int | None:
        """The actor with the fewest parts to read; None if all have enough, or pieces wait for theirs to be added."""
        alive = self._blocks.actors.keys() - self._died
        if not alive or len(self._adding) > _PARTS_AHEAD * len(alive) * len(self._fitters):
            return None
        reader = min(sorted(alive), key=self._busy.__getitem__)
        return reader if self._busy[reader] < _PARTS_AHEAD else None

    def _start(self, number: int, fitters: set[int], reader: int) -> None:
        wanted = sorted(fitters - self._died)
        method = self._blocks.actors[reader].part.options(num_returns=len(wanted) + 1)
        done, *pieces = method.remote(number, self._blocks.fitters, wanted)
        self._busy[reader] += 1
        self._reading[done] = _Part(number, reader, dict(zip(wanted, pieces, strict=True)))

    def _have_read(self, ref: Any) -> None:
        part = self._reading.pop(ref)
        self._busy[part.reader] -= 1
        try:
            rows = ray.get(ref)
        except RayTaskError as error:
            raise cause(error) from None
        except RayError as error:
            self._has_died(part.reader, error)
            self._again(part.number, set(part.pieces), error)
            return
        for fitter in part.pieces.keys() - self._died:
            added = self._blocks.actors[fitter].add.remote(part.number, part.pieces[fitter])
            self._adding[added] = part.number, fitter
        if self._progress is not None and part.number not in self._shown:
            self._shown.add(part.number)
            self._progress.advance("read", rows)

    def _have_added(self, ref: Any) -> None:
        number, fitter = self._adding.pop(ref)
        try:
            ray.get(ref)
        except (ActorDiedError, ActorUnavailableError) as error:
            self._has_died(fitter, error)
        except RayTaskError as error:
            if not isinstance(error.cause, RayError):
                raise cause(error) from None
            self._again(number, {fitter}, error.cause)
        except RayError as error:
            self._again(number, {fitter}, error)

    def _has_died(self, fitter: int, error: RayError) -> None:
        if fitter not in self._died:
            self._died.add(fitter)
            self._blocks.lost(fitter, error)

    def _again(self, number: int, fitters: set[int], error: RayError) -> None:
        self._tries[number] = _next_try(self._tries[number], f"part {number} of the table", error)
        if fitters - self._died:
            self._waiting.appendleft((number, fitters))


def _next_try(tries: int, what: str, error: RayError) -> int:
    if tries + 1 == _MOST_TRIES:
        raise FuseidError(f"{what} was lost {_MOST_TRIES} times over: {reason(error)}") from None
    log.warning("%s is lost and made again: %s", what, reason(error))
    return tries + 1


class RayFitRunner:
    """Blocks in actors of a cluster, whose nodes all read the database themselves."""

    name = "ray"

    def __init__(self, fitters: int | None = None, cpus: float | None = None) -> None:
        """fitters: the number of actors, by default one for each core of the cluster. cpus: what Ray reserves for one,
        by default half of its share, so that half of the cluster can hold all of them if nodes die as they start."""
        self._fitters = fitters
        self._cpus = cpus

    @contextmanager
    def blocks(self, rows: FitRows, progress: Progress) -> Iterator[FitBlocks]:
        connect()
        uri = rows.uri if "://" in rows.uri else str(Path(rows.uri).resolve())
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        fitters = self._fitters or cores
        cpus = self._cpus or max(_REPLACED_CPUS, min(0.5, int(5000 * cores / fitters) / 10_000))
        blocks = RayBlocks(replace(rows, uri=uri), fitters, cpus)
        with pinned({"contents": rows.contents}):
            try:
                blocks.load(progress)
                yield blocks
            finally:
                blocks.close()
