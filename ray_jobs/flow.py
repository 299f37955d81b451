"""The flow of blocks through a cluster: through decoders, then encoders, with no more blocks on the way than needed.

This process keeps each planned block, which has no frames yet, until its result has arrived: if a decoder, an encoder
or a node dies, the block is processed again. Frames are in Ray's object store, never in this process. Decoders are
actors, not tasks: Ray ends the processes of idle tasks after a second, and a new one has to start Python and a decode
child.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError

from fuseid.core.config import Config
from fuseid.core.errors import FuseidError
from fuseid.core.reasons import reason
from fuseid.core.waiting import wait_passively
from fuseid.pipelines.ingestion.steps import DecodeStep, EncodeStep
from fuseid.pipelines.streams.prefetch import Prefetch
from fuseid.ray_jobs.pool import Pool, Worker, cause
from fuseid.ray_jobs.sizing import Sizes

log = logging.getLogger("fuseid")
# How long a flow waits at most before it checks whether it was halted, or whether there is more to do.
_POLL_SECONDS = 0.2
# How often the size of the cluster is measured.
_LOOK_SECONDS = 10.0
# Blocks per actor: the one that it works on, and the next ones, which are already with it.
_DECODER_DEPTH, _ENCODER_DEPTH = 2, 3
# Decoded blocks, for each encoder, that wait for a free encoder.
_DECODED_AHEAD = 2
_MOST_TRIES = 5


class _DecoderActor:
    """Has one decode child, which stays alive between blocks; the kernel ends it with the actor's process."""

    def load(self, config: str) -> str:
        """-> the id of the actor's node."""
        self._decode = DecodeStep(Config.model_validate_json(config), workers=1)
        return ray.get_runtime_context().get_node_id()

    def decode(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, None]:
        """WORK -> WORK with frames; and a small second result, which the driver fetches to see whether it succeeded."""
        return self._decode(batch), None


