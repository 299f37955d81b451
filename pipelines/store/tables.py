"""The tables of a database and their columns."""

from __future__ import annotations

import pyarrow as pa

from fuseid.core import schemas
from fuseid.core.records import MODALITIES

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
    """The size of each vector column of `contents`, including `fused`."""
    return {name: schema.field(name).type.list_size for name in (*MODALITIES, "fused") if name in schema.names}


def lacking_columns(name: str, schema: pa.Schema) -> list[str]:
    """The columns that a table lacks although every database has them."""
    wanted = schemas.contents_schema({}) if name == "contents" else SCHEMAS[name]
    return [column for column in wanted.names if column not in schema.names]
