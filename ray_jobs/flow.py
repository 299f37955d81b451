"""The flow of blocks through a cluster: decode tasks, then encoder actors, with no more blocks on the way than needed.

This process keeps each planned block, which names no frames, until its result is here: whatever dies on the way, a
worker, an encoder or a node, the block is given out again. Frames lie in Ray's object store, never in this process.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError

from fuseid.core.config import Config
from fuseid.core.errors import FuseidError
from fuseid.pipelines.ahead import Ahead
from fuseid.pipelines.steps import DecodeStep
from fuseid.ray_jobs.pool import Encoder, Pool, cause, line

log = logging.getLogger("fuseid")
# How soon a flow sees that it was halted, or that there is more to do.
_POLL_SECONDS = 0.2
# Decoded blocks per encoder that wait for any of them.
_DECODED_AHEAD = 2
_MOST_TRIES = 5

# One warm decode child per Ray worker process, kept between tasks; the kernel ends it with the worker.
_decode_steps: dict[str, DecodeStep] = {}


@ray.remote
def _decode(batch: pa.RecordBatch, config: str) -> tuple[pa.RecordBatch, str]:
    """WORK -> WORK with frames, and the node where they are."""
    if config not in _decode_steps:
        for step in _decode_steps.values():
            step.close()
        _decode_steps.clear()
        _decode_steps[config] = DecodeStep(Config.model_validate_json(config), workers=1)
    return _decode_steps[config](batch), ray.get_runtime_context().get_node_id()


@dataclass(eq=False)
class _Block:
    """decoded, node: references to what a decode task gives."""

    batch: pa.RecordBatch
    tries: int = 0
    decoded: Any = None
    node: Any = None
    encoder: Encoder | None = field(default=None, repr=False)


class Flow:
    """`run` yields the results in the order in which they are done."""

    def __init__(self, config: Config, pool: Pool) -> None:
        self._config = config
        self._pool = pool
        self._decoding: dict[Any, _Block] = {}
        self._decoded: deque[_Block] = deque()
        self._encoding: dict[Any, _Block] = {}
        self.halted = False

    def run(self, planned: Ahead[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """planned: WORK. Yields DONE. Raises what a step raised, and FuseidError for a block that nothing survives."""
        pool = self._pool
        while not self.halted:
            self._draw(planned)
            self._hand_out()
            on_the_way = len(self._decoding) + len(self._decoded) + len(self._encoding)
            if not on_the_way:
                if planned.ended:
                    return
                continue
            pool.resize(on_the_way, len(self._decoded))
            going = [*self._encoding, *pool.loading, *self._decoding]
            ready, _ = ray.wait(going, num_returns=1, timeout=_POLL_SECONDS, fetch_local=False)
            for ref in ready:
                if ref in self._decoding:
                    self._decoded.append(self._decoding.pop(ref))
                elif ref in pool.loading:
                    pool.loaded(ref)
                else:
                    result = self._encoded(ref)
                    if result is not None:
                        yield result

    def _draw(self, planned: Ahead[pa.RecordBatch]) -> None:
        """Starts decoding while tasks are free and encoders may run short."""
        sizes = self._pool.sizes
        while (
            not planned.ended
            and len(self._decoding) < 2 * sizes.decode_tasks
            and len(self._decoded) < _DECODED_AHEAD * sizes.encoders
        ):
            idle = not (self._decoding or self._decoded or self._encoding)
            batch = planned.get(_POLL_SECONDS if idle else 0)
            if batch is None:
                return
            self._start_decoding(_Block(batch))

    def _start_decoding(self, block: _Block) -> None:
        told = self._config.model_dump_json(include={"decode", "source"})
        task: Any = _decode.options(num_cpus=self._pool.sizes.decode_cpus, num_returns=2, scheduling_strategy="SPREAD")
        block.decoded, block.node = task.remote(block.batch, told)
        self._decoding[block.decoded] = block

    def _hand_out(self) -> None:
        while self._decoded:
            encoder = self._pool.free(_node_of(self._decoded[0]))
            if encoder is None:
                return
            block = self._decoded.popleft()
            block.encoder = encoder
            encoder.busy += 1
            self._encoding[encoder.actor.encode.remote(block.decoded)] = block

    def _encoded(self, ref: Any) -> pa.RecordBatch | None:
        block = self._encoding.pop(ref)
        encoder = block.encoder
        assert encoder is not None
        try:
            result = ray.get(ref)
        except RayTaskError as error:
            raise cause(error) from None
        except RayError as error:
            encoder.busy -= 1
            if isinstance(error, ActorDiedError | ActorUnavailableError):
                self._pool.died(encoder, error)
            self._again(block, error)
            return None
        self._pool.finished(encoder)
        return result

    def _again(self, block: _Block, error: RayError) -> None:
        """From the start: its frames may have gone with what died."""
        block.tries += 1
        if block.tries >= _MOST_TRIES:
            raise FuseidError(f"{block.batch.num_rows} items were lost {block.tries} times over: {line(error)}")
        log.warning("a block of %d items is given out again: %s", block.batch.num_rows, line(error))
        self._start_decoding(block)


def _node_of(block: _Block) -> str:
    try:
        return ray.get(block.node)
    except RayError:  # whoever encodes the block will hear of it
        return ""
