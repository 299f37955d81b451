"""Full-text indexes of captions: by words, or by n-grams of characters where scripts write no spaces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import lance
import numpy as np

from fuseid.core.scripts import is_unspaced
from fuseid.pipelines.store.indexes import uncovered
from fuseid.pipelines.store.store import Store

# From how many texts on; an index of few takes milliseconds.
FTS_ROWS = 1
COLUMNS = ("caption", "vlm_caption")
# Memory for building an index; Lance's own limit is 2 GiB for each core.
_MIB = 1024
_BY_WORDS: dict[str, Any] = {"base_tokenizer": "simple"}
# Single characters too: many words of Chinese have one.
_BY_NGRAMS: dict[str, Any] = {"base_tokenizer": "ngram", "min_ngram_length": 1, "max_ngram_length": 2}
# Texts that are looked at, and the share of them in unspaced scripts from which on n-grams are indexed; and below which
# no longer, so that a share near the limit does not have the index made again and again.
_SAMPLE, _MAKE_SHARE, _KEEP_SHARE = 2048, 0.02, 0.01


@dataclass(frozen=True)
class TextIndex:
    """positions: whether it has those of words, which phrase queries need. ngrams: of characters, in place of words.
    described: what Lance says of it."""

    positions: bool
    ngrams: bool
    described: Any = field(default=None, compare=False)


def text_indexes(dataset: lance.LanceDataset) -> dict[str, TextIndex]:
    """The full-text indexes by column."""
    return {
        index.field_names[0]: TextIndex(
            bool(index.details.get("with_position")), index.details.get("base_tokenizer") == "ngram", index
        )
        for index in dataset.describe_indices()
        if index.index_type == "Inverted"
    }


def index_words(store: Store, rows: int = FTS_ROWS) -> None:
    """Makes the full-text index of each column that has so many texts. Makes one again if its scripts ask for another
    kind, or if it lacks the positions of words, as of an earlier fuseid. Rows that an index lacks are added
    elsewhere."""
    with store.writing("contents") as dataset:
        have = text_indexes(dataset)
        for column in COLUMNS:
            index = have.get(column)
            if index is None and dataset.count_rows(f"{column} IS NOT NULL") < rows:
                continue
            if index is not None and (index.positions or index.ngrams) and not uncovered(dataset, index.described):
                continue
            ngrams = _asks_for_ngrams(dataset, column, index is not None and index.ngrams)
            if index is None or index.ngrams != ngrams or not (index.positions or ngrams):
                kind = _BY_NGRAMS if ngrams else _BY_WORDS | {"with_position": True}
                dataset.create_scalar_index(column, "INVERTED", memory_limit=_MIB, **kind)


def _asks_for_ngrams(dataset: lance.LanceDataset, column: str, now: bool) -> bool:
    texts = _sample(dataset, column)
    share = sum(map(is_unspaced, texts)) / max(1, len(texts))
    return share >= (_KEEP_SHARE if now else _MAKE_SHARE)


def _sample(dataset: lance.LanceDataset, column: str) -> list[str]:
    """Texts of rows that are spread over the table; if these have few, the first ones that there are."""
    rows = dataset.count_rows()
    spread = np.linspace(0, rows - 1, min(rows, _SAMPLE)).astype(np.int64)
    found: list[str] = dataset.take(spread, columns=[column])[column].drop_null().to_pylist()
    if len(found) < min(rows, _SAMPLE) // 20:
        found = dataset.to_table([column], f"{column} IS NOT NULL", limit=_SAMPLE)[column].to_pylist()
    return found
