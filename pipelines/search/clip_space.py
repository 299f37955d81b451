"""Items by what they show and say: among pictures, captions and words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from fuseid.pipelines.search.calibration import Calibration
from fuseid.pipelines.search.nearest import nearest, with_words
from fuseid.pipelines.search.view import View
from fuseid.pipelines.store.rows import rows_by_id

# How much of a query is used for the full-text search: more than CLIP reads of it.
_FULL_TEXT_CHARS = 1000


def in_clip_space(
    view: View,
    calibration: Calibration,
    query_D: np.ndarray,
    text: str | None,
    k: int,
    where: str | None,
    columns: Sequence[str],
) -> pa.Table:
    """query: a CLIP vector of length one. text: what it was made from, None for a picture's or a video's."""
    # An approximate vector index may miss a caption that contains exactly these words.
    words = [] if text is None else with_words(view.contents, text[:_FULL_TEXT_CHARS], 2 * k + 10, where)
    spaces = [name for name in ("clip_image", "clip_text") if name in view.dims]
    if text is None and "clip_image" in view.dims:
        # A picture finds pictures and videos; captions would displace copies of it.
        spaces = ["clip_image"]
    best: dict[str, float] = {}
    for space in spaces:
        usual = calibration.usual(view, space, query_D)
        if usual is None:
            continue
        # A few more than k: an item near the end of one list may be among the best of both.
        hits = nearest(view.contents, space, query_D, 2 * k + 10, where)
        near = {row["content_id"]: 1.0 - row["_distance"] for row in hits}
        near |= _similarities(view, space, query_D, set(words) - set(near))
        for name, similarity in near.items():
            best[name] = max(best.get(name, -np.inf), usual.score(similarity))
    top = sorted(best, key=lambda name: (-best[name], name))[:k]
    found = view.rows(top, columns)
    return view.table([{**found[name], "score": best[name]} for name in top], columns)


def _similarities(view: View, column: str, query_D: np.ndarray, ids: set[str]) -> dict[str, float]:
    rows = rows_by_id(view.contents, sorted(ids), ["content_id", column], f"{column} IS NOT NULL")
    return {row["content_id"]: float(np.asarray(row[column], np.float32) @ query_D) for row in rows}
