"""Queries of several parts, against a scan of the whole catalogue."""

from __future__ import annotations

import math
import shutil
from typing import Any

import lance
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fuseid.core.config import ClipConfig
from fuseid.encoders.models import load_clip
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.search.combine import with_caption
from fuseid.pipelines.search.words import with_words
from fuseid.pipelines.store.store import Store

CLIP = ("clip_image", "clip_text")
ITEMS = [f"i{number:03d}" for number in range(80)]
SPACES = [None, "clip", "clip_image", "clip_text", "fused"]
TEXTS = ["a dog", "apple tree", "a cloud over the river", "nothing of it"]


def standard(vectors_ND: np.ndarray, query_D: np.ndarray) -> np.ndarray:
    """Cosines in standard deviations above their mean."""
    cosines = vectors_ND @ query_D.astype(np.float64)
    return (cosines - np.nanmean(cosines)) / np.nanstd(cosines)


def part_scores(small: Any, name: str, value: Any, space: str | None) -> np.ndarray:
    """float [N], NaN where an item has nothing to compare."""
    if name == "text":
        query = load_clip(ClipConfig(model="fake:16")).encode_texts([value])[0]
        sides = {column: standard(small.vectors[column], query) for column in CLIP if space in (None, "clip", column)}
        hits = with_words(small.store.dataset("contents"), value, 1000)
        if hits and "clip_text" in sides:
            held = np.array([hits.get(each, 0.0) for each in small.names])
            highest = math.sqrt(2 * math.log(len(small.names)))
            sides["clip_text"] = sides["clip_text"] / 2 + highest * held
    elif name == "vector":
        columns = CLIP if space == "clip" else (space or "fused",)
        query = np.array(value) / np.linalg.norm(value)
        sides = {column: standard(small.vectors[column], query) for column in columns}
    else:
        row = small.names.index(value)
        own = {column: vectors[row] for column, vectors in small.vectors.items()}
        if space == "clip":
            column = next(column for column in CLIP if np.isfinite(own[column][0]))
            columns = CLIP if column == "clip_text" else (column,)
        else:
            order = ("fused", *CLIP) if space is None else (space,)
            column = next(column for column in order if np.isfinite(own[column][0]))
            columns = (column,)
        sides = {each: standard(small.vectors[each], own[column]) for each in columns}
    with np.errstate(all="ignore"):
        return np.fmax.reduce(list(sides.values()))


def by_scan(small: Any, parts: list[tuple[str, Any, float]], space: str | None) -> dict[str, float]:
    """content_id -> score, of all items that have one."""
    whole = sum(weight for name, _, weight in parts if name != "not_like")
    total, known = np.zeros(len(small.names)), np.zeros(len(small.names), bool)
    for name, value, weight in parts:
        found = part_scores(small, name, value, space)
        if name == "not_like":
            total -= weight / whole * np.fmax(np.nan_to_num(found), 0)
        else:
            total += weight / whole * np.nan_to_num(found)
            known |= np.isfinite(found)
    used = {value for name, value, _ in parts if name in ("like", "not_like")}
    return {
        each: float(score)
        for each, score, there in zip(small.names, total, known, strict=True)
        if there and each not in used
    }


PARTS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.lists(st.sampled_from(TEXTS), min_size=1, max_size=2, unique=True),
        "like": st.lists(st.sampled_from(ITEMS), min_size=1, max_size=2, unique=True),
        "not_like": st.lists(st.sampled_from(ITEMS), min_size=1, max_size=2, unique=True),
        "vector": st.lists(st.integers(-3, 3), min_size=16, max_size=16).filter(any).map(lambda numbers: [numbers]),
    },
)
WEIGHTS = st.dictionaries(st.sampled_from(["text", "like", "not_like", "vector"]), st.sampled_from([0.25, 1, 3]))


@given(given_parts=PARTS, weights=WEIGHTS, space=st.sampled_from(SPACES), k=st.sampled_from([1, 5, 80]))
@settings(max_examples=60)
def test_several_parts_find_what_a_scan_finds(small, given_parts, weights, space, k):
    assume(set(given_parts) - {"not_like"} and not ("text" in given_parts and space == "fused"))
    parts = [(name, value, float(weights.get(name, 1))) for name, values in given_parts.items() for value in values]
    assume(len(parts) > 1)
    columns = (space,) if space in small.vectors else CLIP if space == "clip" else tuple(small.vectors)
    for name, value, _ in parts:
        if name in ("like", "not_like"):
            row = small.names.index(value)
            assume(any(np.isfinite(small.vectors[column][row, 0]) for column in columns))
    query = {name: values[0] if name == "vector" else values for name, values in given_parts.items()}
    used = {name: weight for name, weight in weights.items() if name in given_parts}
    found = small.catalog.search(**query, weights=used, space=space, k=k, columns=["content_id"])
    right = by_scan(small, parts, space)
    got = dict(zip(found["content_id"].to_pylist(), found["score"].to_pylist(), strict=True))
    best = sorted(right.values(), reverse=True)[:k]
    assert list(got.values()) == pytest.approx(best, abs=1e-4)
    assert {name: right[name] for name in got} == pytest.approx(got, abs=1e-4)


