"""Definitions of the measures: each is measured at the levels it names, and beats chance on vectors that fit."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from fuseid.tokenizers.churn import churn_measures
from fuseid.tokenizers.code_use import code_measures
from fuseid.tokenizers.drift import CodeUse, held_out_r2
from fuseid.tokenizers.fidelity import vector_measures
from fuseid.tokenizers.measures import DEFINITIONS, NULLS, Measure, definition, in_order
from fuseid.tokenizers.neighbours import neighbour_measures
from fuseid.tokenizers.rq_kmeans import RQKMeans

SIZES = (8, 8, 4)
VECTORS = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
TOKENIZER = RQKMeans.fit(VECTORS, SIZES, iterations=4)
CODES = TOKENIZER.encode(VECTORS)


def everything() -> list[Measure]:
    rows = np.arange(80)
    later = np.where(np.random.default_rng(1).random((500, 1)) < 0.1, 0, CODES)
    held_out = {"held_out": CodeUse.under(TOKENIZER, VECTORS).document(), "held_out_r2": 0.9}
    return in_order(
        [
            *(one for one in [held_out_r2(held_out)] if one),
            *code_measures(CODES, SIZES, shared_with=np.arange(500)),
            *vector_measures(VECTORS, TOKENIZER.decode, CODES),
            *neighbour_measures(VECTORS[rows], CODES[rows], VECTORS, CODES, own_rows=rows),
            *churn_measures(CODES, later),
        ]
    )


def test_every_definition_is_measured_in_its_order_and_at_its_levels():
    found = everything()
    names = [definition(measure.name).name for measure in found]
    assert list(dict.fromkeys(names)) == list(DEFINITIONS)
    for one in DEFINITIONS.values():
        levels = [measure.level for measure, name in zip(found, names, strict=True) if name == one.name]
        assert set(levels) == ({None} if one.by == "whole" else {1, 2, 3})
        assert one.null in NULLS
        assert all(text == text.strip() != "" for text in (one.title, one.formula, one.source, one.interval))
    for measure in found:
        figures = [figure for figure in astuple(measure)[1:] if figure is not None]
        assert all(isinstance(figure, int | float) and np.isfinite(figure) for figure in figures)
        if definition(measure.name).unit == "share":
            assert all(0 <= figure <= 1 for figure in (measure.value, measure.low, measure.high))


def test_an_unknown_measure_is_refused():
    assert definition("ndcg@10") is definition("ndcg@100") is DEFINITIONS["ndcg@k"]
    for name in ("recall", "r2@10", "entropy"):
        with pytest.raises(KeyError):
            definition(name)


def test_quantized_vectors_beat_their_nulls():
    for measure in everything():
        if definition(measure.name).null == "IDs permuted" and measure.null is not None:
            higher = definition(measure.name).better == "high"
            assert measure.low > measure.null_high if higher else measure.high < measure.null_low
