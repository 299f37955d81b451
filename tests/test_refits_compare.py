"""The sections of docs/refits.md about churn and the gate: their commands run as they are printed."""

from __future__ import annotations

import json
from pathlib import Path

from fuseid.core.config import load_config
from fuseid.pipelines.fit import fit
from fuseid.pipelines.store.store import Store

from .documents import shown_and_found
from .pipelines.evaluation.catalogue import database, settings

PAGE = (Path(__file__).parent.parent / "docs" / "refits.md").read_text(encoding="utf-8")


def test_the_commands_of_the_page_run(fuseid, tmp_path):
    champion = Store.open(database(tmp_path, 0)).setting("champion")
    candidate = fit(str(tmp_path / "db"), settings(4, 5)).tokenizer_id
    assert candidate != champion
    compare = PAGE[PAGE.index("## Compare") : PAGE.index("## Gate")]
    assert list(shown_and_found(compare.replace("NEW", candidate), fuseid)) == []
    assert candidate in (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert json.loads(fuseid("report", "--db", "db", "--compare", candidate, "--json")[1])["churn"]["to"] == candidate
    gate = PAGE[PAGE.index("## Gate") : PAGE.index("## Switch and roll back")]
    assert list(shown_and_found(gate.replace("NEW", candidate), fuseid)) == []
    assert len(load_config(tmp_path / "gate.yaml").gate.limits) == 6
    store = Store.open(tmp_path / "db")
    assert store.setting("champion") == candidate
    assert store.setting(f"gate.{candidate}")["passed"]
