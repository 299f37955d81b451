"""The tables of a database and their columns."""

from __future__ import annotations

import pyarrow as pa

from fuseid.core import schemas
from fuseid.core.modalities import FUSED_COLUMNS, modalities

SCHEMAS = {
    "assignments": schemas.ASSIGNMENTS,
    "rejected": schemas.REJECTED,
    "runs": schemas.RUNS,
    "lease": schemas.LEASE,
}


TABLES = (*SCHEMAS, "contents")


# Tables that only the holder of the lease changes; in `runs` each process writes a row of its own.
GUARDED = ("contents", "assignments", "rejected")


def vector_sizes(schema: pa.Schema) -> dict[str, int]:
    """The size of each vector column of `contents`: in the order of fusion, fused ones last."""
    sizes = {field.name: field.type.list_size for field in schema if pa.types.is_fixed_size_list(field.type)}
    order = [modality.name for modality in modalities(sizes)]
    return {name: sizes[name] for name in (*order, *(name for name in FUSED_COLUMNS if name in sizes))}


def schema_version(contents: pa.Schema) -> str:
    return (contents.metadata or {}).get(schemas.VERSION_KEY.encode(), b"none").decode()


def lacking_columns(name: str, schema: pa.Schema) -> list[str]:
    """The columns that a table lacks although every database has them."""
    wanted = SCHEMAS.get(name)
    if wanted is None:
        # Until version 4, ready-made vectors had no column of fingerprints.
        current = schema_version(schema) in schemas.CURRENT_VERSIONS
        wanted = schemas.contents_schema(vector_sizes(schema) if current else {})
    return [column for column in wanted.names if column not in schema.names]
