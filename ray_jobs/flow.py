"""The flow of blocks through a cluster: decode tasks, then encoder actors, with no more blocks on the way than needed.

This process keeps each planned block, which names no frames, until its result is here: whatever dies on the way, a
worker, an encoder or a node, the block is given out again. Frames lie in Ray's object store, never in this process.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError

from fuseid.core.config import Config
from fuseid.core.errors import FuseidError
from fuseid.pipelines.ahead import Ahead
from fuseid.pipelines.steps import DecodeStep, EncodeStep
from fuseid.ray_jobs.sizing import Sizes

log = logging.getLogger("fuseid")
# How soon a flow sees that it was halted, or that there is more to do.
_POLL_SECONDS = 0.2
# Blocks per encoder: one that it encodes, and the next ones already on its node.
_ENCODER_DEPTH = 3
# Decoded blocks per encoder that wait for any of them.
_DECODED_AHEAD = 2
_MOST_TRIES = 5

# One warm decode child per Ray worker process, kept between tasks; the kernel ends it with the worker.
_decode_steps: dict[str, DecodeStep] = {}


@ray.remote
def _decode(batch: pa.RecordBatch, config: str) -> pa.RecordBatch:
    """WORK -> WORK with frames."""
    if config not in _decode_steps:
        for step in _decode_steps.values():
            step.close()
        _decode_steps.clear()
        _decode_steps[config] = DecodeStep(Config.model_validate_json(config), workers=1)
    return _decode_steps[config](batch)


class _EncoderActor:
    """Loaded once, by a call: what goes wrong in the constructor of an actor comes back as text only."""

    def load(self, config: str, threads: int, load: Callable[[Config], EncodeStep]) -> None:
        import torch

        torch.set_num_threads(threads)
        self._encode = load(Config.model_validate_json(config))

    def encode(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self._encode(batch)


_new_encoder: Any = ray.remote(_EncoderActor)


@dataclass(eq=False)
class _Encoder:
    actor: Any
    busy: int = 0


@dataclass(eq=False)
class _Block:
    batch: pa.RecordBatch
    tries: int = 0
    decoded: Any = None
    encoder: _Encoder | None = field(default=None, repr=False)


class Flow:
    """A context manager; `run` yields the results in the order in which they are done."""

    def __init__(self, config: Config, sizes: Sizes, load: Callable[[Config], EncodeStep]) -> None:
        self._config = config
        self._sizes = sizes
        self._load = load
        self._decoding: dict[Any, _Block] = {}
        self._decoded: deque[_Block] = deque()
        self._encoding: dict[Any, _Block] = {}
        self._loading: dict[Any, _Encoder] = {}
        self._encoders: list[_Encoder] = []
        self._deaths = 0  # of encoders, since one of them finished a block
        self.halted = False

    def __enter__(self) -> Flow:
        for _ in range(self._sizes.encoders):
            self._start_encoder()
        return self

    def __exit__(self, *_: object) -> None:
        for encoder in (*self._encoders, *self._loading.values()):
            ray.kill(encoder.actor)

    def run(self, planned: Ahead[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """planned: WORK. Yields DONE. Raises what a step raised, and FuseidError for a block that nothing survives."""
        while not self.halted:
            self._draw(planned)
            self._hand_out()
            going = [*self._encoding, *self._loading, *self._decoding]
            if not going:
                if planned.ended and not self._decoded:
                    return
                continue
            ready, _ = ray.wait(going, num_returns=1, timeout=_POLL_SECONDS, fetch_local=False)
            for ref in ready:
                if ref in self._decoding:
                    self._decoded.append(self._decoding.pop(ref))
                elif ref in self._loading:
                    self._loaded(ref)
                else:
                    result = self._encoded(ref)
                    if result is not None:
                        yield result

    def _draw(self, planned: Ahead[pa.RecordBatch]) -> None:
        """Starts decoding while tasks are free and encoders may run short."""
        sizes = self._sizes
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
        task = _decode.options(num_cpus=self._sizes.decode_cpus, scheduling_strategy="SPREAD")
        block.decoded = task.remote(block.batch, told)
        self._decoding[block.decoded] = block

    def _start_encoder(self) -> None:
        sizes = self._sizes
        actor = _new_encoder.options(num_cpus=sizes.encoder_cpus, num_gpus=sizes.encoder_gpus).remote()
        ref = actor.load.remote(self._config.model_dump_json(), sizes.encoder_threads, self._load)
        self._loading[ref] = _Encoder(actor)

    def _hand_out(self) -> None:
        while self._decoded and self._encoders:
            encoder = min(self._encoders, key=lambda each: each.busy)
            if encoder.busy >= _ENCODER_DEPTH:
                return
            block = self._decoded.popleft()
            block.encoder = encoder
            encoder.busy += 1
            self._encoding[encoder.actor.encode.remote(block.decoded)] = block

    def _loaded(self, ref: Any) -> None:
        encoder = self._loading.pop(ref)
        try:
            ray.get(ref)
        except RayTaskError as error:
            raise _cause(error) from None
        except RayError as error:
            self._replace(encoder, error)
        else:
            self._encoders.append(encoder)

    def _encoded(self, ref: Any) -> pa.RecordBatch | None:
        block = self._encoding.pop(ref)
        encoder = block.encoder
        assert encoder is not None
        encoder.busy -= 1
        try:
            result = ray.get(ref)
        except RayTaskError as error:
            raise _cause(error) from None
        except RayError as error:
            if isinstance(error, ActorDiedError | ActorUnavailableError) and encoder in self._encoders:
                self._encoders.remove(encoder)
                self._replace(encoder, error)
            self._again(block, error)
            return None
        self._deaths = 0
        return result

    def _again(self, block: _Block, error: RayError) -> None:
        """From the start: its frames may have gone with what died."""
        block.tries += 1
        if block.tries >= _MOST_TRIES:
            raise FuseidError(f"{block.batch.num_rows} items were lost {block.tries} times over: {_line(error)}")
        log.warning("a block of %d items is given out again: %s", block.batch.num_rows, _line(error))
        self._start_decoding(block)

    def _replace(self, encoder: _Encoder, error: RayError) -> None:
        self._deaths += 1
        if self._deaths > _MOST_TRIES * self._sizes.encoders:
            raise FuseidError(f"encoders died {self._deaths} times and finished nothing: {_line(error)}")
        log.warning("an encoder died, another one takes its place: %s", _line(error))
        ray.kill(encoder.actor)
        self._start_encoder()


def _cause(error: RayTaskError) -> Exception:
    """What a step raised: an error that is told in one line, where it is one of ours."""
    return error.cause if isinstance(error.cause, FuseidError) else error


def _line(error: RayError) -> str:
    return " ".join(str(error).split())[:300]
