"""Conditions with something behind their end are refused, and those that find nothing because of a misspelt name."""

import lance
import pyarrow as pa
import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.store.conditions import check_names, check_whole


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> lance.LanceDataset:
    texts = ['{"colour": "red", "style": {"name": "old"}}', '{"views": 3, "cook.minutes": 9, "it\'s": 1}', "{}"]
    table = pa.table({"kind": ["image", "text", "text"], "attributes": pa.array(texts, pa.json_(pa.utf8()))})
    return lance.write_dataset(table, str(tmp_path_factory.mktemp("conditions") / "contents.lance"))


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("kind = 'vidoe'", "unknown kind 'vidoe'; did you mean video? There are image, video, text"),
        ("'imagee' = kind OR kind='text'", "unknown kind 'imagee'"),
        ("caption IS NULL AND kind IN ('image', 'Video')", "unknown kind 'Video'; did you mean video?"),
        ("json_get_string(attributes, 'color') = 'red'", "has an attribute 'color'; did you mean colour?"),
        ("json_extract(attributes, '$.stile.name') = '\"old\"'", "has an attribute 'stile'; did you mean style?"),
        ("json_exists(attributes, '$.prize')", "has an attribute 'prize'; there are colour, cook.minutes, it's, style"),
        ("json_exists(attributes, '$.coluor ? (@ == \"red\")')", "has an attribute 'coluor'; did you mean colour?"),
        ("json_exists(attributes, '$.\"cook.minuets\" ? (@ < 3)')", "did you mean cook.minutes?"),
    ],
)
def test_a_name_that_nothing_has_is_refused(contents, where, said):
    with pytest.raises(BadInput) as caught:
        check_names(contents, where)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "where",
    [
        "kind = 'video'",
        "kind <> 'image' AND kind IN ('video')",
        "caption = 'kind of blue'",
        "mankind = 'x'",
        "json_get_string(attributes, 'colour') = 'blue'",
        "json_extract(attributes, '$.style.year') = '1'",
        "json_exists(attributes, '$.colour ? (@ == \"blue\")')",
        "json_exists(attributes, '$.style[*] ? (@.name == \"new\")')",
        "json_exists(attributes, '$.\"cook.minutes\" ? (@ < 3)')",
        "json_exists(attributes, '$[\"style\"].year')",
        "json_exists(attributes, '$.\"it''s\" ? (@ > 3)')",
        "json_get_int(attributes, 'cook.minutes') < 3",
        "json_exists(attributes, '$.*.year')",
        "NOT json_exists(attributes, '$')",
    ],
)
def test_a_condition_of_known_names_may_find_nothing(contents, where):
    check_names(contents, where)


@pytest.mark.parametrize(
    ("where", "rest"),
    [
        ("kind = 'image' adn attributes IS NULL", "adn"),
        ("kind = 'image' kind = 'text'", "kind"),
        ("kind = 'image'; kind = 'text'", ";"),
        ("kind = 'image', kind = 'text'", ","),
        ("kind = 'image')", ")"),
        ("(kind = 'image') OR (kind = 'text'))", ")"),
        ("kind = 'image' LIMIT 5", "LIMIT"),
        ("kind = 'image' -- a comment\n kind", "kind"),
        ("true 'its'", "'its'"),
    ],
)
def test_what_is_behind_the_end_of_a_condition_is_not_ignored(contents, where, rest):
    assert contents.count_rows(where) > 0  # Lance ignores it
    with pytest.raises(BadInput) as caught:
        check_whole(contents, where)
    assert f"has more behind its end, from {rest!r} on, which would be ignored" in str(caught.value)


@pytest.mark.parametrize(
    "where",
    [
        "kind = 'image'", "kind = 'a) garbage'", "kind IN ('image', 'text') AND attributes IS NOT NULL -- why",
        "true", "null",
        "kind LIKE '%a' /* so */", "NOT (kind = 'image' OR kind BETWEEN 'a' AND 'b')", "kind = 'it''s'",
        "json_get_int(attributes, 'views') > 2", "CAST(kind AS STRING) = 'image'",
        # For Lance to refuse.
        "knd = 'image'", "kind = ", "(kind = 'image'", "", "CAST(kind) = 3", "fold(kind) = 'a'",
    ],
)  # fmt: skip
def test_whole_conditions_pass_and_other_mistakes_are_for_others(contents, where):
    check_whole(contents, where)


def test_a_condition_is_not_computed_when_it_is_checked(contents):
    """It would take hours, outside the time limit of a query."""
    check_whole(contents, "levenshtein(repeat('a', 9000000), repeat('b', 9000000)) = 1")
