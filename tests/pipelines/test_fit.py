"""An ingest and a fit give the golden IDs: on one kind of CPU with the pinned versions, to the last code."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

DATA = Path(__file__).parent.parent / "data"


def test_ids_equal_the_golden_ones(tmp_path: Path) -> None:
    generator = runpy.run_path(str(DATA / "make_golden_ids.py"))
    expected = json.loads((DATA / "golden_ids.json").read_text(encoding="utf-8"))
    assert generator["golden_run"](tmp_path) == expected
    assert len(set(expected.values())) == len(expected) == 16
