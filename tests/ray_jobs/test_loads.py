"""An encoder of the cluster loads its models once, however many blocks it encodes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from fuseid.core.config import Config, load_config
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.steps import EncodeStep, load_encoders
from fuseid.pipelines.sources.open import open_source
from fuseid.ray_jobs.runner import RayRunner
from fuseid.ray_jobs.sizing import Sizes

pytestmark = pytest.mark.usefixtures("ray_cluster")


def noted(log: Path, config: Config) -> EncodeStep:
    with log.open("a", encoding="ascii") as lines:
        lines.write("loaded\n")
    return load_encoders(config)


def test_an_encoder_loads_its_models_once(tmp_path: Path) -> None:
    manifest, log = tmp_path / "manifest.jsonl", tmp_path / "loads"
    rows = [{"content_id": str(i), "caption": f"words number {i}"} for i in range(60)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = load_config(None, {"clip.model": "fake:8", "run.block_rows": 4})
    run = ingest(
        str(tmp_path / "db"),
        open_source(manifest),
        config,
        RayRunner(partial(noted, log), Sizes(1, 0.3, 1, 0.3, 0.0, 1)),
    )
    assert run.counts["committed"] == 60
    assert log.read_text().splitlines() == ["loaded"]
