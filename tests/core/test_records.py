"""A semantic ID has one text form; records refuse values that do not fit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.records import Decoded, SemanticId

CODES = st.lists(st.integers(0, 10**6), min_size=1, max_size=6).map(tuple)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(CODES, st.none() | st.integers(1, 10**6))
def test_text_form_round_trips(codes, suffix):
    sid = SemanticId(codes, suffix)
    assert SemanticId.parse(str(sid)) == sid


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet="0123456789-.\n +٣", max_size=9))
def test_a_parsed_id_has_the_text_that_was_parsed(text):
    try:
        sid = SemanticId.parse(text)
    except ValueError:
        return
    assert str(sid) == text


def test_ids_have_the_documented_text():
    assert str(SemanticId((12, 240, 7))) == "12-240-7"
    assert str(SemanticId((12, 240, 7), 1)) == "12-240-7.1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "12-",
        "-12",
        "12--7",
        "12.0",
        "12.01",
        "012",
        "1.2.3",
        "12-240-7\n",
        " 12",
        "12,7",
        "1e3",
        "-1",
        "٣",
        "+1",
    ],
)
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match=r"semantic ID|suffix"):
        SemanticId.parse(text)


@pytest.mark.parametrize(("codes", "suffix"), [((), None), ((-1,), None), ((1, -2), None), ((1,), 0), ((1,), -1)])
def test_impossible_ids_are_refused(codes, suffix):
    with pytest.raises(ValueError, match="got"):
        SemanticId(codes, suffix)


@pytest.mark.parametrize(
    ("frames", "timestamps"),
    [
        (np.zeros((1, 4, 4, 3), np.float32), np.zeros(1)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros(1)),
        (np.zeros((1, 4, 4, 4), np.uint8), np.zeros(1)),
        (np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0)),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(1)),
    ],
)
def test_frames_of_another_shape_are_refused_with_what_was_got(frames, timestamps):
    with pytest.raises(ValueError, match=r"got .*\d"):
        Decoded(frames, timestamps, 4, 4, 0.0, "00", "pillow")
