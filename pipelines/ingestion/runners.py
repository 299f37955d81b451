"""Runners pass batches through the steps; the local one is here, the one on Ray is in `ray_jobs`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Protocol

import pyarrow as pa

from fuseid.core.ahead import map_ahead
from fuseid.core.config import Config
from fuseid.core.platform import usable_cores
from fuseid.core.protocols import Step
from fuseid.pipelines.ingestion.bottleneck import Capacity
from fuseid.pipelines.ingestion.steps import DecodeStep, EncodeStep, load_encoders

_DECODED_AT_A_TIME = 2


class Runner(Protocol):
    """Yields DONE batches for WORK batches, in any order, each row exactly once."""

    name: str

    def stream(self, work: Iterable[pa.RecordBatch], config: Config) -> Iterator[pa.RecordBatch]: ...

    def read(
        self, function: Callable[..., Iterator[pa.RecordBatch]], parts: Iterable[Any], *arguments: Any
    ) -> Iterator[pa.RecordBatch]:
        """Yields the batches of function(part, *arguments) for each part, in order."""

    def capacity(self) -> Capacity | None:
        """Of what has been streamed or read; None before that."""

    def halt(self) -> None:
        """Called from another thread: the stream ends soon, and unfinished batches are dropped."""


class LocalRunner:
    """Runs in this process: its children decode the next batches while the models encode the current one."""

    name = "local"

    def __init__(self, load: Callable[[Config], EncodeStep] = load_encoders) -> None:
        self._load = load
        self._encode: Step | None = None
        self._decode: DecodeStep | None = None
        self._capacity: Capacity | None = None

    def stream(self, work: Iterable[pa.RecordBatch], config: Config) -> Iterator[pa.RecordBatch]:
        decode = self._decode = DecodeStep(config, config.decode.workers)
        # Two threads: while the last items of one batch are decoded, the next batch keeps the other children busy.
        threads = ThreadPoolExecutor(_DECODED_AT_A_TIME, thread_name_prefix="fuseid-decode-ahead")
        self._capacity = Capacity(decode.workers, _DECODED_AT_A_TIME, 1, usable_cores())
        try:
            with closing(map_ahead(lambda batch: threads.submit(decode, batch), work, 2)) as batches:
                for batch in batches:
                    yield self._encoded(batch, config)
        finally:
            decode.close()
            threads.shutdown(wait=True)

    def read(
        self, function: Callable[..., Iterator[pa.RecordBatch]], parts: Iterable[Any], *arguments: Any
    ) -> Iterator[pa.RecordBatch]:
        self._capacity = Capacity(0, 1, 0, usable_cores())
        for part in parts:
            yield from function(part, *arguments)

    def capacity(self) -> Capacity | None:
        return self._capacity

    def halt(self) -> None:
        if self._decode is not None:
            self._decode.close()

    def _encoded(self, batch: pa.RecordBatch, config: Config) -> pa.RecordBatch:
        if self._encode is None:
            self._encode = self._load(config)
        return self._encode(batch)
