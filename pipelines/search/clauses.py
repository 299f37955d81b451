"""The parts of a query as vectors of the columns that they search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fuseid.core.errors import BadInput, NotReady
from fuseid.core.surface import option
from fuseid.core.text import storable
from fuseid.pipelines.search.calibration import Calibration
from fuseid.pipelines.search.combine import Clause, Probe
from fuseid.pipelines.search.query import Part
from fuseid.pipelines.search.query_encoder import QueryEncoder
from fuseid.pipelines.search.spaces import CLIP, CLIP_COLUMNS, check_part, columns_of
from fuseid.pipelines.search.view import View


def clauses_of(
    view: View, encoder: QueryEncoder, calibration: Calibration, parts: Sequence[Part], space: str | None
) -> list[Clause]:
    """Raises BadInput for a part that cannot be compared in the space, NotReady for an item without a vector in it."""
    for part in parts:
        check_part(part, space)
    found = []
    for part in parts:
        probes, words = [], None
        if part.name == "text":
            words = encoder.caption(part.value)
        for column, query_D in _vectors(view, encoder, part, words, space):
            usual = calibration.usual(view, column, query_D)
            if usual is not None:
                probes.append(Probe(column, query_D, usual))
        # Words are compared with captions, in whichever space these are searched.
        searches_captions = space in (None, CLIP, "clip_text")
        found.append(Clause(tuple(probes), words if searches_captions else None, part.sign * part.weight))
    return found


def item_vector(view: View, content_id: str, spaces: Sequence[str]) -> tuple[str, np.ndarray]:
    """The first of the item's vectors in these columns that is not zero, and its column. Raises NotReady for an unknown
    item, and one without such a vector."""
    row = view.rows([content_id], spaces).get(content_id)
    if row is None:
        raise NotReady(f"no item {content_id!r} in {view.store.uri}")
    column = next((name for name in spaces if row[name] is not None and any(row[name])), None)
    if column is None:
        only = "" if set(spaces) == set(view.item_spaces) else f" of {' or '.join(spaces)}"
        raise NotReady(f"item {content_id!r} has no vector{only} that is not zero, to compare with others")
    return column, np.asarray(row[column], np.float32)


def vector_of(view: View, numbers: Any, column: str) -> np.ndarray:
    """float32 [D], of length one, so that numbers of any size have exact cosines. Raises BadInput for what cannot be
    compared with the vectors of a column."""
    try:
        query: np.ndarray = np.asarray(numbers)
        if query.dtype.kind == "c":
            raise TypeError
        query = query.astype(np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise BadInput(f"a query vector holds numbers, got {str(numbers)[:80]!r}") from None
    size = view.dims[column]
    if query.shape != (size,) or not np.isfinite(query).all() or not query.any():
        raise BadInput(f"a query in {column} space takes {size} finite numbers that are not all zero, got {query.size}")
    query = query / np.abs(query).max()
    return (query / np.linalg.norm(query)).astype(np.float32)


def item_columns(view: View, space: str | None) -> list[str]:
    """The columns in which items are compared with items: those that say most first."""
    return view.item_spaces if space is None else columns_of(view, space)


def items_of(parts: Sequence[Part]) -> set[str]:
    """The items that a query is made from, which are no results of it."""
    return {storable(part.value) for part in parts if part.name in ("like", "not_like")}


def _vectors(
    view: View, encoder: QueryEncoder, part: Part, words: str | None, space: str | None
) -> Iterator[tuple[str, np.ndarray]]:
    """The columns that a part searches, with vectors of length one."""
    if words is not None:
        columns, query_D = columns_of(view, space or CLIP), encoder.of_caption(view, words)
    elif part.name in ("image", "video"):
        query_D = encoder.of_picture(view, part.name, part.value)
        columns = _of_pictures(columns_of(view, space or CLIP))
    elif part.name == "vector":
        columns = item_columns(view, space)[: None if space == CLIP else 1]
        query_D = vector_of(view, part.value, columns[0])
    else:
        if not isinstance(part.value, str):
            raise BadInput(f"{option(part.name)} takes the content_id of an item, got {str(part.value)[:80]!r}")
        column, query_D = item_vector(view, storable(part.value), item_columns(view, space))
        columns = [column]
        if space == CLIP and column == CLIP_COLUMNS[1]:
            columns = columns_of(view, CLIP)
    length = np.linalg.norm(query_D)
    yield from ((column, (query_D / length).astype(np.float32)) for column in columns)


def _of_pictures(columns: list[str]) -> list[str]:
    """A picture finds pictures and videos; captions would displace copies of it."""
    return columns[:1]
