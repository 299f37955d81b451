"""Examples as Python values and as tokens, for formats that are text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from string import ascii_lowercase
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.pipelines.exports.columns import joined
from fuseid.pipelines.sequences.clock import UTC_TIME
from fuseid.pipelines.sequences.examples import Examples


def sid_texts(codes_NM: np.ndarray, bare: bool) -> pa.Array:
    """Tokens end to end, `<a_12><b_240><c_7><d_0>`, string [N]. bare: no token for the collision digit 0."""
    *levels, digits_N = codes_NM.T
    pieces: list[object] = []
    for letter, codes_N in zip(ascii_lowercase, levels, strict=False):
        pieces += [f"<{letter}_", np.ascontiguousarray(codes_N), ">"]
    digit = joined(f"<{ascii_lowercase[len(levels)]}_", np.ascontiguousarray(digits_N), ">")
    if bare:
        digit = pc.if_else(pa.array(digits_N > 0), digit, pa.scalar("", pa.large_string()))
    return joined(*pieces, digit).cast(pa.string())


def of_items(examples: Examples, values_of: Callable[[np.ndarray], Iterable[Any]]) -> tuple[list[Any], list[Any]]:
    """A value of each item, made once for each that occurs: of the histories end to end, and of the targets."""
    numbers, places = np.unique(np.concatenate([examples.item_H, examples.target_E]), return_inverse=True)
    values = np.fromiter(values_of(numbers), object, len(numbers))[places].tolist()
    return values[: len(examples.item_H)], values[len(examples.item_H) :]


def of_histories(values: list[Any], offsets: np.ndarray) -> Iterator[list[Any]]:
    """The lists that lie end to end in `values`."""
    for start, end in pairwise(offsets.tolist()):
        yield values[start:end]


def kept_rows(examples: Examples) -> list[dict[str, Any]]:
    """The kept columns of each example."""
    return examples.kept.to_pylist() or [{}] * len(examples)


def times_of(micros: np.ndarray) -> list[str]:
    """Instants in ISO 8601, in UTC; a text is made once of each that occurs."""
    distinct, places = np.unique(micros, return_inverse=True)
    texts = [when.isoformat() for when in pa.array(distinct).cast(UTC_TIME).to_pylist()]
    return np.array(texts, object)[places].tolist()


def json_text(value: Any) -> str:
    """One line of JSON; what JSON has no form for (times, bytes, decimals) as text."""
    return json.dumps(value, ensure_ascii=False, default=_text)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
