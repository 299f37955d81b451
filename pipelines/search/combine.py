"""Items by several signals at once: each similarity in standard deviations above what is usual, weighted and added."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fuseid.pipelines.search.calibration import Usual
from fuseid.pipelines.search.nearest import nearest
from fuseid.pipelines.search.view import View
from fuseid.pipelines.search.words import with_words
from fuseid.pipelines.store.rows import table_by_id
from fuseid.pipelines.store.vector_columns import nan_rows

# How much of a query is used for the full-text search: more than CLIP reads of it.
_FULL_TEXT_CHARS = 1000
# Candidates of each signal, beside some for each result: an item that is far down in one list may be among the best of
# all. Where there are several parts, more.
_MORE, _FEWEST_OF_SEVERAL = 10, 200


@dataclass(frozen=True)
class Probe:
    """A vector of length one to compare with those of a column, and which similarity is usual."""

    column: str
    query_D: np.ndarray
    usual: Usual


@dataclass(frozen=True)
class Clause:
    """A part of a query: an item's score is the highest of its probes' scores. words: text whose words are searched in
    captions. weight: below 0 for what items should be unlike."""

    probes: tuple[Probe, ...]
    words: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Scores:
    """float [N], NaN for none. text, image: the shares of captions and of pictures in them. space: what decided."""

    total: np.ndarray
    text: np.ndarray
    image: np.ndarray
    space: list[str]


def combined(
    view: View, clauses: Sequence[Clause], k: int, where: str | None, columns: Sequence[str], without: set[str]
) -> pa.Table:
    """The k best items. without: ids that are no results."""
    lone = len(clauses) == 1
    depth = 2 * (k + len(without)) + _MORE if lone else max(_FEWEST_OF_SEVERAL, 4 * (k + len(without)) + _MORE)
    worded = {
        text: with_words(view.contents, text[:_FULL_TEXT_CHARS], depth, where)
        for text in dict.fromkeys(clause.words for clause in clauses)
        if text is not None
    }
    ids = _candidates(view, clauses, depth, where, k)
    ids |= {name for clause in clauses if clause.words and clause.weight > 0 for name in worded[clause.words]}
    names = sorted(ids - without)
    used = list(dict.fromkeys(probe.column for clause in clauses for probe in clause.probes))
    rows = table_by_id(view.contents, names, ["content_id", *used])
    names = rows["content_id"].to_pylist()
    vectors = {column: _unit(nan_rows(rows[column], view.dims[column])) for column in used}
    found = scores(names, vectors, clauses, worded, view.count)
    known = np.isfinite(found.total)
    order = sorted(np.flatnonzero(known), key=lambda n: (-found.total[n], names[n]))[:k]
    shown = view.rows([names[n] for n in order], columns)
    return view.table(
        [
            {
                **shown[names[n]],
                "score": float(found.total[n]),
                "score_text": _or_none(found.text[n]),
                "score_image": _or_none(found.image[n]),
                "space": found.space[n],
            }
            for n in order
        ],
        columns,
    )


def scores(
    names: Sequence[str],
    vectors: dict[str, np.ndarray],
    clauses: Sequence[Clause],
    worded: dict[str, dict[str, float]],
    count: int,
) -> Scores:
    """names: content_ids [N]. vectors: by column, float32 [N, D] of length one, a row of NaN for none. worded: by text,
    how well captions contain its words (`with_words`). count: the number of items of the catalogue.

    An item's score is the weighted sum of its clauses' divided by the sum of the weights above 0. Where an item has
    nothing to be compared with, it counts as average: 0; so does an item that is less like something unwanted than
    usual. An item of which no clause with a weight above 0 knows anything has none (NaN)."""
    size = len(names)
    total, text, image = np.zeros(size), np.full(size, np.nan), np.full(size, np.nan)
    known = np.zeros(size, bool)
    spaces: list[dict[str, None]] = [{} for _ in range(size)]
    whole = sum(clause.weight for clause in clauses if clause.weight > 0)
    for clause in clauses:
        share = clause.weight / whole
        sides = {probe.column: probe.usual.score(vectors[probe.column] @ probe.query_D) for probe in clause.probes}
        if clause.words is not None and (hits := worded[clause.words]):
            sides["clip_text"] = with_caption(
                sides.get("clip_text", np.full(size, np.nan)),
                np.array([hits.get(name, 0.0) for name in names]),
                count,
            )
        if clause.weight < 0:
            # Only likeness counts against an item; otherwise what is least like the unwanted would come first.
            sides = {side: np.maximum(values, 0) for side, values in sides.items()}
        for side, sum_so_far in (("clip_text", text), ("clip_image", image)):
            if side in sides:
                there = np.isfinite(sides[side])
                sum_so_far[there] = np.nan_to_num(sum_so_far[there]) + share * sides[side][there]
        best = np.full(size, -np.inf)
        which = np.full(size, "", object)
        for side, values in sides.items():
            higher = np.nan_to_num(values, nan=-np.inf) > best
            best[higher], which[higher] = values[higher], side
        there = np.isfinite(best)
        total[there] += share * best[there]
        if clause.weight > 0:
            known |= there
            for n in np.flatnonzero(there):
                spaces[n][which[n]] = None
    return Scores(np.where(known, total, np.nan), text, image, ["+".join(each) for each in spaces])


def with_caption(similar_N: np.ndarray, words_N: np.ndarray, count: int) -> np.ndarray:
    """The score of captions: half of their vectors' (NaN for none), and their words'.

    words: from 0 to 1, as `with_words`. A caption with all words counts as much as the highest of `count` numbers with
    a standard normal distribution is to be expected, about sqrt(2 ln count): vectors' scores are on that scale. Among
    several ways to join words and vectors this one was best (docs/benchmarks/lookup.md)."""
    highest = math.sqrt(2 * math.log(max(count, 2)))
    there = np.isfinite(similar_N) | (words_N > 0)
    return np.where(there, np.nan_to_num(similar_N) / 2 + highest * words_N, np.nan)


def _candidates(view: View, clauses: Sequence[Clause], depth: int, where: str | None, k: int) -> set[str]:
    """The items nearest to each probe of a clause with a weight above 0; and where several clauses search a column,
    those nearest to the sum of their probes, which is what orders the items if no other column matters."""
    searches = [(probe.column, probe.query_D) for clause in clauses if clause.weight > 0 for probe in clause.probes]
    sums: dict[str, list[np.ndarray]] = {}
    for clause in clauses:
        for probe in clause.probes:
            sums.setdefault(probe.column, []).append(clause.weight * probe.query_D / probe.usual.spread)
    searches += [(column, np.sum(parts, axis=0)) for column, parts in sums.items() if len(parts) > 1]
    found: set[str] = set()
    for column, query_D in searches:
        if query_D.any():
            found.update(row["content_id"] for row in nearest(view, column, query_D, depth, where, results=k))
    return found


def _unit(vectors_ND: np.ndarray) -> np.ndarray:
    """Rows of length one; zero vectors become NaN, as they are like nothing."""
    lengths = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return vectors_ND / np.where(lengths > 0, lengths, np.nan)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
