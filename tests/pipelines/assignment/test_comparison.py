"""Tokenizers are compared on the same items; without one to keep nothing is stored, with one it is what `fit` gives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.assignment.comparison import Comparison
from fuseid.pipelines.fit import compare, fit


def version(workspace: Any) -> tuple[dict[str, int], dict[str, Any]]:
    store = workspace.store()
    tables = {name: store.dataset(name).version for name in ("contents", "assignments", "runs")}
    return tables, store.settings()


def of(workspace: Any, kinds: str, keep: str | None = None) -> tuple[Any, Comparison]:
    config = workspace.settings(clip=None)
    return config, Comparison.of(config.tokenizer, kinds, keep)


@pytest.mark.parametrize("database", ["unfitted", "fitted"])
def test_a_comparison_changes_nothing(workspace, cluster, database):
    workspace.ingest_vectors(cluster(60))
    if database == "fitted":
        workspace.fit()
    before = version(workspace)
    config, comparison = of(workspace, "rq-kmeans,rq-kmeans:beam=1:refinements=0")
    rows = compare(workspace.uri(), config, comparison)
    assert version(workspace) == before
    assert [row.name for row in rows] == ["rq-kmeans", "rq-kmeans:beam=1:refinements=0"]
    assert len({row.id for row in rows}) == 2
    assert all(0 < row.figures.r2.value <= 1 and row.seconds > 0 and row.problem is None for row in rows)
    json.dumps([row.document() for row in rows])


def test_the_one_to_keep_is_what_a_fit_with_its_settings_gives(workspace, cluster):
    workspace.ingest_vectors(cluster(60))
    workspace.fit()
    [compared] = compare(workspace.uri(), *of(workspace, "rq-kmeans:seed=5"))
    config, comparison = of(workspace, "rq-kmeans,rq-kmeans:seed=5", keep="rq-kmeans:seed=5")
    run = fit(workspace.uri(), config, comparison=comparison)
    assert run.tokenizer_id == comparison.rows[1].id == compared.id
    assert run.counts["assigned"] == 60
    assert workspace.store().setting("champion") != run.tokenizer_id
    same = fit(workspace.uri(), workspace.settings(clip=None, tokenizer={"seed": 5}))
    assert same.tokenizer_id == run.tokenizer_id


def test_one_that_cannot_be_fitted_has_a_row_with_the_reason(workspace, cluster):
    workspace.ingest_vectors(cluster(60))
    config, comparison = of(workspace, "rq-kmeans:codebook_sizes=[4096],rq-kmeans")
    failed, fitted = compare(workspace.uri(), config, comparison)
    assert failed.id is None
    assert "distinct vectors cannot fill a codebook of 4096 codes" in failed.problem
    assert fitted.figures is not None


@pytest.mark.parametrize(
    ("kinds", "keep", "line"),
    [
        ("rq-kmeans", "fsq", "is not among those compared: rq-kmeans"),
        ("rq-kmeans:sample=100", None, "all are fitted on the same items; set tokenizer.sample in the configuration"),
        ("rq-kmean", None, "did you mean rq-kmeans?"),
    ],
)
def test_what_cannot_be_compared_is_refused(workspace, kinds, keep, line):
    with pytest.raises(BadInput, match=None) as caught:
        of(workspace, kinds, keep)
    assert line in str(caught.value)
