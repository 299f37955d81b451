"""The gate: each end of an interval, figures that are not there, and that only its result changes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fuseid.core.config import Config
from fuseid.core.errors import ArtifactError, BadInput, ConfigError
from fuseid.pipelines.fit import fit
from fuseid.pipelines.gate import gate
from fuseid.pipelines.promote import promote
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.reports.findings import measure


@pytest.fixture
def refitted(fitted) -> Any:
    """With a candidate beside the champion."""
    fit(fitted.uri(), fitted.settings(clip=None, tokenizer={"seed": 4}), cold=True)
    return fitted


def limited(workspace: Any, limits: dict[str, Any], **more: Any) -> Config:
    return workspace.settings(gate={"limits": limits, **more})


def verdicts(workspace: Any, limits: dict[str, Any], **more: Any) -> dict[str, str]:
    _, found = gate(workspace.uri(), limited(workspace, limits), workspace.candidate(), **more)
    assert found["passed"] == all(row["verdict"] == "passes" for row in found["limits"])
    return {row["figure"]: row["verdict"] for row in found["limits"]}


@pytest.mark.parametrize(
    ("bound", "place", "passing"),
    [
        ("at_most", "above", {"middle", "better"}),
        ("at_least", "below", {"middle", "better"}),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("at_most", "below", {"better"}),
                ("at_least", "above", {"better"}),
                ("at_most", "high", {"worse", "middle", "better"}),
                ("at_least", "low", {"worse", "middle", "better"}),
                ("at_most", "under", set()),
                ("at_least", "over", set()),
            )
        ),
    ],
)
def test_a_limit_is_compared_with_the_end_of_the_interval_that_it_names(refitted, bound, place, passing):
    document = report(refitted.uri(), compare=refitted.candidate(), cold=False)
    one = measure(document["churn"]["measures"], "churn", 1)
    low, value, high = one["low"], one["value"], one["high"]
    assert low < value < high
    places = {"above": (value + high) / 2, "below": (low + value) / 2, "high": high, "low": low}
    places |= {"under": low - 0.001, "over": high + 0.001}
    for end in ("worse", "middle", "better"):
        verdict = verdicts(refitted, {"churn 1": {bound: places[place], "end": end}})
        assert verdict == {"churn 1": "passes" if end in passing else "fails"}, end


def test_by_default_the_worse_end_is_compared_and_both_bounds_hold(refitted):
    document = report(refitted.uri(), compare=refitted.candidate(), cold=False)
    one = measure(document["churn"]["measures"], "churn", 1)
    assert verdicts(refitted, {"churn 1": {"at_most": one["value"]}}) == {"churn 1": "fails"}
    both = {"at_least": one["low"], "at_most": one["high"]}
    assert verdicts(refitted, {"churn 1": both}) == {"churn 1": "passes"}
    assert verdicts(refitted, {"churn 1": {**both, "at_least": one["value"]}}) == {"churn 1": "fails"}


def test_figures_are_those_of_the_candidate_and_of_its_slices(refitted):
    document = report(refitted.uri(), compare=refitted.candidate(), cold=False)
    column = document["tokenizers"][1]
    kind = column["slices"][0]["value"]
    names = {
        "normalised_entropy 2": measure(column["measures"], "normalised_entropy", 2),
        "collision_b": measure(column["measures"], "collision_b"),
        "largest_bucket": measure(column["measures"], "largest_bucket"),
        "held_out_r2": measure(column["measures"], "held_out_r2"),
        "recall@10": measure(column["measures"], "recall@10"),
        f"r2 2 of kind = {kind}": measure(column["slices"][0]["measures"], "r2", 2),
        "churn 2 of prefix size = tail": measure(document["churn"]["slices"][-1]["measures"], "churn", 2),
    }
    run, found = gate(refitted.uri(), limited(refitted, {name: {"at_least": -1} for name in names}), column["id"])
    shown = {row["figure"]: (row["value"], row["low"], row["high"]) for row in found["limits"]}
    assert shown == {name: (one["value"], one["low"], one["high"]) for name, one in names.items()}
    assert found | {"limits": []} == {
        "tokenizer": column["id"], "against": document["tokenizers"][0]["id"], "passed": True, "limits": []
    }  # fmt: skip
    assert run.counts == {"limits": len(names), "limits_failed": 0}


def test_a_figure_without_an_interval_is_compared_itself(refitted):
    document = report(refitted.uri(), refitted.candidate())
    value = measure(document["tokenizers"][0]["measures"], "largest_bucket")["value"]
    for end in ("worse", "better"):
        assert verdicts(refitted, {"largest_bucket": {"at_most": value, "end": end}}) == {"largest_bucket": "passes"}
        assert verdicts(refitted, {"largest_bucket": {"at_most": value - 1, "end": end}}) == {"largest_bucket": "fails"}


def test_a_figure_that_was_not_measured_does_not_pass(refitted):
    """A hundred neighbours of sixty items."""
    assert verdicts(refitted, {"recall@100": {"at_least": 0}}) == {"recall@100": "not measured"}
    kinds = {f"churn 1 of kind = {kind}": {"at_least": 0} for kind in ("image", "text", "video")}
    assert sorted(verdicts(refitted, kinds).values()) == ["not measured", "not measured", "passes"]


def test_the_champion_passes_limits_of_churn_and_no_others_for_that(refitted):
    champion = refitted.store().setting("champion")
    config = limited(refitted, {"churn 1": {"at_most": 0}, "largest_bucket": {"at_most": 0}})
    _, found = gate(refitted.uri(), config, champion)
    assert [(row["figure"], row["verdict"]) for row in found["limits"]] == [
        ("churn 1", "passes"), ("largest_bucket", "fails")
    ]  # fmt: skip
    assert found["against"] is None


def test_it_changes_nothing_else(refitted):
    before, rows = refitted.store().settings(), refitted.rows()
    verdicts(refitted, {"collision_b": {"at_most": 1}})
    after = refitted.store().settings()
    (new,) = after.keys() - before.keys()
    assert new == f"gate.{refitted.candidate()}"
    assert {key: value for key, value in after.items() if key in before and key != "changed_by"} == {
        key: value for key, value in before.items() if key != "changed_by"
    }
    assert refitted.changes(rows) == {}


@pytest.mark.parametrize(
    ("limits", "error", "said"),
    [
        ({"churn 3": {"at_most": 1}}, BadInput, "the report has no figure 'churn 3'; did you mean churn 2 or churn 1?"),
        ({"r2 1 of prefix size = head": {"at_most": 1}}, BadInput, "no slice 'prefix size = head' for 'r2 1 of"),
        ({"churn 1 of kind = vidoe": {"at_most": 1}}, BadInput, "the report has no slice 'kind = vidoe'"),
        ({"churn 1 of style = oil": {"at_most": 1}}, BadInput, "has an attribute 'style'"),
    ],
)
def test_levels_and_slices_that_are_not_there_are_refused(refitted, limits, error, said):
    before = refitted.store().settings()
    with pytest.raises(error, match=re.escape(said)):
        gate(refitted.uri(), limited(refitted, limits), refitted.candidate())
    assert refitted.store().settings().keys() == before.keys()


def test_what_cannot_be_compared_is_refused(refitted):
    config, candidate = limited(refitted, {"churn 1": {"at_most": 1}}), refitted.candidate()
    with pytest.raises(ConfigError, match=r"has no gate\.limits"):
        gate(refitted.uri(), refitted.settings(), candidate)
    with pytest.raises(BadInput, match=f"names {candidate} itself"):
        gate(refitted.uri(), config, candidate, candidate)
    with pytest.raises(ArtifactError, match="has no tokenizer"):
        gate(refitted.uri(), config, "rq-kmeans-0")


def test_a_promoted_tokenizer_is_gated_against_its_successor(refitted):
    """And the former champion against the new one, as before a rollback by `promote`."""
    former, candidate = refitted.store().setting("champion"), refitted.candidate()
    promote(refitted.uri(), candidate, refitted.settings())
    _, found = gate(refitted.uri(), limited(refitted, {"churn 1": {"at_most": 1}}), former)
    assert (found["against"], found["passed"]) == (candidate, True)
