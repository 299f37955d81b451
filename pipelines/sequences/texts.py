"""Examples as Python values and as tokens, for formats that are text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from fuseid.pipelines.exports.columns import spelled
from fuseid.pipelines.exports.formats.tokens import token_tables
from fuseid.pipelines.sequences.clock import UTC_TIME
from fuseid.pipelines.sequences.examples import Examples


def sid_texts(codes_NM: np.ndarray, bare: bool) -> pa.Array:
    """Concatenated tokens, `<a_12><b_240><c_7><d_0>`, string [N]. bare: no token for the collision digit 0."""
    tables = token_tables("minionerec", (codes_NM.max(0, initial=0) + 1).tolist(), digit_0=not bare)
    return spelled(codes_NM, tables).cast(pa.string())


def of_items(examples: Examples, values_of: Callable[[np.ndarray], Iterable[Any]]) -> tuple[list[Any], list[Any]]:
    """The value of each item, computed once for each distinct item: for the concatenated histories, and for the
    targets."""
    numbers, places = np.unique(np.concatenate([examples.item_H, examples.target_E]), return_inverse=True)
    values = np.fromiter(values_of(numbers), object, len(numbers))[places].tolist()
    return values[: len(examples.item_H)], values[len(examples.item_H) :]


def of_histories(values: list[Any], offsets: np.ndarray) -> Iterator[list[Any]]:
    """The lists that are concatenated in `values`."""
    for start, end in pairwise(offsets.tolist()):
        yield values[start:end]


def kept_rows(examples: Examples) -> list[dict[str, Any]]:
    """The kept columns of each example."""
    return examples.kept.to_pylist() or [{}] * len(examples)


def times_of(micros: np.ndarray) -> list[str]:
    """Instants in ISO 8601, in UTC; the text is made once for each distinct instant."""
    distinct, places = np.unique(micros, return_inverse=True)
    texts = [when.isoformat() for when in pa.array(distinct).cast(UTC_TIME).to_pylist()]
    return np.array(texts, object)[places].tolist()


def json_text(value: Any) -> str:
    """One line of JSON; values that JSON cannot represent (times, bytes, decimals) are text."""
    return json.dumps(value, ensure_ascii=False, default=_text)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
