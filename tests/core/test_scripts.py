"""Scripts without spaces: which they are, and what of a query a text must hold."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.scripts import Terms, folded, is_unspaced

# A letter of each range, the first and the last where they are assigned.
UNSPACED = "กฮກမᄀកぁんァヶㄅㇰ㐀一鿿가힣豈ｱﾝ𠀀𰀀"
SPACED = "azéßąœΑωЯяאתعيकतञ0९-_.,!?' \"\t\n…"


@pytest.mark.parametrize("letter", UNSPACED)
def test_each_script_without_spaces_is_known(letter):
    assert is_unspaced(letter)
    assert is_unspaced(f"a word and {letter}")


@pytest.mark.parametrize("letter", SPACED)
def test_scripts_with_spaces_are_not(letter):
    assert not is_unspaced(letter)


def test_punctuation_alone_is_in_no_such_script():
    assert not is_unspaced("「」、。，！？【】")


@given(st.text())
def test_folding_is_stable_and_ignores_case_and_form(text):
    once = folded(text)
    assert folded(once) == once
    assert folded(unicodedata.normalize("NFD", text)) == once


@pytest.mark.parametrize(
    ("one", "other"),
    [("Café", "CAFE"), ("ΆΝΘΡΩΠΟΣ", "ανθρωποσ"), ("Straße", "STRASSE"), ("ﾃﾚﾋﾞ", "テレビ"), ("が", "が"), ("ﬁn", "fin")],
)
def test_what_a_reader_takes_for_the_same_is_the_same(one, other):
    assert folded(one) == folded(other)


def test_marks_that_make_another_letter_stay():
    assert folded("が") != folded("か")
    assert folded("й") == folded("й")


@pytest.mark.parametrize(
    ("query", "text", "found"),
    [
        ("红苹果", "桌上的红苹果", True),
        ("红苹果", "一个红色的梨", False),
        # Two neighbouring characters are enough, one is not.
        ("红苹果", "苹果", True),
        ("红苹果", "果汁和红茶", False),
        ("猫", "黑猫", True),
        ("猫", "黑狗", False),
        # Words begin as those of the query do; endings may differ.
        ("apples", "a red apple", True),
        ("apple", "pineapple", False),
        ("cat", "category", True),
        ("cat", "a dog", False),
        # Articles count only by themselves.
        ("a 猫", "a dog", False),
        ("a", "a dog", True),
        ("of a cat", "of a dog", False),
        # A word stands beside letters without spaces.
        ("USB", "新しいUSB端子", True),
        ("テレビ", "ﾃﾚﾋﾞを見る", True),
        ("Ｔシャツ", "白いTシャツ", True),
        ("แมว", "รูปแมวดำ", True),
        ("사과", "빨간 사과는 맛있다", True),
        ("?!", "anything", False),
        ("", "anything", False),
        ("c++", "c++ and c", True),
        ("(", "a ( b", False),
    ],
)
def test_what_a_text_must_hold(query, text, found):
    assert (Terms(query).share_in(text) > 0) is found


@given(st.text("红苹果猫a b", min_size=1), st.text("红苹果猫a b"), st.text("红苹果猫a b"))
def test_a_text_that_has_the_query_is_found(query, before, after):
    if folded(query).split():
        assert Terms(query).share_in(f"{before} {query} {after}") == (1 if len(Terms(query)) else 0)


@pytest.mark.parametrize(
    ("query", "text", "share"),
    [
        ("red apples", "a red apple", 1),
        ("red apples", "a green apple", 1 / 2),
        ("a red apple on the table", "an apple", 1 / 4),
        ("红苹果", "苹果", 1 / 2),
        ("新しいUSB端子", "USB", 1 / 4),
        ("", "anything", 0),
    ],
)
def test_the_share_of_the_terms_that_a_text_holds(query, text, share):
    assert Terms(query).share_in(text) == pytest.approx(share)
