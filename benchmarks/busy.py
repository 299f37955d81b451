"""How long a fit takes beside busy processes: `python benchmarks/busy.py --vectors FILE.npy [--rounds 5] [--json OUT]`.

FILE holds floats [N, D]. One row for each case: the median seconds with and without one busy loop per core, and the
median of their ratio, round by round; and the same of CPU seconds, which grow if threads wait in loops. Cases take
turns within a round, so that a slow minute of the machine affects all of them. Each run is a process of its own, whose
threads wait as those of a `fuseid` command do, or, with `--default-waiting`, as the libraries have it.

`fit` is `RQKMeans.fit`, `fit one thread` the same with one thread, and `products` is a matrix product of torch on all
cores after the other, as models and statistics use it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from fuseid.core.waiting import PASSIVE

CASES = ("fit", "fit one thread", "products")


def measured(case: str, path: str) -> tuple[float, float]:
    """-> seconds, CPU seconds of this process."""
    import numpy as np
    import torch

    from fuseid.tokenizers.rq_kmeans import RQKMeans

    vectors = np.ascontiguousarray(np.load(path, allow_pickle=False), dtype=np.float32)
    if case == "fit one thread":
        torch.set_num_threads(1)
    rows = torch.from_numpy(vectors[:512])
    begun, used = time.perf_counter(), time.process_time()
    if case == "products":
        for _ in range(500):
            rows = torch.tanh(rows @ (rows.T @ rows)[:, : rows.shape[1]])
    else:
        RQKMeans.fit(vectors, (256, 256, 256))
    return time.perf_counter() - begun, time.process_time() - used


@contextmanager
def busy_loops(count: int):
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def run(case: str, path: Path, environment: dict[str, str]) -> tuple[float, float]:
    command = [sys.executable, __file__, "--vectors", str(path), "--case", case]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds, used = json.loads(done.stdout)
    return seconds, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--default-waiting", action="store_true")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measured(arguments.case, arguments.vectors)))
        return
    from fuseid.apps.show import print_rows

    cores = len(os.sched_getaffinity(0))
    environment = {name: value for name, value in os.environ.items() if name not in {*PASSIVE, "OMP_NUM_THREADS"}}
    environment |= {} if arguments.default_waiting else PASSIVE
    cases = arguments.cases.split(",")
    quiet: dict[str, list[tuple[float, float]]] = {case: [] for case in cases}
    busy: dict[str, list[tuple[float, float]]] = {case: [] for case in cases}
    for _ in range(arguments.rounds):
        for case in cases:
            quiet[case].append(run(case, arguments.vectors, environment))
            with busy_loops(cores):
                busy[case].append(run(case, arguments.vectors, environment))
    rows = []
    for case in cases:
        row: dict[str, str | float] = {"case": case}
        for at, name in enumerate(("seconds", "cpu")):
            pairs = [(alone[at], beside[at]) for alone, beside in zip(quiet[case], busy[case], strict=True)]
            row[f"{name}_quiet"] = round(statistics.median(alone for alone, _ in pairs), 2)
            row[f"{name}_busy"] = round(statistics.median(beside for _, beside in pairs), 2)
            row[f"{name}_ratio"] = round(statistics.median(beside / alone for alone, beside in pairs), 2)
        rows.append(row)
    waiting = "as the libraries have it" if arguments.default_waiting else "passive"
    print(f"{cores} cores, one busy loop each; waiting: {waiting}; median of {arguments.rounds} rounds")
    print_rows(rows, tuple(rows[0]))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
