"""Names that a person types: proposals for unknown ones, and ids by their beginning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.errors import BadInput, UnknownArtifact
from fuseid.core.names import check_known, hint, id_named
from fuseid.core.nearest import nearest

IDS = ["adopted-00aa11bb22cc33dd", "rq-kmeans-c2bd0c01d06fa420", "rq-kmeans-c2fa53200a1b0000"]


@given(st.lists(st.text("abcdef", min_size=1, max_size=8), min_size=1, max_size=30, unique=True), st.text("abcxyz"))
def test_a_proposal_is_a_known_name_and_a_known_name_needs_none(known, name):
    assert set(nearest(name, known)) <= set(known)
    check_known("letter", known[0], known)
    if name not in known:
        with pytest.raises(BadInput) as caught:
            check_known("letter", name, known)
        assert str(caught.value).startswith(f"unknown letter {name!r}; ")
        assert "\n" not in str(caught.value)


def test_a_short_set_is_listed_and_a_long_one_is_not():
    assert hint("parqet", ["parquet", "grid"]) == "did you mean parquet? There are parquet, grid"
    assert hint("zzz", ["parquet", "grid"]) == "there are parquet, grid"
    assert hint("ran", ["rand"]) == "did you mean rand?"
    assert hint("zzz", []) == "there are none"
    many = [f"name-{number}" for number in range(100)]
    assert hint("nane-42", many) == "did you mean name-42 or name-4 or name-2?"
    assert hint("zzz", many).endswith("name-15 and 84 more")


def test_an_id_is_found_by_itself_and_by_an_unambiguous_beginning():
    assert id_named("tokenizer", IDS[1], IDS, "db") == IDS[1]
    assert id_named("tokenizer", "rq-kmeans-c2bd", IDS, "db") == IDS[1]
    assert id_named("tokenizer", "adopted-00aa1", IDS, "db") == IDS[0]
    assert id_named("tag", "a-b", ["a-b", "a-bc"], "db") == "a-b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rq-kmeans-c2", f"db has 2 tokenizers that begin with 'rq-kmeans-c2': {IDS[1]}, {IDS[2]}; give more of one"),
        ("adopted-00", f"'adopted-00' is too little of {IDS[0]}; give 4 characters of its last part, or all of it"),
        ("", f"db has no tokenizer ''; there are {', '.join(IDS)}"),
        ("rq-means-c2bd0c01d06fa420", f"db has no tokenizer 'rq-means-c2bd0c01d06fa420'; did you mean {IDS[1]}"),
    ],
)
def test_other_ids_are_refused_with_those_that_there_are(text, said):
    with pytest.raises(UnknownArtifact) as caught:
        id_named("tokenizer", text, IDS, "db", UnknownArtifact)
    assert str(caught.value).startswith(said)
