"""Replies become one line of caption and a short list of tags, whatever the model says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.encoders.vlm_captions import MAX_CAPTION_CHARS, MAX_TAG_CHARS, MAX_TAGS, caption_of, tags_of


@pytest.mark.parametrize(
    ("reply", "caption"),
    [
        (" A red apple\n on a  table. ", "A red apple on a table."),
        ("\x00\x07", None),
        ("", None),
        ("x" * 3000, "x" * MAX_CAPTION_CHARS),
        ("a\u202eb", "ab"),
    ],
)
def test_a_caption_is_one_line(reply, caption):
    assert caption_of(reply) == caption


@pytest.mark.parametrize(
    ("reply", "tags"),
    [
        ("fruit, apple, red", ("fruit", "apple", "red")),
        ("- Fruit\n- apple\n* RED", ("fruit", "apple", "red")),
        ("1. fruit\n2) apple\n10. red", ("fruit", "apple", "red")),
        ("\"fruit\", 'apple'; #red.", ("fruit", "apple", "red")),
        ("apple, Apple,APPLE ", ("apple",)),
        ("3d model, 24-hour shop", ("3d model", "24-hour shop")),
        (", ;\n -", None),
        ("a long sentence " * 9 + ", apple", ("apple",)),
    ],
)
def test_tags_are_split_cleaned_and_named_once(reply, tags):
    assert tags_of(reply) == tags


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=300))
def test_any_reply_is_cut_to_the_limits(reply):
    tags = tags_of(reply) or ()
    assert len(tags) == len(set(tags)) <= MAX_TAGS
    for text in (*tags, *filter(None, [caption_of(reply)])):
        assert text == text.strip() != ""
        assert "\n" not in text
    assert all(len(tag) <= MAX_TAG_CHARS for tag in tags)
