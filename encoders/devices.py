"""The device that a model runs on, the number of rows per pass, and what happens when memory runs out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

import torch

from fuseid.core.ahead import map_ahead
from fuseid.core.costs import HELPERS, add_device_seconds
from fuseid.core.errors import ConfigError
from fuseid.encoders.blocks import blocks, filled

T = TypeVar("T")
R = TypeVar("R")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(wanted: str) -> torch.device:
    """`auto` is the first CUDA device, else the CPU. Raises ConfigError for a device that this machine lacks."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ConfigError(f"unknown device {wanted!r}; try auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {wanted} was asked for, but no CUDA device is here; use auto or cpu")
    return device


def rows_that_fit(device: torch.device, bytes_per_row: int, on_cpu: int, most: int) -> int:
    """A power of two of rows that a quarter of the device's free memory holds, at most `most`; `on_cpu` on the CPU."""
    if device.type != "cuda":
        return on_cpu
    free, _ = torch.cuda.mem_get_info(device)
    return min(most, power_of_two_below(free // 4 // bytes_per_row))


def power_of_two_below(number: int) -> int:
    """The largest power of two that is at most `number`; 1 below that."""
    return 1 << max(number.bit_length() - 1, 0)


def preparing_threads(device: torch.device) -> Executor | None:
    """As many threads as torch has, to prepare the next inputs while the model runs; None if the model runs on a single
    CPU thread, with which they would compete."""
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return None
    return ThreadPoolExecutor(max(2, torch.get_num_threads()), thread_name_prefix=HELPERS)


def prepared(function: Callable[[T], R], items: Iterable[T], threads: Executor | None, count: int) -> Iterator[R]:
    """`map` that computes the next `count` results in `threads` while the caller uses this one; None: no threads."""
    if threads is None:
        return map(function, items)
    return map_ahead(lambda item: threads.submit(function, item), items, count)


class Passes:
    """Forward passes in blocks of one size; when memory runs out, all further blocks are half as large.

    device: where they run; the seconds on another one than the CPU are counted, from handing over the inputs until the
    results are back. limit: the most rows per block since memory ran out; None before.
    """

    def __init__(self, device: torch.device) -> None:
        self.limit: int | None = None
        self._device = device

    def run(self, forward: Callable[[list[T]], Iterable[R]], items: Sequence[T], size: int) -> list[R]:
        """Applies `forward` to blocks of exactly `size` items; repeats the last item to fill the last block.

        Raises what `forward` raises; an out-of-memory error only if a single item does not fit.
        """
        while True:
            rows = size if self.limit is None else min(size, self.limit)
            started = time.perf_counter()
            try:
                return [
                    result
                    for block in blocks(items, rows)
                    for result in list(forward(filled(block, rows)))[: len(block)]
                ]
            except (RuntimeError, MemoryError) as error:
                if rows == 1 or not is_out_of_memory(error):
                    raise
            finally:
                if self._device.type != "cpu":
                    add_device_seconds(time.perf_counter() - started)
            # Outside the handler: inside it, the exception's stack frames keep the tensors alive.
            self.limit = rows // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device or the machine has no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU's allocator and cuBLAS raise plain RuntimeErrors.
    return any(words in str(error) for words in ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED"))
