"""The one step of ready-made vectors: a part of a source -> checked batches, in which a bad row has its error."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadVector, ItemError, Unrecognised
from fuseid.core.fingerprints import fingerprint
from fuseid.core.names import hint
from fuseid.core.records import KINDS
from fuseid.core.schemas import vectors_schema
from fuseid.encoders.captions import normalise_caption
from fuseid.pipelines.sources.item import MANIFEST_COLUMNS
from fuseid.pipelines.sources.rows import item_of, rows_of_batch
from fuseid.pipelines.sources.texts import id_texts
from fuseid.pipelines.sources.vector_parts import VectorPart
from fuseid.pipelines.store.vector_columns import vector_fingerprints

_FACTS = MANIFEST_COLUMNS[1:]


def read_vectors(part: VectorPart, name: str, dim: int, most_chars: int) -> Iterator[pa.RecordBatch]:
    """Batches of `vectors_schema(dim)`, without addresses. name: of the modality. most_chars: of a caption.

    Raises BadInput for a part that cannot be read, and for an id that is missing or of the wrong type.
    """
    row = part.first
    started = time.perf_counter()
    for batch in part.batches():
        ids = id_texts(batch["content_id"], part.shown, row)
        vectors, problems = _checked(batch["vector"], name, dim)
        columns = _facts(batch, part.shown, row, most_chars, problems) | {"content_id": ids, "vector": vectors}
        good = vectors.is_valid().to_numpy(zero_copy_only=False)
        usable = vectors if good.all() else vectors.filter(pa.array(good))
        hashes = vector_fingerprints(usable.flatten().to_numpy().reshape(-1, dim))
        columns["vector_fp"] = pc.replace_with_mask(pa.nulls(len(ids), pa.string()), pa.array(good), hashes)
        columns |= _errors(problems, name, len(ids))
        columns["seconds_read"] = pa.repeat((time.perf_counter() - started) / max(1, len(ids)), len(ids))
        schema = vectors_schema(dim)
        arrays = [columns.get(field.name, pa.nulls(len(ids), field.type)) for field in schema]
        yield pa.record_batch([array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema)
        row += len(ids)
        started = time.perf_counter()


def _checked(vectors: pa.Array, name: str, dim: int) -> tuple[pa.FixedSizeListArray, dict[int, ItemError]]:
    """Lists of numbers -> float32 vectors, null where they cannot be used, and what is wrong with those, by row."""
    rows = len(vectors)
    problems: dict[int, ItemError] = {}
    lengths = pc.list_value_length(vectors)
    right = pc.fill_null(pc.equal(lengths, dim), False).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(~right).tolist():
        found = lengths[row].as_py()
        what = "is null or holds null" if found is None else f"has {found} numbers, where others of the file have {dim}"
        problems[row] = BadVector(f"vector {what}")
    flat = (vectors if right.all() else vectors.filter(pa.array(right))).flatten()
    at = np.flatnonzero(right)
    if flat.null_count:
        holes = np.unique(np.flatnonzero(flat.is_null().to_numpy(zero_copy_only=False)) // dim)
        problems |= {int(at[row]): BadVector("vector is null or holds null") for row in holes}
    with np.errstate(over="ignore"):  # beyond float32 a number becomes infinite
        values_ND = flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(-1, dim)
    usable = np.isfinite(values_ND).all(1) & values_ND.any(1)
    for row in at[~usable].tolist():
        problems.setdefault(row, BadVector(f"{name} vector is zero or not finite"))
    if not problems:
        return pa.FixedSizeListArray.from_arrays(pa.array(values_ND.reshape(-1)), dim), problems
    out = np.zeros((rows, dim), np.float32)
    out[at] = values_ND
    mask = np.zeros(rows, bool)
    mask[list(problems)] = True
    out[mask] = 0.0
    return pa.FixedSizeListArray.from_arrays(pa.array(out.reshape(-1)), dim, mask=pa.array(mask)), problems


def _facts(
    batch: pa.RecordBatch, shown: str, first: int, most_chars: int, problems: dict[int, ItemError]
) -> dict[str, pa.Array]:
    """The columns of a manifest, as a manifest's rows are read, and their hash; adds what is wrong with a row."""
    there = [name for name in _FACTS if name in batch.schema.names]
    if not there:
        return {}
    facts: dict[str, list[str | None]] = {name: [] for name in (*_FACTS, "facts")}
    for position, row in enumerate(rows_of_batch(batch.select(["content_id", *there]))):
        item = item_of(f"{shown}, row {first + position + 1}", row)
        try:
            if item.problem is not None:
                raise item.problem
            if item.kind not in (None, *KINDS):
                raise Unrecognised(f"unknown kind {item.kind!r}; {hint(item.kind, KINDS)}")
            item = replace(item, caption=normalise_caption(item.caption, most_chars))
        except ItemError as problem:
            problems.setdefault(position, problem)
        values = [getattr(item, name) for name in _FACTS]
        for name, value in zip(_FACTS, values, strict=True):
            facts[name].append(value)
        facts["facts"].append(blake2b(json.dumps(values).encode(), digest_size=8).hexdigest())
    return {name: pa.array(values, pa.string()) for name, values in facts.items()}


def _errors(problems: dict[int, ItemError], name: str, rows: int) -> dict[str, pa.Array]:
    if not problems:
        return {}
    columns: dict[str, list[str | None]] = {
        key: [None] * rows for key in ("error_stage", "error_class", "error_message", "item_fp")
    }
    for row, problem in problems.items():
        columns["error_stage"][row] = "source"
        columns["error_class"][row] = type(problem).__name__
        columns["error_message"][row] = str(problem)
        columns["item_fp"][row] = fingerprint("vector", name=name, problem=str(problem))
    return {key: pa.array(values, pa.string()) for key, values in columns.items()}