@pytest.mark.parametrize(
    "lone", [{"text": "a dog"}, {"like": "i005"}, {"vector": [1.0] * 16}], ids=lambda q: next(iter(q))
)
@pytest.mark.parametrize("other", [{"text": "apple tree"}, {"like": "i007"}, {"not_like": "i009"}], ids=str)
def test_a_part_of_weight_0_is_as_if_it_were_left_out(small, lone, other):
    if lone.keys() & other.keys():
        return
    (name,) = other
    (own,) = lone
    catalog = small.catalog
    alone = catalog.search(**lone, k=80)
    beside = catalog.search(**lone, **other, weights={name: 0, own: 1}, k=80)
    assert beside.equals(alone)
    assert catalog.search(**lone, weights={own: 7}, k=80).equals(alone)


def test_what_a_search_finds_depends_on_the_version_alone(small, tmp_path):
    shutil.copytree(small.store.uri, tmp_path / "db")
    store = Store.open(tmp_path / "db")
    rows = store.dataset("contents").to_table()
    store.delete("contents", small.names[10:])
    catalog = Catalog.open(store.uri)
    query = {"text": "a dog", "like": "i005", "k": 80}
    assert len(catalog.search(**query)) < 10
    lance.write_dataset(rows.slice(10), store.path("contents"), mode="append")
    assert catalog.search(**query).equals(Catalog.open(store.uri).search(**query))


def test_words_and_an_item_are_weighed_against_each_other(small):
    catalog = small.catalog

    def scores(**query: Any) -> dict[str, float]:
        found = catalog.search(**query, k=80, columns=["content_id"])
        return dict(zip(found["content_id"].to_pylist(), found["score"].to_pylist(), strict=True))

    text, like = scores(text="a dog"), scores(like=["i005", "i005"])
    for weight in (1e-6, 1, 1e6):
        both = scores(text="a dog", like="i005", weights={"like": weight})
        assert both == pytest.approx(
            {name: (text.get(name, 0) + weight * like.get(name, 0)) / (1 + weight) for name in both}, abs=1e-4
        )


def test_what_an_item_is_unlike_counts_only_as_far_as_it_is_alike(small):
    found = small.catalog.search(like="i005", not_like="i012", k=80, columns=["content_id"])
    alone = part_scores(small, "like", "i005", None)
    unwanted = part_scores(small, "not_like", "i012", None)
    for name, score in zip(found["content_id"].to_pylist(), found["score"].to_pylist(), strict=True):
        row = small.names.index(name)
        if not unwanted[row] > 0:
            assert score == pytest.approx(float(np.nan_to_num(alone[row])), abs=1e-4)
        else:
            assert score < alone[row]


def test_the_shares_of_captions_and_pictures_are_shown_and_the_space_that_decided(small):
    found = small.catalog.search(text="apple tree", k=80).to_pylist()
    assert {row["space"] for row in found} == {"clip_image", "clip_text"}
    for row in found:
        number = small.names.index(row["content_id"])
        shares = {"clip_text": row["score_text"], "clip_image": row["score_image"]}
        assert row["score"] == shares[row["space"]] == max(share for share in shares.values() if share is not None)
        for column, share in shares.items():
            assert (share is None) == np.isnan(small.vectors[column][number, 0])
    (first, *_) = small.catalog.search(like="i005", k=3).to_pylist()
    assert (first["space"], first["score_text"], first["score_image"]) == ("fused", None, None)
    (first, *_) = small.catalog.search(vector=[1.0] * 16, space="clip_text", k=3).to_pylist()
    assert (first["space"], first["score_text"], first["score_image"]) == ("clip_text", first["score"], None)


def test_a_caption_with_all_words_counts_as_much_as_the_best_by_vectors():
    similar = np.array([2.0, np.nan, 0.0, np.nan])
    words = np.array([0.0, 1.0, 0.5, 0.0])
    highest = math.sqrt(2 * math.log(1000))
    expected = [1.0, highest, highest / 2, np.nan]
    np.testing.assert_allclose(with_caption(similar, words, 1000), expected)
    drawn = np.random.default_rng(0).normal(size=(200, 1000)).max(1).mean()
    assert drawn == pytest.approx(highest, rel=0.15)
