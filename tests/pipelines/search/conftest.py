"""Catalogues of rows that a test writes as a job would have written them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from fuseid.core.schemas import contents_schema
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.sources.item import canonical
from fuseid.pipelines.store.store import Store


@pytest.fixture(scope="session")
def catalog_of() -> Callable[[Path, Sequence[dict[str, Any]]], Catalog]:
    """Writes rows of `contents` into a new database; -> its catalogue. Attributes are objects, what a row lacks is
    null, a row without a kind is text; the database has IDs if a row has."""

    def write(folder: Path, rows: Sequence[dict[str, Any]]) -> Catalog:
        schema = contents_schema({"fused": 4})
        whole = [
            {"kind": "text", "codes": None, **row, "attributes": canonical(row.get("attributes", {}))} for row in rows
        ]
        for row in whole:
            row["sid"] = row["codes"] and "-".join(map(str, row["codes"]))
        columns = {field.name: pa.array([row.get(field.name) for row in whole], field.type) for field in schema}
        store = Store.create(folder)
        lance.write_dataset(pa.table(columns, schema=schema), store.path("contents"), max_rows_per_file=1000)
        if any(row["codes"] for row in whole):
            store.put_settings({"champion": "rq_kmeans-0"}, store.settings())
        return Catalog(store)

    return write
