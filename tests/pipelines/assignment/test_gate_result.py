"""A promotion asks for the gate's result: of this tokenizer, these limits, these rows, and this champion."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fuseid.core.errors import GateFailed, NotReady
from fuseid.pipelines.assign import assign
from fuseid.pipelines.fit import fit
from fuseid.pipelines.gate import gate
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.promote import promote

PASSES, FAILS = {"churn 1": {"at_most": 1}}, {"churn 1": {"at_most": 0}, "largest_bucket": {"at_most": 60}}


@pytest.fixture
def refitted(fitted) -> Any:
    fitted.fit(tokenizer={"seed": 4})
    return fitted


def promoted(workspace: Any, limits: dict[str, Any] | None, **more: Any) -> Any:
    config = workspace.settings(gate=None if limits is None else {"limits": limits})
    return promote(workspace.uri(), workspace.candidate(), config, **more)


def gated(workspace: Any, limits: dict[str, Any], **more: Any) -> bool:
    config = workspace.settings(gate={"limits": limits})
    return gate(workspace.uri(), config, workspace.candidate(), **more)[1]["passed"]


def test_a_candidate_that_passed_is_promoted(refitted):
    candidate = refitted.candidate()
    assert gated(refitted, PASSES)
    run = promoted(refitted, PASSES)
    assert refitted.store().setting("champion") == candidate
    assert "forced" not in run.counts


def test_one_that_failed_is_not_unless_it_is_forced_which_the_run_records(refitted):
    champion, candidate = refitted.store().setting("champion"), refitted.candidate()
    assert not gated(refitted, FAILS)
    with pytest.raises(GateFailed, match=re.escape(f"{candidate} fails the gate: churn 1; `fuseid gate --db")):
        promoted(refitted, FAILS)
    assert refitted.store().setting("champion") == champion
    run = promoted(refitted, FAILS, force=True)
    assert refitted.store().setting("champion") == candidate
    assert any("although" in note for note in run.notes)
    rows = refitted.store().dataset("runs").to_table().to_pylist()
    counts = {row["run_id"]: json.loads(row["counts"]) for row in rows}
    assert [name for name, one in counts.items() if one.get("forced") == 1] == [run.run_id]


def test_without_a_result_it_is_refused_and_without_limits_it_is_not_asked(refitted):
    with pytest.raises(NotReady, match=re.escape(f"no result for {refitted.candidate()}; `fuseid gate --db ")):
        promoted(refitted, PASSES)
    promoted(refitted, None)


def test_a_result_of_other_limits_is_refused(refitted):
    gated(refitted, PASSES)
    with pytest.raises(NotReady, match="is of other limits than the configuration has; `fuseid gate"):
        promoted(refitted, {"churn 1": {"at_most": 1, "end": "better"}})


def test_a_result_against_another_tokenizer_than_the_champion_is_refused(refitted):
    candidate = refitted.candidate()
    fit(refitted.uri(), refitted.settings(tokenizer={"seed": 5}))
    config = refitted.settings(gate={"limits": PASSES})
    third = next(name for name in refitted.store().tokenizers()
                 if name not in (candidate, refitted.store().setting("champion")))  # fmt: skip
    gate(refitted.uri(), config, candidate, third)
    with pytest.raises(NotReady, match="is of another tokenizer than the champion"):
        promote(refitted.uri(), candidate, config)


def test_a_result_of_other_items_is_refused(refitted, cluster):
    gated(refitted, PASSES)
    refitted.ingest_vectors(cluster(5, prefix="new"))
    with pytest.raises(NotReady, match="is of other items or IDs than the database has now"):
        promoted(refitted, PASSES)
    candidate = refitted.candidate()
    gated(refitted, PASSES)
    assign(refitted.uri(), refitted.settings(), candidate)
    with pytest.raises(NotReady, match="is of other items or IDs"):
        promoted(refitted, PASSES)
    run = promoted(refitted, PASSES, force=True)
    assert run.counts["forced"] == 1


def test_settings_indexes_and_a_restored_version_leave_a_result_as_it_is(refitted):
    """The last is what a process does that takes over from a killed one."""
    gated(refitted, PASSES)
    store = refitted.store()
    store.put_settings({"gate.another": {"passed": False}}, store.settings())
    maintain(store)
    store.fence()
    promoted(refitted, PASSES)


def test_a_promotion_that_is_repeated_after_the_switch_passes(refitted):
    """Its rows are others by then."""
    candidate = refitted.candidate()
    gated(refitted, PASSES)
    promoted(refitted, PASSES)
    config = refitted.settings(gate={"limits": PASSES})
    assert promote(refitted.uri(), candidate, config).counts.get("forced") is None
