"""Searches of one version of a table: the rows nearest to a vector, and the rows that contain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lance
import numpy as np
from lance.query import BooleanQuery, FullTextQuery, MatchQuery, Occur, PhraseQuery

from fuseid.pipelines.store.indexes import text_indexes

# Without this Lance stops at the first partitions in which k rows fulfil a condition.
_FEWEST_PARTITIONS = 20


def nearest(
    dataset: lance.LanceDataset,
    column: str,
    query_D: np.ndarray,
    k: int,
    where: str | None = None,
    columns: Sequence[str] = ("content_id",),
) -> list[dict[str, Any]]:
    """The k rows of the smallest cosine distance, with their `_distance`, nearest first.

    Rows without a vector, and with a zero one, are never found, with or without an index, so there is no condition for
    that; it would read the whole column. Of an index at least as many partitions are searched as LanceDB searches;
    Lance goes on until k rows fulfil `where`.
    """
    search = {"column": column, "q": query_D, "k": k, "metric": "cosine", "minimum_nprobes": _FEWEST_PARTITIONS}
    scan = dataset.scanner(columns=[*columns, "_distance"], nearest=search, filter=where, prefilter=True)
    return scan.to_table().to_pylist()


def with_words(dataset: lance.LanceDataset, text: str, k: int, where: str | None = None) -> list[str]:
    """Ids of up to k rows for each full-text index whose text, a caption or a generated one, contains words of `text`;
    none while there are too few captions for an index. A part in double quotes is a phrase."""
    found: dict[str, None] = {}
    for column, positions in sorted(text_indexes(dataset).items()):
        for query in _queries(text, column, positions):
            scan = dataset.scanner(
                columns=["content_id", "_score"], full_text_query=query, filter=where, prefilter=True, limit=k
            )
            hits = scan.to_table()
            if hits.num_rows:
                found |= dict.fromkeys(hits["content_id"].to_pylist())
                break
    return list(found)


def _queries(text: str, column: str, positions: bool) -> list[FullTextQuery]:
    """Full-text queries, to be tried in this order until one finds something: captions that contain every phrase in
    double quotes; then captions that contain any of the words. Double quotes are the only syntax; one that is never
    closed is ignored. positions: whether the index has the positions of words, without which it finds no phrases."""
    parts = text.split('"')
    words = MatchQuery(" ".join(parts), column)
    phrases = [(Occur.MUST, PhraseQuery(part, column)) for part in parts[1:-1:2]]
    return [BooleanQuery([*phrases, (Occur.SHOULD, words)]), words] if phrases and positions else [words]
