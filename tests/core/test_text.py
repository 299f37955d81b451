"""Foreign text neither breaks a store nor steers a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.text import shown, storable


@given(st.text())
def test_shown_text_is_printable_and_as_long_as_before(text):
    assert shown(text).isprintable()
    assert len(shown(text)) == len(text)
    assert shown(shown(text)) == shown(text)


@given(st.text().filter(str.isprintable))
def test_printable_text_is_shown_as_it_is(text):
    assert shown(text) == text


def test_what_steers_a_terminal_is_replaced():
    for character in "\x1b\r\n\a\b\x7f\x9b\u202e\u2066\u200f":
        assert shown(f"a{character}b") == "a\N{REPLACEMENT CHARACTER}b"


@given(st.text(alphabet=st.characters()))
def test_stored_text_can_be_encoded(text):
    storable(text).encode()
