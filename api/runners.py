"""Runners by name; what each of them needs is imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuseid.core.names import check_known

if TYPE_CHECKING:
    from fuseid.core.config import Config
    from fuseid.pipelines.assignment.fit_blocks import FitRunner
    from fuseid.pipelines.ingestion.runners import Runner
    from fuseid.pipelines.neighbourhood.runners import NeighbourRunner
    from fuseid.pipelines.pairing.runners import PairRunner


def check_runner(name: str) -> None:
    """Raises BadInput for another name than ray and local."""
    check_known("runner", name, ("ray", "local"))


def runner_named(name: str) -> Runner:
    """The runner of an ingest. Raises BadInput for another name than ray and local."""
    check_runner(name)
    if name == "local":
        from fuseid.pipelines.ingestion.runners import LocalRunner

        return LocalRunner()
    from fuseid.ray_jobs.runner import RayRunner

    return RayRunner()


def fit_runner_named(name: str, config: Config) -> FitRunner:
    """The runner of a fit. Raises BadInput for another name than ray and local."""
    check_runner(name)
    if name == "local":
        from fuseid.pipelines.assignment.fit_blocks import LocalFitRunner

        return LocalFitRunner()
    from fuseid.ray_jobs.fit import RayFitRunner

    return RayFitRunner(config.run.fitters)


def neighbour_runner_named(name: str) -> NeighbourRunner:
    """The runner of a neighbour table. Raises BadInput for another name than ray and local."""
    check_runner(name)
    if name == "local":
        from fuseid.pipelines.neighbourhood.runners import LocalNeighbourRunner

        return LocalNeighbourRunner()
    from fuseid.ray_jobs.neighbours import RayNeighbourRunner

    return RayNeighbourRunner()


def pair_runner_named(name: str) -> PairRunner:
    """The runner of pairs. Raises BadInput for another name than ray and local."""
    check_runner(name)
    if name == "local":
        from fuseid.pipelines.pairing.runners import LocalPairRunner

        return LocalPairRunner()
    from fuseid.ray_jobs.pairs import RayPairRunner

    return RayPairRunner()
