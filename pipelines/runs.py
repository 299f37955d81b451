"""One row in `runs` per job, written when it starts and again however it ends."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from fuseid.core.config import Config
from fuseid.core.errors import FuseidError
from fuseid.core.schemas import RUNS
from fuseid.pipelines.store import Store


@dataclass
class Run:
    """What a job fills in as it goes."""

    run_id: str
    job: str
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        seconds = {name: round(value, 3) for name, value in self.seconds.items()}
        return {"run_id": self.run_id, "job": self.job, "counts": self.counts, "seconds": seconds, "notes": self.notes}


@contextmanager
def recorded(store: Store, job: str, config: Config, source: str | None = None) -> Iterator[Run]:
    """The row says `running` until the block ends, then `done`, or the error that ended it.

    source: the folder that relative uris start from, of a job that reads media.
    """
    started = datetime.now(UTC)
    run = Run(f"{started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}", job)
    before = store.versions()

    def write(outcome: str) -> None:
        row = {
            "run_id": run.run_id, "job": job, "source": source, "started_at": started,
            "finished_at": None if outcome == "running" else datetime.now(UTC),
            "config": config.model_dump_json(), "counts": json.dumps(run.counts), "seconds": json.dumps(run.seconds),
            "device_seconds": run.seconds.get("encode", 0.0), "versions_before": json.dumps(before),
            "versions_after": None if outcome == "running" else json.dumps(store.versions()), "outcome": outcome,
        }  # fmt: skip
        store.upsert("runs", pa.Table.from_pylist([row], schema=RUNS), key="run_id")

    write("running")
    try:
        yield run
    except BaseException as error:
        message = str(error).splitlines()[0] if isinstance(error, FuseidError) else type(error).__name__
        write(f"failed: {message}")
        raise
    write("done")
