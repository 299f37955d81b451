"""Canaries: their nearest rows are those of a plain matrix product, without themselves; filters by row number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.pipelines.indexing.canaries import _Best, canaries, condition, drawn
from fuseid.pipelines.store.index_figures import SHARES
from tests.pipelines.indexing.conftest import clustered


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def exact(dataset, column: str, known, share: str) -> list[set[int]]:
    """The row ids of the 10 nearest of each canary."""
    table = dataset.to_table(columns=[column], filter=condition(share), with_row_id=True)
    table = table.filter(table[column].is_valid())
    ids = table["_rowid"].to_numpy()
    vectors = unit(np.asarray(table[column].to_pylist(), np.float32))
    found = []
    for query, own in zip(known.queries_QD, known.own_Q, strict=True):
        order = [row for row in ids[np.argsort(-(vectors @ query))] if row != own]
        found.append(set(order[:10]))
    return found


@pytest.mark.parametrize("share", SHARES)
def test_the_nearest_rows_are_those_of_a_scan(written, share):
    vectors = clustered(1500)
    vectors[::7] = np.nan
    vectors[3] = 0
    dataset = written({"fused": vectors}).dataset("contents")
    known = canaries(dataset, "fused", None, drawn(dataset, 20), 20)
    assert len(known.queries_QD) == 20
    near = known.near[share]
    for number, rows in enumerate(exact(dataset, "fused", known, share)):
        assert {*near.rows_QR[number][near.good_QR[number]]} == rows
        assert near.size_Q[number] == len(rows)


def test_canaries_do_not_depend_on_the_order_of_the_rows(written, tmp_path):
    vectors = clustered(800)
    dataset = written({"fused": vectors}).dataset("contents")
    known = canaries(dataset, "fused", None, drawn(dataset, 10), 10)
    ids = dataset.to_table(columns=["content_id"], with_row_id=True)
    order = dict(zip(ids["_rowid"].to_pylist(), ids["content_id"].to_pylist(), strict=True))
    again = canaries(dataset, "fused", None, drawn(dataset, 10), 10)
    assert [order[row] for row in known.own_Q.tolist()] == [order[row] for row in again.own_Q.tolist()]
    assert np.array_equal(known.queries_QD, again.queries_QD)


def test_pictures_are_looked_for_by_texts_too(written):
    pictures, texts = clustered(600), clustered(600, seed=1)
    pictures[500:], texts[:400] = np.nan, np.nan
    dataset = written({"clip_image": pictures, "clip_text": texts}).dataset("contents")
    known = canaries(dataset, "clip_image", "clip_text", drawn(dataset, 30), 30)
    assert known.texts_Q.tolist() == [False] * 30 + [True] * 30
    assert np.allclose(np.linalg.norm(known.queries_QD, axis=1), 1, atol=1e-5)
    # A text's own picture is among its results.
    assert (known.near["all"].size_Q == 10).all()


def test_a_vector_that_few_items_have_has_canaries(written):
    vectors = clustered(2000)
    vectors[np.arange(2000) % 100 > 0] = np.nan
    dataset = written({"fused": vectors}).dataset("contents")
    known = canaries(dataset, "fused", None, drawn(dataset, 15), 15)
    assert len(known.queries_QD) == 15


def test_items_that_are_all_alike_cannot_be_judged(written):
    dataset = written({"fused": np.ones((300, 48), np.float32)}).dataset("contents")
    known = canaries(dataset, "fused", None, drawn(dataset, 5), 5)
    assert not known.near["all"].size_Q.any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 1000))
def test_the_best_of_batch_after_batch_are_the_best_of_all(sizes, seed):
    random = np.random.default_rng(seed)
    similar = random.standard_normal((3, sum(sizes))).astype(np.float32)
    best, at = _Best(3), 0
    for size in sizes:
        best.add(np.arange(at, at + size, dtype=np.uint64), similar[:, at : at + size])
        at += size
    near = best.nearest()
    for number in range(3):
        wanted = set(np.argsort(-similar[number])[:10].tolist())
        assert {*near.rows_QR[number][near.good_QR[number]].tolist()} == wanted
        assert near.size_Q[number] == len(wanted)
