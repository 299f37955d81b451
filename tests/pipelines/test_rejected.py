"""Retry: the next ingest tries rejected items again although they have not changed."""

import pytest

from fuseid.core.errors import BadInput, StoreError
from fuseid.pipelines.rejected import rejected, retry


@pytest.fixture
def with_rejects(workspace):
    workspace.rejects = [
        {"content_id": "missing", "uri": "nowhere.png"},
        {"content_id": "long", "caption": "x" * 50},
        *workspace.captions(2),
    ]
    workspace.strict = workspace.settings(decode={"max_caption_chars": 40})
    workspace.ingest(workspace.rejects, config=workspace.strict)
    return workspace


def test_retry_tries_every_rejected_item_again(with_rejects):
    assert with_rejects.ingest(with_rejects.rejects, config=with_rejects.strict).counts["rejected_before"] == 2
    assert retry(with_rejects.uri(), with_rejects.settings()).counts["marked"] == 2
    run = with_rejects.ingest(with_rejects.rejects, config=with_rejects.strict)
    assert (run.counts["planned"], run.counts["rejected"]) == (2, 2)
    assert [row["attempts"] for row in with_rejects.rows("rejected").values()] == [2, 2]


def test_a_raised_limit_retries_without_a_command(with_rejects):
    run = with_rejects.ingest(with_rejects.rejects)
    assert (run.counts["planned"], run.counts["committed"], run.counts["rejected"]) == (2, 1, 1)
    (left,) = with_rejects.rows("rejected").values()
    assert (left["content_id"], left["attempts"]) == ("missing", 2)
    assert "long" in with_rejects.rows()


def test_retry_may_be_limited_to_one_error_class(with_rejects):
    assert retry(with_rejects.uri(), with_rejects.settings(), "TooLarge").counts["marked"] == 1
    run = with_rejects.ingest(with_rejects.rejects, config=with_rejects.strict)
    assert (run.counts["planned"], run.counts["rejected_before"]) == (1, 1)


def test_an_error_class_without_items_marks_nothing(with_rejects):
    assert retry(with_rejects.uri(), with_rejects.settings(), "EncodeFailed").counts["marked"] == 0
    again = with_rejects.ingest(with_rejects.rejects, config=with_rejects.strict, load=with_rejects.no_model)
    assert again.counts["planned"] == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [("Toolarge", "did you mean TooLarge"), ("Corupt", "did you mean CorruptMedia"), ("' OR '1'='1", "")],
)
def test_an_unknown_error_class_is_answered_with_the_nearest(with_rejects, name, said):
    for ask in (
        lambda: rejected(with_rejects.uri(), name),
        lambda: retry(with_rejects.uri(), with_rejects.settings(), name),
    ):
        with pytest.raises(BadInput) as caught:
            ask()
        assert f"unknown error class {name!r}; {said}" in str(caught.value)


def test_there_must_be_a_database(tmp_path):
    from fuseid.core.config import Config

    with pytest.raises(StoreError, match="no database"):
        retry(str(tmp_path / "nowhere"), Config())


def test_items_that_were_tried_often_are_left_alone_and_counted(with_rejects):
    uri, rows, strict = with_rejects.uri(), with_rejects.rejects, with_rejects.strict
    retry(uri, strict, "TooLarge")
    with_rejects.ingest(rows, config=strict)
    assert {name: row["attempts"] for name, row in with_rejects.rows("rejected").items()} == {"missing": 1, "long": 2}
    counts = retry(uri, strict, max_attempts=2).counts
    assert (counts["marked"], counts["left_alone"]) == (1, 1)
    run = with_rejects.ingest(rows, config=strict)
    assert (run.counts["planned"], run.counts["rejected_before"]) == (1, 1)
    with pytest.raises(BadInput, match="max_attempts="):
        retry(uri, strict, max_attempts=0)


def test_rejected_items_are_counted_by_class_and_listed(with_rejects):
    found = rejected(with_rejects.uri())
    assert found["items"] == 2
    assert {(row["error_class"], row["stage"], row["items"]) for row in found["classes"]} == {
        ("MissingFile", "decode", 1), ("TooLarge", "decode", 1),
    }  # fmt: skip
    assert {row["content_id"] for row in found["rows"]} == {"missing", "long"}
    (only,) = rejected(with_rejects.uri(), "TooLarge")["rows"]
    assert (only["content_id"], only["attempts"]) == ("long", 1)
    assert rejected(with_rejects.uri(), "EncodeFailed") == {"items": 0, "classes": [], "rows": []}
    assert len(rejected(with_rejects.uri(), limit=1)["rows"]) == 1
    assert rejected(with_rejects.uri(), limit=0)["rows"] == []
    with pytest.raises(BadInput, match="limit="):
        rejected(with_rejects.uri(), limit=-1)
