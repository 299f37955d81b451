"""Memory that was freed goes back to the system, which the C library and Arrow put off."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pyarrow as pa


def give_back() -> None:
    """To be called after large pieces of work, such as a commit. Without it a process that commits wave after wave
    grows by the pieces that its many threads leave behind. Does nothing where the C library is not GNU's."""
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
