"""The columns of an export in chunks of one size."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.pipelines.exports.columns import ExportInfo, chunks


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 12))
@settings(max_examples=25)
def test_chunks_have_one_size(lengths, rows):
    count = sum(lengths)
    column = pa.table({"n": pa.array(range(count), pa.int64())})
    starts = np.cumsum([0, *lengths])[:-1].tolist()
    batches = [column.slice(at, n).to_batches()[0] for at, n in zip(starts, lengths, strict=True) if n]
    tables = list(chunks(iter(batches), ExportInfo((4,), count, 0, "t"), rows))
    assert [len(table) for table in tables] == [rows] * (count // rows) + [count % rows] * bool(count % rows)
    assert [n for table in tables for n in table["n"].to_pylist()] == list(range(count))
