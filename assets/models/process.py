"""Start a training script in a process whose threads and memory behave well on a small shared machine."""

from __future__ import annotations

import os
import sys

from fuseid.core.waiting import PASSIVE

# Measured on 2 cores with another job running: OpenMP threads spin while they wait for one that is not scheduled, and
# large memory blocks are returned to the system after every step and faulted in again. Without these settings a step
# takes up to six times longer.
SETTINGS = {
    **PASSIVE,
    "MALLOC_MMAP_THRESHOLD_": str(32 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 30),
    "MALLOC_ARENA_MAX": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def restart_with_settings() -> None:
    """Run the same command again with `SETTINGS`, which the C libraries read only at the start of a process."""
    if any(os.environ.get(name) != value for name, value in SETTINGS.items()):
        os.environ.update(SETTINGS)
        os.execv(sys.executable, [sys.executable, *sys.argv])
