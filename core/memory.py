"""Returns freed memory to the operating system, which the C library and Arrow do late or never."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa

# mallopt(3). A block as large as the mmap threshold gets its own mapping, which is released when the block is freed.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE = 1 << 20
# The values that the C library's own thresholds reach once a process has freed large blocks.
_USUAL, _USUAL_TRIM = 32 << 20, 64 << 20


@contextmanager
def trimmed_memory() -> Iterator[None]:
    """Memory that is freed inside the block goes back to the operating system; for large work, such as a commit.

    Without it, a process that commits wave after wave grows, because its many threads leave free blocks between blocks
    that live longer. Not for models: every layer would map its activations again and clear their pages, which makes
    ViT-B-32 on two cores a third slower. Does nothing if the C library is not glibc.
    """
    _set({_M_MMAP_THRESHOLD: _LARGE})
    try:
        yield
    finally:
        _set({_M_MMAP_THRESHOLD: _USUAL, _M_TRIM_THRESHOLD: _USUAL_TRIM})
        trim()


def trim() -> None:
    """Returns what was freed so far; for long computations, which `trimmed_memory` would slow down."""
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _set(options: dict[int, int]) -> None:
    with suppress(AttributeError):
        for option, value in options.items():
            ctypes.CDLL(None).mallopt(option, value)
