"""Keys are in the order of the numbers of the IDs, whatever depth they have room for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.records import SemanticId
from fuseid.pipelines.store.id_keys import codes_of, depth_of, fixed, from_fixed, id_keys, key_after, key_of

CODE = st.one_of(st.integers(0, 12), st.integers(0, 2**31 - 1))
IDS = st.builds(SemanticId, st.lists(CODE, min_size=1, max_size=4).map(tuple), st.none() | st.integers(1, 2**31 - 1))


def keys(ids: list[SemanticId], depth: int | None = None) -> np.ndarray:
    return id_keys(pa.array(map(str, ids), pa.string()), depth)


@given(st.lists(IDS, min_size=1, max_size=8), st.sampled_from((None, 4, 7)))
def test_keys_sort_as_numbers_do(ids, depth):
    wanted = sorted(ids, key=lambda sid: (sid.codes, sid.suffix or 0))
    assert [ids[at] for at in np.argsort(keys(ids, depth), kind="stable")] == wanted or len(set(ids)) < len(ids)
    assert sorted(keys(ids, depth).tolist()) == keys(wanted).tolist()


@given(st.lists(IDS, min_size=1, max_size=8), st.lists(CODE, min_size=1, max_size=4))
def test_bounds_hold_exactly_the_ids_below_a_prefix(ids, codes):
    below = [sid.codes[: len(codes)] == tuple(codes) for sid in ids]
    assert [key_of(codes) <= key < key_after(codes) for key in keys(ids).tolist()] == below


@given(st.lists(IDS, min_size=1, max_size=8))
def test_codes_are_read_back_from_keys(ids):
    made = keys(ids)
    depth = max(len(sid.codes) for sid in ids)
    assert depth_of(made) == depth
    padded = [[code + 1 for code in sid.codes] + [0] * (depth - len(sid.codes)) for sid in ids]
    assert codes_of(from_fixed(pa.chunked_array([fixed(made)]))).tolist() == padded


def test_slices_and_no_ids_at_all_have_keys():
    ids = pa.array(["9", "1-2.3", "1-2"])
    assert id_keys(ids[1:]).tolist() == id_keys(ids).tolist()[1:]
    assert id_keys(pa.chunked_array([ids[:1], ids[1:]])).tolist() == id_keys(ids).tolist()
    assert len(id_keys(ids[:0])) == len(codes_of(id_keys(ids[:0]))) == 0


@pytest.mark.parametrize("text", ["4294967295", "99999999999999999999", "1-x", "", "1.x", "1-2-3"])
def test_what_is_no_id_of_the_depth_is_refused(text):
    with pytest.raises(ValueError):
        id_keys(pa.array([text]), 2)
