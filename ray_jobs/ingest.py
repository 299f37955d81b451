"""The ingest on a cluster; as a job `python -m fuseid.ray_jobs.ingest SOURCE --db DB`, with the options of `fuseid`."""

from __future__ import annotations

from fuseid.core.config import Config
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.sources.item import Source
from fuseid.ray_jobs import command
from fuseid.ray_jobs.runner import RayRunner


def ray_ingest(uri: str, source: Source, config: Config, progress: Progress | None = None, prune: bool = False) -> Run:
    """`pipelines.ingest.ingest` on the cluster that RAY_ADDRESS names, or on one of this machine's own."""
    return ingest(uri, source, config, RayRunner(), progress, prune=prune)


if __name__ == "__main__":
    command.run("ingest")