class _EncoderActor:
    """Loads the models in a call, not in its constructor, whose errors come back as text only."""

    def load(self, config: str, threads: int, load: Callable[[Config], EncodeStep]) -> str:
        """-> the id of the actor's node."""
        # On a cluster that no command has started, nothing else has said so; the cores are those of decoders, too.
        wait_passively()
        import torch

        torch.set_num_threads(threads)
        self._encode = load(Config.model_validate_json(config))
        return ray.get_runtime_context().get_node_id()

    def encode(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self._encode(batch)


_new_decoder: Any = ray.remote(_DecoderActor)
_new_encoder: Any = ray.remote(_EncoderActor)


@dataclass(eq=False)
class _Block:
    """decoded: a reference to the block with frames. node: where it was decoded. worker: the actor that has it."""

    batch: pa.RecordBatch
    tries: int = 0
    decoded: Any = None
    node: str = ""
    worker: Worker | None = field(default=None, repr=False)


class Flow:
    """A context manager; `run` yields the results in the order in which they are finished.

    measure: returns the sizes that fit the cluster; called from time to time, since the cluster grows and shrinks.
    """

    def __init__(self, config: Config, measure: Callable[[], Sizes], load: Callable[[Config], EncodeStep]) -> None:
        self._config = config
        self._measure = measure
        self._load = load
        self._sizes, self._measured = measure(), time.monotonic()
        self.decoders = Pool("a decoder", self._start_decoder, lambda: self._sizes.decoders, _DECODER_DEPTH)
        self.encoders = Pool("an encoder", self._start_encoder, lambda: self._sizes.encoders, _ENCODER_DEPTH)
        self._planned: deque[_Block] = deque()
        self._decoding: dict[Any, _Block] = {}
        self._decoded: deque[_Block] = deque()
        self._encoding: dict[Any, _Block] = {}
        self.halted = False

    def __enter__(self) -> Flow:
        return self

    def __exit__(self, *_: object) -> None:
        self.decoders.close()
        self.encoders.close()

    def run(self, planned: Prefetch[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """planned: WORK. Yields DONE. Raises what a step raised, and FuseidError for a block that is lost too often."""
        while not self.halted:
            self._take_planned(planned)
            self._hand_out()
            to_decode = len(self._planned) + len(self._decoding)
            on_the_way = to_decode + len(self._decoded) + len(self._encoding)
            if not on_the_way:
                if planned.ended:
                    return
                continue
            if time.monotonic() - self._measured >= _LOOK_SECONDS:
                self._sizes, self._measured = self._measure(), time.monotonic()
            self.decoders.resize(to_decode, len(self._planned))
            self.encoders.resize(on_the_way, len(self._decoded))
            going = [*self._encoding, *self.encoders.loading, *self._decoding, *self.decoders.loading]
            ready, _ = ray.wait(going, num_returns=1, timeout=_POLL_SECONDS, fetch_local=False)
            for ref in ready:
                for pool in (self.decoders, self.encoders):
                    if ref in pool.loading:
                        pool.loaded(ref)
                if ref in self._decoding:
                    self._receive_decoded(ref)
                elif ref in self._encoding and (result := self._receive_encoded(ref)) is not None:
                    yield result

    def _take_planned(self, planned: Prefetch[pa.RecordBatch]) -> None:
        """Takes planned blocks while decoders are free and encoders may run short."""
        sizes = self._sizes
        while (
            not planned.ended
            and len(self._planned) + len(self._decoding) < _DECODER_DEPTH * sizes.decoders
            and len(self._decoded) < _DECODED_AHEAD * sizes.encoders
        ):
            idle = not (self._planned or self._decoding or self._decoded or self._encoding)
            batch = planned.get(_POLL_SECONDS if idle else 0)
            if batch is None:
                return
            self._planned.append(_Block(batch))

    def _hand_out(self) -> None:
        while self._planned and (decoder := self.decoders.free()) is not None:
            block = self._planned.popleft()
            block.worker = decoder
            decoder.busy += 1
            block.decoded, done = decoder.actor.decode.options(num_returns=2).remote(block.batch)
            self._decoding[done] = block
        while self._decoded and (encoder := self.encoders.free(self._decoded[0].node)) is not None:
            block = self._decoded.popleft()
            block.worker = encoder
            encoder.busy += 1
            self._encoding[encoder.actor.encode.remote(block.decoded)] = block

    def _receive_decoded(self, ref: Any) -> None:
        block = self._decoding.pop(ref)
        if self._result(ref, block, self.decoders):
            assert block.worker is not None
            block.node = block.worker.node
            self._decoded.append(block)

    def _receive_encoded(self, ref: Any) -> pa.RecordBatch | None:
        block = self._encoding.pop(ref)
        found = self._result(ref, block, self.encoders)
        return found[0] if found else None

    def _result(self, ref: Any, block: _Block, pool: Pool) -> tuple[Any] | None:
        """The result of a call, in a tuple; None if the call or its input was lost: then the block is tried again."""
        worker = block.worker
        assert worker is not None
        try:
            result = ray.get(ref)
        except RayTaskError as error:
            raise cause(error) from None
        except RayError as error:
            worker.busy -= 1
            if isinstance(error, ActorDiedError | ActorUnavailableError):
                pool.died(worker, error)
            self._retry(block, error)
            return None
        pool.finished(worker)
        return (result,)

    def _retry(self, block: _Block, error: RayError) -> None:
        """Processes a block again from the start: its frames may be lost, too."""
        block.tries += 1
        if block.tries >= _MOST_TRIES:
            raise FuseidError(f"{block.batch.num_rows} items were lost {block.tries} times over: {reason(error)}")
        log.warning("a block of %d items is given out again: %s", block.batch.num_rows, reason(error))
        block.decoded = None
        self._planned.appendleft(block)

    def _start_decoder(self) -> tuple[Any, Any]:
        config = self._config.model_dump_json(include={"decode", "source"})
        actor = _new_decoder.options(num_cpus=self._sizes.decoder_cpus, scheduling_strategy="SPREAD").remote()
        return actor, actor.load.remote(config)

    def _start_encoder(self) -> tuple[Any, Any]:
        sizes = self._sizes
        actor = _new_encoder.options(num_cpus=sizes.encoder_cpus, num_gpus=sizes.encoder_gpus).remote()
        return actor, actor.load.remote(self._config.model_dump_json(), sizes.encoder_threads, self._load)
