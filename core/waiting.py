"""How threads of this process wait for each other: asleep, not in a loop that keeps a core busy."""

from __future__ import annotations

import os

# OpenMP, of torch; OpenBLAS, of numpy and scipy: the logarithm of the cycles that a thread spins before it sleeps, 4 at
# least. Each library reads its variable once, when it is loaded.
PASSIVE = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_THREAD_TIMEOUT": "4"}


def wait_passively() -> None:
    """To be called in a process of fuseid's own before torch and numpy are imported. What its environment already says
    stays.

    Beside other busy processes, threads that spin take the time that those need which they wait for. A process of a
    user, who imports `fuseid.api`, has the user's environment; there, `parallel_blocks` never waits in a loop.
    """
    for name, value in PASSIVE.items():
        os.environ.setdefault(name, value)
