"""Names that are meant by misspelt ones."""

import pytest

from fuseid.core.nearest import did_you_mean, nearest

CLASSES = ["DecodeTimeout", "DecodeCrashed", "FetchFailed", "BadField"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("decodetimeout", ["DecodeTimeout"]),
        ("DecodeTimout", ["DecodeTimeout"]),
        ("FetchFail", ["FetchFailed"]),
        ("nothing like it", []),
        ("", []),
    ],
)
def test_the_most_alike_names_come_first(name, found):
    assert nearest(name, CLASSES)[: len(found) or None] == found


def test_a_question_is_asked_only_where_a_name_is_alike():
    assert did_you_mean("BadFeild", CLASSES) == " (did you mean BadField?)"
    assert did_you_mean("xyz", CLASSES) == ""
