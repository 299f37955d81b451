"""A cluster of three nodes on this machine, of which one may be killed whole."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any
from unittest import mock

import psutil
from ray._common import utils as _common
from ray._private import utils
from ray.cluster_utils import Cluster

# Decoders and encoders for it, as `Sizes` takes them.
SIZES = (4, 0.4, 2, 0.4, 0.0, 1)
# By default a node counts as dead after 15 seconds of silence.
_QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}


class ThreeNodes:
    """A context manager: a head that runs drivers only, and two nodes that do the work."""

    def __enter__(self) -> ThreeNodes:
        # Short: the paths of sockets lie below it.
        self._folder = tempfile.mkdtemp(prefix="fr-")
        with _quiet():
            self._cluster = Cluster(
                initialize_head=True,
                head_node_args={
                    "num_cpus": 0,
                    "temp_dir": self._folder,
                    "include_dashboard": False,
                    "_system_config": _QUICK,
                },
            )
            self._nodes: list[Any] = []
        self.complete()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _quiet():
            self._cluster.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def address(self) -> str:
        return self._cluster.address

    def complete(self) -> None:
        """Replaces a node that was killed."""
        with _quiet():
            while len(self._nodes) < 2:
                self._nodes.append(self._cluster.add_node(num_cpus=2))

    def kill(self) -> None:
        """Ends the older of the two nodes by SIGKILL, with everything that runs on it."""
        node = self._nodes.pop(0)
        (raylet,) = node.all_processes["raylet"]
        for process in psutil.Process(raylet.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._cluster.remove_node(node, allow_graceful=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """No other Ray process on this machine may join this cluster by mistake, or lose its own."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    with (
        mock.patch.object(utils, "write_ray_address"),
        mock.patch.object(_common, "reset_ray_address"),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message=".*fork.*")
        yield
