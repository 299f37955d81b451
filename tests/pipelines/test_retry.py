"""Retry: the next ingest tries rejected items again, unchanged as they are."""

import pytest

from fuseid.core.errors import StoreError
from fuseid.pipelines.retry import retry


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


def test_all_are_tried_again(with_rejects):
    assert with_rejects.ingest(with_rejects.rejects, config=with_rejects.strict).counts["rejected_before"] == 2
    assert retry(with_rejects.uri(), with_rejects.settings()).counts["marked"] == 2
    run = with_rejects.ingest(with_rejects.rejects, config=with_rejects.strict)
    assert (run.counts["planned"], run.counts["rejected"]) == (2, 2)
    assert [row["attempts"] for row in with_rejects.rows("rejected").values()] == [2, 2]


def test_a_raised_limit_is_a_new_try_by_itself(with_rejects):
    run = with_rejects.ingest(with_rejects.rejects)
    assert (run.counts["planned"], run.counts["committed"], run.counts["rejected"]) == (2, 1, 1)
    (left,) = with_rejects.rows("rejected").values()
    assert (left["content_id"], left["attempts"]) == ("missing", 2)
    assert "long" in with_rejects.rows()


def test_one_class_only(with_rejects):
    assert retry(with_rejects.uri(), with_rejects.settings(), "TooLarge").counts["marked"] == 1
    run = with_rejects.ingest(with_rejects.rejects, config=with_rejects.strict)
    assert (run.counts["planned"], run.counts["rejected_before"]) == (1, 1)


@pytest.mark.parametrize("name", ["Nothing", "' OR '1'='1"])
def test_a_class_that_no_item_has_marks_none(with_rejects, name):
    assert retry(with_rejects.uri(), with_rejects.settings(), name).counts["marked"] == 0
    again = with_rejects.ingest(with_rejects.rejects, config=with_rejects.strict, load=with_rejects.no_model)
    assert again.counts["planned"] == 0


def test_there_must_be_a_database(tmp_path):
    from fuseid.core.config import Config

    with pytest.raises(StoreError, match="no database"):
        retry(str(tmp_path / "nowhere"), Config())
