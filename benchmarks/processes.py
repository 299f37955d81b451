"""Measures commands and processes: seconds, and the peak memory of all processes, shared pages counted once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_SAMPLE_SECONDS = 0.3


@dataclass(frozen=True)
class Command:
    """Result of a `fuseid` command: seconds from start to end, peak memory in MiB, and its JSON output."""

    seconds: float
    peak_mib: float
    output: dict[str, Any]


def fuseid(*arguments: str | Path) -> Command:
    """Runs `fuseid ARGUMENTS --json`. Raises RuntimeError with the end of its error output if it fails."""
    started, peak = time.perf_counter(), 0.0
    line = [sys.executable, "-m", "fuseid.apps.cli", *map(str, arguments), "--json"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak = max(peak, memory_mib(process.pid))
            time.sleep(_SAMPLE_SECONDS)
        seconds = time.perf_counter() - started
        said, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(line)} ended with {process.returncode}: {errors[-2000:]}")
    return Command(seconds, peak, json.loads(said.splitlines()[-1]))


def memory_mib(pid: int) -> float:
    """The proportional set size of a process and all its descendants: each shared page is counted once."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for process in (top := psutil.Process(pid), *top.children(recursive=True)):
            # A process that has ended has no memory to count.
            with suppress(OSError):
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def own_peak_mib() -> float:
    """The peak memory of this process since its start."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024
