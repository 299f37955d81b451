"""Measures commands and processes: seconds, and the peak memory of all processes, shared pages counted once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

SAMPLE_SECONDS = 0.3


@dataclass(frozen=True)
class Sample:
    """Memory in MiB, `at` seconds after the start: `mib` is the proportional set size, which includes pages of files
    that the kernel can drop; `anonymous_mib` is memory that it cannot. scratch_mib: on the disk, under TMPDIR."""

    at: float
    mib: float
    anonymous_mib: float
    scratch_mib: float


@dataclass(frozen=True)
class Command:
    """Result of a command: seconds from start to end, peak memory in MiB, and its JSON output."""

    seconds: float
    peak_mib: float
    output: dict[str, Any]
    samples: list[Sample] = field(default_factory=list, repr=False)

    def peak(self, name: str, start: float = 0.0, end: float = float("inf")) -> float:
        """The largest value of a field of `Sample` between two moments, in seconds after the start."""
        return max((getattr(one, name) for one in self.samples if start <= one.at <= end), default=0.0)


def fuseid(*arguments: str | Path, scratch: Path | None = None) -> Command:
    """Runs `fuseid ARGUMENTS --json`. Raises RuntimeError with the end of its error output if it fails."""
    return measured([sys.executable, "-m", "fuseid.apps.cli", *arguments, "--json"], scratch)


def measured(line: Sequence[str | Path], scratch: Path | None = None) -> Command:
    """Runs a command that prints JSON in its last line. scratch: an empty folder to be its TMPDIR.

    Raises RuntimeError with the end of its error output if it fails.
    """
    line = [str(part) for part in line]
    started, samples = time.perf_counter(), []
    environment = None if scratch is None else os.environ | {"TMPDIR": str(scratch)}
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        while process.poll() is None:
            memory, anonymous = _memory_mib(process.pid)
            space = 0.0 if scratch is None else disk_mib(scratch)
            samples.append(Sample(time.perf_counter() - started, memory, anonymous, space))
            time.sleep(SAMPLE_SECONDS)
        seconds = time.perf_counter() - started
        said, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(line)} ended with {process.returncode}: {errors[-2000:]}")
    peak = max((one.mib for one in samples), default=0.0)
    return Command(seconds, peak, json.loads(said.splitlines()[-1]), samples)


def memory_mib(pid: int) -> float:
    """The proportional set size of a process and all its descendants: each shared page is counted once."""
    return _memory_mib(pid)[0]


def _memory_mib(pid: int) -> tuple[float, float]:
    """The proportional set size of a process and all its descendants, and how much of it is anonymous."""
    total = {"Pss:": 0, "Pss_Anon:": 0}
    with suppress(psutil.NoSuchProcess):
        for process in (top := psutil.Process(pid), *top.children(recursive=True)):
            # A process that has ended has no memory to count.
            with suppress(OSError):
                for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
                    name, *value = line.split()
                    if name in total:
                        total[name] += int(value[0])
    return total["Pss:"] / 1024, total["Pss_Anon:"] / 1024


def disk_mib(folder: Path) -> float:
    """The space on the disk of all files below a folder; one that is deleted meanwhile does not count."""
    blocks = 0
    for below, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                blocks += os.stat(f"{below}/{name}").st_blocks
    return blocks / 2048


def own_peak_mib() -> float:
    """The peak memory of this process since its start."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024
