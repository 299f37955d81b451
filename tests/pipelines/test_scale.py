"""Small versions of the benchmarks of scale: what these assert of millions of items is asserted of thousands here."""

from __future__ import annotations

import importlib.util
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType

import pytest

from fuseid.core.config import load_config
from fuseid.pipelines.ingestion.fingerprints import stage_fingerprints
from fuseid.pipelines.ingestion.plan import Plan
from fuseid.pipelines.sources.listing import Listing
from fuseid.pipelines.store.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/commits.py."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = Path(__file__).parents[2] / "benchmarks" / "commits.py"
    spec = importlib.util.spec_from_file_location("commits", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_results_of_many_workers_in_any_order_are_committed_once(commits: ModuleType, tmp_path: Path) -> None:
    """`simulate` raises where a row is lost or duplicated."""
    found = commits.simulate(12_000, 40, str(tmp_path))
    assert found["commits"] == 3
    assert found["compacted"] < found["fragments"]


def test_memory_of_planning_does_not_grow_with_the_catalogue(commits: ModuleType, tmp_path: Path) -> None:
    config = load_config(None, {"clip.model": "fake:8"})
    fingerprints = stage_fingerprints(config)

    def peak(count: int) -> int:
        scratch = tmp_path / str(count)
        scratch.mkdir()
        tracemalloc.start()
        try:
            listing = Listing(commits.Catalogue(scratch, count), scratch)
            plan = Plan(Store.create(scratch / "db"), listing, config, fingerprints)
            assert sum(batch.num_rows for batch in plan.work()) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # what is imported or cached stays
    few, many = peak(12_000), peak(48_000)
    assert many < 1.1 * few, (few, many)
