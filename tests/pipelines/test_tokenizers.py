"""The tokenizers of a database: what each is, how good it is, and which one is in force since when."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fuseid.pipelines.promote import promote
from fuseid.pipelines.tokenizers import tokenizers


def test_a_tokenizer_is_listed_with_sizes_items_figures_and_role(fitted):
    (one,) = tokenizers(fitted.uri())
    assert one.id == fitted.store().setting("champion")
    assert (one.kind, one.role, one.codebook_sizes, one.items) == ("rq-kmeans", "champion", (4, 3), 60)
    assert one.fusion == fitted.store().setting("fusion")
    rows = fitted.store().dataset("assignments").to_table()
    assert one.collisions == sum("." in sid for sid in rows["sid"].to_pylist()) > 0
    assert len(one.r2) == len(one.held_out_entropy) == 2
    assert 0 < one.r2[0] <= one.r2[1] <= 1
    assert -1 < one.held_out_r2 <= 1
    assert 0 < one.held_out_entropy[0] <= 2
    assert datetime.now(UTC) - timedelta(hours=1) < one.since <= datetime.now(UTC)
    assert one.problem is None


def test_candidates_and_former_champions_have_their_roles(fitted):
    first = fitted.store().setting("champion")
    run = fitted.fit(tokenizer={"seed": 1})
    second = run.tokenizer_id
    assert (run.summary()["tokenizer_id"], run.summary()["role"]) == (second, "candidate")
    assert {each.id: each.role for each in tokenizers(fitted.uri())} == {first: "champion", second: "candidate"}
    run = promote(fitted.uri(), second, fitted.settings())
    assert (run.tokenizer_id, run.role) == (second, "champion")
    champion, former = tokenizers(fitted.uri())
    assert (champion.id, champion.role) == (second, "champion")
    assert (former.id, former.role) == (first, "former champion")
    assert former.since == champion.since
    promote(fitted.uri(), first, fitted.settings())
    assert [each.role for each in tokenizers(fitted.uri())] == ["champion", "former champion"]
    assert [each.id for each in tokenizers(fitted.uri())] == [first, second]


def test_of_a_database_that_recorded_no_time_the_roles_are_known(fitted):
    """As earlier versions left it."""
    store = fitted.store()
    first = store.setting("champion")
    store.put_settings({"champions": None}, store.settings())
    (one,) = tokenizers(fitted.uri())
    assert (one.role, one.since is None) == ("champion", False)
    second = fitted.fit(tokenizer={"seed": 1}).tokenizer_id
    store.put_settings({"champion": second, "champion_before": first}, store.settings())
    assert [(each.id, each.role, each.since) for each in tokenizers(fitted.uri())] == [
        (second, "champion", None),
        (first, "former champion", None),
    ]


def test_a_tokenizer_without_its_artifact_is_listed_with_the_problem(fitted):
    name = fitted.store().setting("champion")
    shutil.rmtree(Path(fitted.uri()) / "artifacts" / name)
    (one,) = tokenizers(fitted.uri())
    assert (one.id, one.items, one.codebook_sizes) == (name, 60, ())
    assert f"holds no {name}" in one.problem


@pytest.mark.parametrize("policy", ["suffix", "none"])
def test_collisions_are_counted_where_a_suffix_tells_them_apart(bare, cluster, policy):
    bare.ingest_vectors(cluster(40))
    bare.fit(tokenizer={"collisions": policy, "codebook_sizes": [2, 2]})
    (one,) = tokenizers(bare.uri())
    assert (one.collisions is None) == (policy == "none")
