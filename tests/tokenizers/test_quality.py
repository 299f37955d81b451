"""All measures together: each has a definition, and the figures of its own group."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from fuseid.core.errors import BadInput
from fuseid.tokenizers.quality import (
    DEFINITIONS,
    NULLS,
    code_measures,
    definition,
    measures,
    neighbour_measures,
    vector_measures,
)
from fuseid.tokenizers.rq_kmeans import RQKMeans

SIZES = (8, 8, 4)
VECTORS = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
TOKENIZER = RQKMeans.fit(VECTORS, SIZES, iterations=4)
CODES = TOKENIZER.encode(VECTORS)


def everything(seed: int = 0):
    return measures(
        CODES,
        SIZES,
        shared_with=np.arange(500),
        sample_vectors_SD=VECTORS,
        decode=TOKENIZER.decode,
        queries=80,
        seed=seed,
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


def test_all_measures_equal_those_of_the_single_groups():
    found = everything(seed=3)
    parts = code_measures(CODES, SIZES, shared_with=np.arange(500), seed=3)
    parts += vector_measures(VECTORS, TOKENIZER.decode, CODES, seed=3)
    assert found[: len(parts)] == parts
    assert found == everything(seed=3) != everything(seed=4)
    rows = np.arange(100, 300)
    options = {"sample_rows_S": rows, "sample_vectors_SD": VECTORS[rows], "queries": 1000, "ks": (5,)}
    sampled = measures(CODES, SIZES, **options)
    every = neighbour_measures(VECTORS[rows], CODES[rows], VECTORS[rows], CODES[rows], ks=(5,), own_rows=np.arange(200))
    assert sampled == [*code_measures(CODES, SIZES), *every]


def test_with_less_input_fewer_measures_are_reported():
    assert measures(CODES, SIZES) == code_measures(CODES, SIZES)
    one = measures(CODES[:1], SIZES, sample_vectors_SD=VECTORS[:1], decode=TOKENIZER.decode)
    assert {definition(measure.name).group for measure in one} == {"collisions", "code use", "fidelity"}


def test_quantized_vectors_beat_their_nulls():
    for measure in everything():
        if definition(measure.name).null == "IDs permuted":
            higher = definition(measure.name).better == "high"
            assert measure.low > measure.null_high if higher else measure.high < measure.null_low


def test_a_sample_of_other_rows_is_refused():
    with pytest.raises(BadInput, match="500 sample rows and 9 sample vectors"):
        measures(CODES, SIZES, sample_vectors_SD=VECTORS[:9])
