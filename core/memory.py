"""Memory that was freed goes back to the system, which the C library and Arrow put off."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pyarrow as pa

# mallopt(3)
_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 20


def map_large() -> None:
    """From now on pictures and other large pieces are mapped one by one, and gone once freed. By itself the C library
    raises that size to 32 MiB as such pieces are freed; between what lives longer they then leave holes, and a process
    that decodes grows for hours. Does nothing where the C library is not GNU's."""
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """To be called after large pieces of work, such as a commit. Without it a process that commits wave after wave
    grows by the pieces that its many threads leave behind. Does nothing where the C library is not GNU's."""
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
