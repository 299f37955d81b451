"""Searches of one version of a table by the words of captions."""

from __future__ import annotations

from typing import Any

import lance
from lance.query import BooleanQuery, FullTextQuery, MatchQuery, Occur, PhraseQuery

from fuseid.core.scripts import Terms, folded
from fuseid.pipelines.store.word_indexes import text_indexes

# Rows of an n-gram index that are compared with the query itself; many have no more than a few letters in common with
# it.
_NGRAM_ROWS = 200
# A caption that has half of the words counts an eighth.
SHARE_POWER = 3


def with_words(dataset: lance.LanceDataset, text: str, k: int, where: str | None = None) -> dict[str, float]:
    """content_id -> how well a caption, written or generated, contains the words of `text`: above 0, at most 1. It is
    the caption's BM25 relative to that of the best one of its column, times the third power of the share of the words
    that it has: a caption that has one word of eight says little, also if no other has more. Up to k rows of each
    column that has a full-text index. A part in double quotes is a phrase."""
    found: dict[str, float] = {}
    terms = Terms(text)
    for column, index in sorted(text_indexes(dataset).items()):
        if index.ngrams:
            rows = _by_ngrams(dataset, column, text, terms, k, where)
        else:
            rows = _by_words(dataset, column, text, index.positions, k, where)
        best = max((row["_score"] for row in rows), default=0.0)
        for row in rows:
            if best > 0:
                name = row["content_id"]
                # Stemming finds words whose beginnings differ.
                share = max(terms.share_in(row[column]), 1 / max(1, len(terms)))
                found[name] = max(found.get(name, 0.0), row["_score"] / best * share**SHARE_POWER)
    return found


def _rows(
    dataset: lance.LanceDataset, query: FullTextQuery, k: int, where: str | None, *columns: str
) -> list[dict[str, Any]]:
    scan = dataset.scanner(
        columns=["content_id", *columns, "_score"], full_text_query=query, filter=where, prefilter=True, limit=k
    )
    return scan.to_table().to_pylist()


def _by_words(
    dataset: lance.LanceDataset, column: str, text: str, positions: bool, k: int, where: str | None
) -> list[dict[str, Any]]:
    """Captions that contain every phrase in double quotes; if no caption does, those that contain any of the words.
    Double quotes are the only syntax; one that is never closed is ignored. positions: whether the index has the
    positions of words, without which it finds no phrases."""
    words = MatchQuery(" ".join(text.split('"')), column)
    if positions and (phrases := [(Occur.MUST, PhraseQuery(part, column)) for part in _phrases(text)]):
        found = _rows(dataset, BooleanQuery([*phrases, (Occur.SHOULD, words)]), k, where, column)
        if found:
            return found
    return _rows(dataset, words, k, where, column)


def _by_ngrams(
    dataset: lance.LanceDataset, column: str, text: str, terms: Terms, k: int, where: str | None
) -> list[dict[str, Any]]:
    """As `_by_words`; a phrase is any part of a caption."""
    words = " ".join(text.split('"'))
    # Letters of half or full width are indexed as they are written.
    forms = " ".join(dict.fromkeys([words, folded(words)]))
    rows = _rows(dataset, MatchQuery(forms, column), max(_NGRAM_ROWS, 4 * k), where, column)
    if phrases := [folded(part.strip()) for part in _phrases(text) if part.strip()]:
        held = [row for row in rows if all(part in folded(row[column]) for part in phrases)]
        if held:
            return held[:k]
    return [row for row in rows if terms.share_in(row[column])][:k]


def _phrases(text: str) -> list[str]:
    return text.split('"')[1:-1:2]
