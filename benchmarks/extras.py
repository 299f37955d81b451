"""What each extra costs: `python benchmarks/extras.py`, in the environment of `make`.

For each extra: the packages that it adds to the plain installation, their size on disk (MB, with bytecode) and how long
its module takes to import in a new process after fuseid's command line is imported (median of 5, milliseconds). The
plain installation is in the first row, with the time of `import fuseid.api`.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement

MODULES = {
    "s3": "s3fs",
    "gcs": "gcsfs",
    "heif": "pi_heif",
    "jxl": "imagecodecs",
    "fast": "fuseid.tokenizers.beam_kernel",
}
_TIMED = """
import time, fuseid.apps.cli
started = time.perf_counter(); import {module}; print(1000 * (time.perf_counter() - started))
"""
_PLAIN = "import time; started = time.perf_counter(); import fuseid.api; print(1000 * (time.perf_counter() - started))"


def closure(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """The names of a distribution and of all that it needs here."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(_canonical(name), extras)]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        try:
            requires = distribution(one[0]).requires or []
        except PackageNotFoundError:
            continue
        seen.add(one)
        for requirement in map(Requirement, requires):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *one[1])):
                waiting.append((_canonical(requirement.name), frozenset(requirement.extras)))
    return {name for name, _ in seen}


def size(names: set[str]) -> float:
    """MB on disk."""
    files = [file for name in names for file in distribution(name).files or []]
    return sum(path.stat().st_size for file in files if (path := file.locate()).is_file()) / 1e6  # type: ignore[attr-defined]


def milliseconds(code: str) -> float:
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(5)]
    return statistics.median(float(run.stdout) for run in runs)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    plain = closure("fuseid")
    print("| installation | packages | MB | import, ms |\n| --- | --- | --- | --- |")
    print(f"| `fuseid` | {len(plain)} | {size(plain):,.0f} | {milliseconds(_PLAIN):.0f} |")
    for extra, module in MODULES.items():
        added = closure("fuseid", frozenset([extra])) - plain
        took = milliseconds(_TIMED.format(module=module))
        print(f"| `fuseid[{extra}]` | +{len(added)} | +{size(added):,.0f} | +{took:.0f} |", flush=True)


if __name__ == "__main__":
    main()
