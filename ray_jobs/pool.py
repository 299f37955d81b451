"""The encoders of a flow: actors that load the models once, more of them while blocks wait, fewer once they idle."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayError, RayTaskError

from fuseid.core.config import Config
from fuseid.core.errors import FuseidError
from fuseid.pipelines.steps import EncodeStep
from fuseid.ray_jobs.sizing import Sizes

log = logging.getLogger("fuseid")
# Blocks per encoder: one that it encodes, and the next ones already on its node.
_DEPTH = 3
# How long an encoder may have nothing to do before its device is left to others.
_IDLE_SECONDS = 60.0
# How often the cluster is asked what it has.
_LOOK_SECONDS = 10.0
_MOST_DEATHS = 5


class _EncoderActor:
    """Loaded once, by a call: what goes wrong in the constructor of an actor comes back as text only."""

    def load(self, config: str, threads: int, load: Callable[[Config], EncodeStep]) -> str:
        """-> the node that it is on."""
        import torch

        torch.set_num_threads(threads)
        self._encode = load(Config.model_validate_json(config))
        return ray.get_runtime_context().get_node_id()

    def encode(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self._encode(batch)


_new_encoder: Any = ray.remote(_EncoderActor)


@dataclass(eq=False)
class Encoder:
    """busy: the blocks that it has. idle_since: when it last gave one back."""

    actor: Any
    node: str = ""
    busy: int = 0
    idle_since: float = field(default_factory=time.monotonic)


class Pool:
    """A context manager. At most `Sizes.encoders`, which is asked for again and again: a cluster grows and shrinks."""

    def __init__(self, config: Config, measure: Callable[[], Sizes], load: Callable[[Config], EncodeStep]) -> None:
        self._config = config
        self._measure = measure
        self._load = load
        self.sizes = measure()
        self._measured = time.monotonic()
        self.loading: dict[Any, Encoder] = {}
        self._ready: list[Encoder] = []
        self._deaths = 0  # since one of them finished a block

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for encoder in (*self._ready, *self.loading.values()):
            ray.kill(encoder.actor)

    @property
    def ready(self) -> int:
        """How many encoders work, or could."""
        return len(self._ready)

    def resize(self, on_the_way: int, waiting: int) -> None:
        """on_the_way: all blocks between planning and result. waiting: those that are decoded and no encoder has.

        An encoder takes long to load: at first there is one for each block on the way; later another one where blocks
        wait for those that there are, and one less where one was idle for a minute.
        """
        now = time.monotonic()
        if now - self._measured >= _LOOK_SECONDS:
            self.sizes, self._measured = self._measure(), now
        for ref in list(self.loading)[max(0, self.sizes.encoders - len(self._ready)) :]:
            ray.kill(self.loading.pop(ref).actor)  # its place in the cluster is gone
        room = self.sizes.encoders - len(self._ready) - len(self.loading)
        for _ in range(min((waiting if self._ready else on_the_way) - len(self.loading), room)):
            self._start()
        idle = [each for each in self._ready if not each.busy and now - each.idle_since >= _IDLE_SECONDS]
        for encoder in idle[: len(self._ready) - 1]:
            self._ready.remove(encoder)
            ray.kill(encoder.actor)

    def free(self, node: str) -> Encoder | None:
        """The encoder with least to do, rather one on `node`; None where all have enough."""
        able = [encoder for encoder in self._ready if encoder.busy < _DEPTH]
        return min(able, key=lambda each: each.busy + (each.node != node), default=None)

    def loaded(self, ref: Any) -> None:
        """One of `loading` is done. Raises what its load raised."""
        encoder = self.loading.pop(ref)
        try:
            encoder.node = ray.get(ref)
        except RayTaskError as error:
            raise cause(error) from None
        except RayError as error:
            self.died(encoder, error)
        else:
            encoder.idle_since = time.monotonic()
            self._ready.append(encoder)

    def finished(self, encoder: Encoder) -> None:
        """It gave a block back."""
        encoder.busy -= 1
        encoder.idle_since = time.monotonic()
        self._deaths = 0

    def died(self, encoder: Encoder, error: RayError) -> None:
        """Another one takes its place where there is work. Raises FuseidError where none lives to finish a block."""
        if encoder in self._ready:
            self._ready.remove(encoder)
        self._deaths += 1
        if self._deaths > _MOST_DEATHS * self.sizes.encoders:
            raise FuseidError(f"encoders died {self._deaths} times and finished nothing: {line(error)}")
        log.warning("an encoder died, another one takes its place: %s", line(error))
        ray.kill(encoder.actor)

    def _start(self) -> None:
        sizes = self.sizes
        actor = _new_encoder.options(num_cpus=sizes.encoder_cpus, num_gpus=sizes.encoder_gpus).remote()
        ref = actor.load.remote(self._config.model_dump_json(), sizes.encoder_threads, self._load)
        self.loading[ref] = Encoder(actor)


def cause(error: RayTaskError) -> Exception:
    """What a step raised: an error that is told in one line, where it is one of ours."""
    return error.cause if isinstance(error.cause, FuseidError) else error


def line(error: RayError) -> str:
    return " ".join(str(error).split())[:300]
