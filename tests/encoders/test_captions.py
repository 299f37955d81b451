import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import TooLarge
from fuseid.encoders.captions import normalise_caption


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        (" \t\n\u00a0\u3000 ", None),
        ("\x00\x07", None),
        ("a  red\r\n\tball ", "a red ball"),
        ("cafe\u0301", "café"),
        ("e\x00\u0301", "é"),
        ("a\u200b b", "a\u200b b"),
        ("\ufeffheading", "heading"),
        ("evil\u202egpj.exe", "evilgpj.exe"),
        ("family 👨\u200d👩\u200d👧", "family 👨\u200d👩\u200d👧"),
        ("broken \ud800 half", "broken half"),
        ("it's; DROP TABLE contents--", "it's; DROP TABLE contents--"),
    ],
)
def test_a_caption_is_normalised_to_one_form(text, expected):
    assert normalise_caption(text, 100) == expected


def test_a_caption_over_the_limit_is_too_large():
    with pytest.raises(TooLarge, match=r"1000000 characters.*100000"):
        normalise_caption("x" * 1_000_000, 100_000)


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=60))
def test_normalising_is_idempotent_and_gives_valid_utf8(text):
    once = normalise_caption(text, 1000)
    assert once is None or (once and once.encode("utf-8"))
    assert normalise_caption(once, 1000) == once
