"""The command pairs: what it writes, prints and refuses."""

from __future__ import annotations

import pytest

from fuseid.pipelines.engagement.pairs_file import read_pairs

SOME = ("pairs", "--interactions", "events.csv", "--out", "new.parquet", "--least", "1")


def test_it_writes_pairs_and_prints_counts_coverage_and_examples(folder, events, as_text, as_json):
    said = as_text(*SOME, "--method", "window", "--window", "2")
    assert "written to new.parquet" in said
    assert "12 of 12, 2024-05-01T12:00:00+00:00 to 2024-05-01T12:11:00+00:00" in said
    assert "12 head" not in said
    assert "2 head" in said
    assert "examples" in said
    # Each of two users has six items: pairs at distance 1 and 2.
    assert len(read_pairs(folder / "new.parquet")) == 2 * (5 + 4)
    (folder / "new.parquet").unlink()
    document = as_json(*SOME, "--method", "cooccurrence", "--db", "db", "--until", "2024-05-01T12:06Z", "--by-distance")
    assert (document["counts"]["later"], document["counts"]["users"]) == (6, 2)
    assert document["options"]["by_distance"] is True
    assert "caption" in document["examples"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "swng"], "did you mean swing?"),
        (["--method", "swing", "--window", "3"], "--window belongs to window and cooccurrence, not to swing"),
        (["--method", "window", "--until", "soon"], "--until takes a time stamp"),
        (
            ["--method", "window", "--until", "2024-05-01T00:00Z"],
            "none of the 12 interactions is before 2024-05-01T00:00:00+00:00",
        ),
        (["--method", "window", "--window", "0"], "--window is 1 to 500, got 0"),
        (["--method", "swing"], "no pair is left of 12 events of 2 users"),
        (["--method", "window", "--db", "nowhere"], "no database at nowhere"),
        (["--method", "window", "--runner", "locl"], "did you mean local?"),
        (["--method", "window", "--out", "events.csv"], "--out names a new .parquet file"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(folder, events, refused, arguments, said):
    before = sorted(folder.iterdir())
    assert said in refused(*SOME, *arguments)
    assert sorted(folder.iterdir()) == before
