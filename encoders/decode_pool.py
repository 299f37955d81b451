"""Decoding in child processes that can be killed, so that one harmful file costs only one item."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from fuseid.core.ahead import map_ahead
from fuseid.core.config import DecodeConfig
from fuseid.core.errors import DecodeCrashed, DecodeTimeout, ItemError, OutOfMemory
from fuseid.core.platform import usable_cores
from fuseid.core.records import Decoded
from fuseid.encoders.decode_process import ChildDied, ChildTimedOut, DecodeProcess
from fuseid.encoders.video_decoder import check_decoder

# Results per child that wait for the consumer: enough to keep the children busy, few enough to bound memory.
_AHEAD_PER_WORKER = 3


class DecodePool:
    """Up to `workers` long-lived child processes (0: one per core this process may use), each served by its own thread.

    The children start at first use, are replaced after `decode.items_per_process` items or when killed, and end with
    `close` or with this process, however it ends. Thread-safe. Does not run on Windows. Raises NotReady if the
    configuration names a decoder that is not installed here.
    """

    def __init__(self, config: DecodeConfig, workers: int = 1) -> None:
        check_decoder(config)
        self._config = config
        self.workers = workers or usable_cores()
        # The threads live as long as the pool: the kernel kills a child when the thread that started it ends.
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="fuseid-decode")
        self._idle: SimpleQueue[DecodeProcess] = SimpleQueue()
        self._children = [DecodeProcess(config) for _ in range(self.workers)]
        for child in self._children:
            self._idle.put(child)
        self._closed = False
        self._costs, self._taken = threading.Lock(), 0.0
        self._busy = self._cores = 0.0

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decode_many(self, items: Iterable[tuple[str, str]]) -> Iterator[Decoded | ItemError]:
        """One result per (path, kind) of `items`, in their order. An item's error is yielded, never raised.

        Reads and decodes only a few items ahead of the consumer. Raises RuntimeError after `close`, and if child
        processes cannot be started at all.
        """
        if self._closed:
            raise RuntimeError("this DecodePool is closed")
        return map_ahead(
            lambda item: self._threads.submit(self._decode_one, *item), items, self.workers * _AHEAD_PER_WORKER - 1
        )

    def _decode_one(self, path: str, kind: str) -> Decoded | ItemError:
        child = self._idle.get()
        started, on_core = time.perf_counter(), time.thread_time()
        try:
            return self._decode_in(child, path, kind)
        finally:
            self._idle.put(child)
            with self._costs:
                self._busy += time.perf_counter() - started
                self._cores += time.thread_time() - on_core

    def take_costs(self) -> tuple[float, float]:
        """-> seconds in which children had an item, and core-seconds of the children and of the threads that serve
        them; since the last call, whoever asked for the items."""
        with self._costs:
            children = sum(child.cores.total for child in self._children)
            busy, cores = self._busy, self._cores + children - self._taken
            self._busy, self._cores, self._taken = 0.0, 0.0, children
            return busy, cores

    def _decode_in(self, child: DecodeProcess, path: str, kind: str) -> Decoded | ItemError:
        killed = False
        while True:
            was_fresh, killed_from_outside = child.is_fresh, False
            try:
                result = child.decode(path, kind)
            except ChildTimedOut:
                return DecodeTimeout(f"decoding {path!r} took longer than {self._config.timeout_seconds:g} seconds")
            except ChildDied as death:
                result = death.as_item_error(path, self._config)
                # SIGKILL comes from outside: a machine short of memory may kill any process, so try once more.
                killed_from_outside = death.is_from_outside and not killed
                killed = killed or killed_from_outside
            if not isinstance(result, DecodeCrashed | OutOfMemory):
                return result
            child.close()
            # Earlier items in the same child may be the cause, and an item's result must not depend on its neighbours:
            # only a failure in a fresh child counts.
            if (was_fresh and not killed_from_outside) or self._closed:
                return result

    def close(self) -> None:
        """Ends all children, including work in progress. May be called again."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._children:
            child.kill()
        self._threads.shutdown(wait=True)
        for child in self._children:
            child.close()
