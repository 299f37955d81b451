"""Numbering: ids keep the number they first had; their order is that of their bytes."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fuseid.pipelines.engagement.numbering import Numbering

PIECES = st.lists(st.lists(st.text(max_size=3), max_size=8), max_size=5)


@given(PIECES)
def test_ids_are_numbered_as_they_come_and_ranked_by_their_bytes(pieces):
    numbering, numbers = Numbering(), []
    for piece in pieces:
        numbers += numbering.of(pa.array(piece, pa.string())).tolist()
    seen = [text for piece in pieces for text in piece]
    distinct = list(dict.fromkeys(seen))
    assert numbers == [distinct.index(text) for text in seen]
    ids, rank = numbering.ranked()
    assert ids.to_pylist() == sorted(distinct, key=str.encode)
    assert [ids[rank[number]].as_py() for number in numbers] == seen


def test_ids_that_are_not_known_have_no_number():
    numbering = Numbering(pa.array(["b", "a"]))
    assert numbering.of(pa.chunked_array([["a", "c"], ["b"]])).tolist() == [1, -1, 0]
    assert len(numbering) == 2
