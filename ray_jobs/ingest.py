"""The ingest as a Ray job: `python -m fuseid.ray_jobs.ingest --db DB SOURCE [--config FILE]`."""

from __future__ import annotations

import argparse
import json
import sys

from fuseid.core.config import Config, load_config
from fuseid.core.errors import FuseidError
from fuseid.pipelines.ingest import Progress, ingest
from fuseid.pipelines.runs import Run
from fuseid.pipelines.sources import Source, open_source
from fuseid.ray_jobs.runner import RayRunner


def ray_ingest(uri: str, source: Source, config: Config, progress: Progress | None = None) -> Run:
    """`pipelines.ingest.ingest` on the cluster that RAY_ADDRESS names, or on one of this machine's own."""
    return ingest(uri, source, config, RayRunner(), progress)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuseid.ray_jobs.ingest", description=__doc__)
    parser.add_argument("source", help="manifest (.parquet, .jsonl, .csv), folder of media, or tar shards")
    parser.add_argument("--db", required=True, help="directory or object-store URI of the database")
    parser.add_argument("--config", help="fuseid.yaml")
    arguments = parser.parse_args()
    try:
        config = load_config(arguments.config)
        run = ray_ingest(arguments.db, open_source(arguments.source, config.source), config)
    except FuseidError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    print(json.dumps(run.summary()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
