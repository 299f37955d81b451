"""In a process of fuseid's own, threads that wait take no time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fuseid.core.waiting import PASSIVE

# CPU seconds of two threads that wait for the next piece of work, which comes every 5 ms, a hundred times.
WAITING = """
import os, sys, time
if sys.argv[1] == "passive":
    from fuseid.core.waiting import wait_passively
    wait_passively()
import torch
torch.set_num_threads(2)
rows = torch.zeros(300_000)
rows.add_(1)
begun = time.process_time()
for _ in range(100):
    rows.add_(1)
    time.sleep(0.005)
print(time.process_time() - begun)
"""


def spent(how: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name not in {*PASSIVE, "OMP_NUM_THREADS"}}
    command = [sys.executable, "-c", WAITING, how]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="OpenMP spins only while each thread has a core")
def test_threads_of_torch_sleep_while_they_wait():
    assert spent("passive") < 0.5 * spent("default")


def test_a_command_begins_before_torch_and_numpy_are_loaded_and_keeps_what_the_environment_says():
    code = (
        "import os, sys; import fuseid.apps.cli as cli; assert not {'torch', 'numpy'} & {*sys.modules};"
        "cli.outlets.install = lambda: None; cli.run = lambda: None; cli.main();"
        "print(os.environ['OMP_WAIT_POLICY'], os.environ['OPENBLAS_THREAD_TIMEOUT'])"
    )
    environment = {name: value for name, value in os.environ.items() if name not in PASSIVE}
    for given, said in (({}, "passive 4"), ({"OMP_WAIT_POLICY": "active"}, "active 4")):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment | given, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == said
