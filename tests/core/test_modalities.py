"""Names of ready-made vectors: which are refused, and that filters read the others as columns."""

from __future__ import annotations

import re

import lance
import numpy as np
import pyarrow as pa
import pytest

from fuseid.core.errors import BadInput
from fuseid.core.modalities import ENCODED, VECTOR_NAME, check_name, modalities, ready_made
from fuseid.core.schemas import contents_schema

COLUMNS = contents_schema({}).names
# Words with a meaning in some dialect of SQL, as often as not good names for a column of vectors.
WORDS = re.findall(r"\w+", """
current_date current_time current_timestamp localtime localtimestamp top
add all alter and any array as asc at audio between bool both by case cast char check code collate column content
create cross current cube date day dec default delete desc distinct do drop each else end engagement escape except
exists explain extract false fetch filter first float for foreign from full geometry glob global group grouping having
hour if ignore ilike image in index inner insert int intersect interval into is isnull join json key last lateral
leading left like likes limit listens map match minute mod month music natural no not notnull null nulls of offset on
only or order out outer over overlaps partition path pi pivot plan position primary qualify random range real regexp
returning right rlike rollup row rows sample second select set similar some sound stream struct substring sum table
tag text then time timestamp to trailing trim true try unbounded union unique unknown unnest update use user using uuid
values video view views when where window with within xor year zone
""")  # fmt: skip


@pytest.mark.parametrize("name", ["audio", "external", "a", "e5_large_v2", "a" * 31, "likes", "user"])
def test_names_of_lower_case_letters_digits_and_underscores_are_accepted(name):
    check_name(name, COLUMNS)


@pytest.mark.parametrize(
    "name", ["", "A", "Audio", "1st", "_audio", "au dio", "au-dio", "audiö", "audio\n", "a" * 32, "a.b", "a`b", "a'b"]
)
def test_other_names_are_refused_with_what_a_name_has(name):
    with pytest.raises(BadInput, match=rf"^{re.escape(repr(name))} cannot name vectors; a name has lower-case letters"):
        check_name(name, COLUMNS)


@pytest.mark.parametrize(
    "name", [*COLUMNS, *(modality.name for modality in ENCODED), "fused", "audio_fp", "score", "score_text", "space"]
)
def test_names_of_columns_are_refused(name):
    with pytest.raises(BadInput, match=f"^'{name}' cannot name vectors: "):
        check_name(name, COLUMNS)


@pytest.mark.parametrize("name", [column.removesuffix("_fp") for column in COLUMNS if column.endswith("_fp")])
def test_names_whose_fingerprints_would_be_in_a_column_that_there_is_are_refused(name):
    with pytest.raises(BadInput, match=f"^'{name}' cannot name vectors: fuseid itself has a column"):
        check_name(name, COLUMNS)


def why_refused(name):
    try:
        check_name(name, COLUMNS)
    except BadInput as error:
        return str(error)
    return None


def test_a_filter_reads_every_accepted_name_as_a_column(tmp_path):
    assert all(re.fullmatch(VECTOR_NAME, word) for word in WORDS)
    accepted = [word for word in dict.fromkeys(WORDS) if why_refused(word) is None]
    assert {why_refused(word).partition(": ")[2] for word in {*WORDS} - {*accepted}} == {
        "it is a word of SQL; choose another, like audio"
    }
    assert len(accepted) > 0.9 * len(WORDS)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(4, np.float32)), 2, mask=pa.array([False, True]))
    table = pa.table({"content_id": ["a", "b"], **dict.fromkeys(accepted, vectors)})
    dataset = lance.write_dataset(table, tmp_path / "words.lance")
    for word in accepted:
        for where in (f"{word} IS NOT NULL", f"content_id <> 'b' AND {word} IS NOT NULL", f"({word} IS NOT NULL)"):
            found = dataset.to_table(columns=["content_id", word], filter=where)
            assert found["content_id"].to_pylist() == ["a"], where
        assert dataset.count_rows(f"starts_with(content_id, 'a') AND {word} IS NULL") == 0


def test_modalities_are_in_the_order_of_fusion_whatever_the_order_of_names():
    names = ["likes", "vlm", "audio", "clip_image"]
    for order in (names, sorted(names), names[::-1]):
        assert [each.name for each in modalities(order)] == ["clip_image", "vlm", "audio", "likes"]
    assert ready_made("audio").fingerprint == "audio_fp"
