"""The texts of items, from their captions and attributes, for formats that have titles and descriptions."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.pipelines.exports.columns import column

# Characters that would end a line or a column: control characters, and the line ends of Unicode.
_BREAKS = r"[\x00-\x1f\x7f\x{85}\x{2028}\x{2029}]+"


def texts_of(chunk: pa.Table) -> tuple[pa.Array, pa.Array]:
    """-> (titles of one line, descriptions), large_string [N], none null."""
    attributes = column(chunk, "attributes")
    captions = [_filled(column(chunk, name)) for name in ("caption", "vlm_caption")]
    titles = [attribute(attributes, "title"), *captions, column(chunk, "content_id")]
    lines = [_filled(pc.replace_substring_regex(text.cast(pa.large_string()), _BREAKS, " ")) for text in titles]
    empty = pa.scalar("", pa.large_string())
    return pc.coalesce(*lines, empty), pc.coalesce(attribute(attributes, "description"), *captions, empty)


def _filled(texts: pa.Array) -> pa.Array:
    """Trimmed texts, null if nothing is left."""
    trimmed = pc.utf8_trim_whitespace(texts.cast(pa.large_string()))
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.large_string()), trimmed)


def attribute(attributes: pa.Array, key: str) -> pa.Array:
    """The texts under a key of JSON objects, null for objects without it; only rows that contain the key are parsed."""
    texts = attributes.cast(pa.large_string())
    rows = np.flatnonzero(pc.match_substring(texts, f'"{key}"').fill_null(False))
    values = np.full(len(texts), None, object)
    # Parsing one list of all objects takes a third of the time of parsing each.
    documents = json.loads(f"[{','.join(texts.take(pa.array(rows)).to_pylist())}]")
    for row, document in zip(rows.tolist(), documents, strict=True):
        value = document.get(key) if isinstance(document, dict) else None
        # JSON may escape half a surrogate pair, which a text file cannot contain.
        values[row] = value.encode(errors="replace").decode() if isinstance(value, str) else None
    return _filled(pa.array(values, pa.large_string()))
