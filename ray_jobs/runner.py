"""The Ray runner: the same steps as Ray Data tasks and actors; the only adapter that knows `map_batches`."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

from fuseid.core.config import Config
from fuseid.pipelines.steps import DecodeStep, EncodeStep, load_encoders
from fuseid.ray_jobs.sizing import Sizes, cluster_sizes

# One warm decode child per Ray worker process, kept between tasks; the kernel ends it with the worker.
_decode_steps: dict[str, DecodeStep] = {}


class RayRunner:
    """Decode runs as CPU tasks, encoding in actors that load the models once, this process consumes the stream."""

    name = "ray"

    def __init__(self, load: Callable[[Config], EncodeStep] = load_encoders, sizes: Sizes | None = None) -> None:
        self._load = load
        self._sizes = sizes

    def stream(self, work: Iterable[pa.RecordBatch], config: Config) -> Iterator[pa.RecordBatch]:
        # Planned batches are small, name no frames, and lie in the object store, which spills.
        connect()
        refs: list[Any] = [ray.put(pa.Table.from_batches([batch])) for batch in work]
        if not refs:
            return
        sizes = self._sizes or cluster_sizes(config.decode.workers)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        # Blocks pass as they are: one planned batch is one decode task and one call of the encoder.
        decode: Any = _decode
        decoded = ray.data.from_arrow_refs(refs).map_batches(
            decode,
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=sizes.decode_cpus,
            compute=TaskPoolStrategy(size=min(sizes.decode_tasks, len(refs))),
            fn_args=(config.model_dump_json(include={"decode", "source"}),),
        )
        done = decoded.map_batches(
            _Encoder,
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=sizes.encoder_cpus,
            num_gpus=sizes.encoder_gpus,
            compute=ActorPoolStrategy(size=sizes.encoders, max_tasks_in_flight_per_actor=4),
            fn_constructor_args=(config.model_dump_json(), sizes.encoder_threads, self._load),
        )
        tables: Iterator[Any] = iter(done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1))
        for table in tables:
            yield from table.combine_chunks().to_batches()


def connect() -> None:
    """Joins the cluster that RAY_ADDRESS names, else starts one on this machine; harmless when repeated."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.ERROR)
        return
    # A cluster of our own lives as long as this process: its C++ notes would only disturb the progress bars.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    with warnings.catch_warnings(), _silent_stderr():
        # Ray forks and at once executes another program, which Lance's and LanceDB's fork warnings do not mean.
        warnings.filterwarnings("ignore", message=".*fork.*")
        ray.init(logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Ray's C++ says on file descriptor 2 that it was told to be quiet; what goes wrong comes as an exception."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _decode(table: Any, config: str) -> Any:
    """A pyarrow.Table of WORK -> the same with frames."""
    if config not in _decode_steps:
        for step in _decode_steps.values():
            step.close()
        _decode_steps.clear()
        _decode_steps[config] = DecodeStep(Config.model_validate_json(config), workers=1)
    step = _decode_steps[config]
    return pa.Table.from_batches([step(batch) for batch in table.combine_chunks().to_batches()])


class _Encoder:
    def __init__(self, config: str, threads: int, load: Callable[[Config], EncodeStep]) -> None:
        import torch

        torch.set_num_threads(threads)
        self._encode = load(Config.model_validate_json(config))

    def __call__(self, table: pa.Table) -> pa.Table:
        return pa.Table.from_batches([self._encode(batch) for batch in table.combine_chunks().to_batches()])
