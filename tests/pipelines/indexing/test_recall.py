"""Recall: what a search finds of what a scan finds, as look-ups search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fuseid.pipelines.indexing.canaries import canaries, condition, drawn
from fuseid.pipelines.indexing.recall import recall
from fuseid.pipelines.search.nearest import nearest
from fuseid.pipelines.search.view import View
from fuseid.pipelines.store.index_figures import SHARES, Effort, Found, IndexFigures
from fuseid.pipelines.store.store import Store
from tests.pipelines.indexing.conftest import clustered


@pytest.fixture
def indexed(written):
    store = written({"fused": clustered(3000, spread=2)})
    store.dataset("contents").create_index("fused", "IVF_FLAT", name="fused_idx", metric="cosine", num_partitions=50)
    return store.dataset("contents")


@pytest.mark.parametrize("share", SHARES)
def test_all_partitions_find_everything_and_one_does_not(indexed, share):
    known = canaries(indexed, "fused", None, drawn(indexed, 40), 40)
    one, every = (recall(indexed, known, share, Effort(probes, 0)) for probes in (1, 50))
    assert every.mean == 1.0
    assert every.error == 0.0
    assert one.mean < 0.9


@pytest.mark.parametrize("share", ["all", "tenth"])
def test_the_measured_search_is_that_of_look_ups(indexed, share):
    known = canaries(indexed, "fused", None, drawn(indexed, 10), 10)
    effort = Effort(3, 0)
    view = View(Store.open(Path(indexed.uri).parent), indexed)
    view.__dict__["efforts"] = {"fused": IndexFigures((), 0, 3, 0.95, 10, {share: Found(effort, 1.0)})}
    near, hits = known.near[share], 0
    for number, query in enumerate(known.queries_QD):
        rows = nearest(view, "fused", query, 11, condition(share), ["_rowid"])
        found = [row["_rowid"] for row in rows if row["_rowid"] != known.own_Q[number]][:10]
        hits += len({*found} & {*near.rows_QR[number][near.good_QR[number]].tolist()})
    assert recall(indexed, known, share, effort).mean == pytest.approx(hits / near.size_Q.sum())


def test_of_more_results_as_much_is_found(indexed):
    known = canaries(indexed, "fused", None, drawn(indexed, 15), 15)
    view = View(Store.open(Path(indexed.uri).parent), indexed)

    def found(probes: int, k: int) -> float:
        effort = Found(Effort(probes, 0), 1.0)
        view.__dict__["efforts"] = {"fused": IndexFigures((), 0, probes, 0.95, 40, {"all": effort})}
        names = [{row["content_id"] for row in nearest(view, "fused", query, k)} for query in known.queries_QD]
        view.__dict__["efforts"] = {"fused": IndexFigures((), 0, 50, 0.95, 40, {"all": Found(Effort(50, 0), 1.0)})}
        all_ = [{row["content_id"] for row in nearest(view, "fused", query, k)} for query in known.queries_QD]
        return float(np.mean([len(some & whole) / k for some, whole in zip(names, all_, strict=True)]))

    probes = next(probes for probes in range(1, 51) if found(probes, 10) >= 0.9)
    assert found(probes, 100) >= 0.85
    assert Effort(probes, 0).of_results(10) == Effort(probes, 0).of_results(1) == Effort(probes, 0)


def test_items_that_are_all_alike_have_no_recall(written):
    dataset = written({"fused": np.ones((300, 48), np.float32)}).dataset("contents")
    known = canaries(dataset, "fused", None, drawn(dataset, 5), 5)
    assert recall(dataset, known, "all", Effort(1, 0)) is None
