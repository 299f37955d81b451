"""The order of texts is that of their bytes."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from fuseid.pipelines.exports.order import order_of

# Few letters, so that texts share beginnings; a zero byte, with which texts are padded.
TEXTS = st.lists(st.text("ab\0ä\U0001f600", max_size=12))


@given(TEXTS, st.text("xä", max_size=9), st.integers(0, 3))
@example(["a", "a\0", "a\0\0", ""], "", 0)
@example(["b" * 8 + "b", "b" * 8 + "a", "b" * 8], "", 0)
def test_the_order_is_that_of_bytes(texts, beginning, skipped):
    texts = [beginning + text for text in texts]
    # A slice: its buffers begin before it.
    array = pa.array([*["z"] * skipped, *texts, "y"], pa.string())[skipped:-1]
    order = order_of(array)
    assert sorted(order.tolist()) == list(range(len(texts)))
    assert [texts[row] for row in order] == sorted(texts, key=str.encode)
