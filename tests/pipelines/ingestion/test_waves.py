"""Waves: when one is committed, and how too many rejections stop a run, which keeps the good items."""

from __future__ import annotations

import shlex

import numpy as np
import pytest

from fuseid.core.errors import TooManyRejected
from fuseid.pipelines.ingestion import waves
from fuseid.pipelines.rejected import retry


def catalogue(workspace, items, bad):
    """`items` captions, every one with a number in `bad` far too long."""
    rows = workspace.captions(items)
    return [row | ({"caption": "x" * 500} if i in bad else {}) for i, row in enumerate(rows)]


def config(workspace, limit, **run):
    return workspace.settings(
        decode={"max_caption_chars": 100},
        run={"block_rows": 10, "wave_rows": 1000, "wave_vectors": 1000, "max_rejected": limit, **run},
    )


@pytest.mark.parametrize(
    ("limit", "bad", "stops"),
    [
        (None, range(30), False),
        ("5%", range(5), False),  # no share is judged before 100 items are seen
        ("5%", range(14), True),
        ("5%", range(140, 148), True),
        ("5%", range(140, 147), False),
        ("7", range(7), False),
        ("6", range(7), True),
        (0, [149], True),
    ],
)
def test_the_limit_of_failures_is_a_share_or_a_number(workspace, limit, bad, stops):
    rows, settings = catalogue(workspace, 150, set(bad)), config(workspace, limit)
    if not stops:
        counts = workspace.ingest(rows, config=settings).counts
        assert (counts["committed"], counts["rejected"]) == (150 - len(bad), len(bad))
        return
    with pytest.raises(TooManyRejected, match=r"items failed.*run\.max_rejected.*TooLarge") as caught:
        workspace.ingest(rows, config=settings)
    assert caught.value.exit_status == 4
    assert "\n" not in str(caught.value)
    (run,) = workspace.store().dataset("runs").to_table().to_pylist()
    assert run["outcome"].startswith("failed: ")
    assert len(workspace.rows()) > 0
    assert '"TooLarge"' in run["rejected"]


def test_good_items_are_committed_before_a_run_fails(workspace):
    rows = [{"content_id": f"p{i}", "uri": workspace.picture(f"{i}.png", i)} for i in range(3)]
    rows += workspace.captions(40)
    workspace.ingest(rows)
    workspace.fit()
    before = workspace.rows()
    # In this run known and new items fail alike.
    for i in range(3):
        (workspace.media / f"{i}.png").write_bytes(b"")
    rows += catalogue(workspace, 60, range(40, 45))[40:]
    settings = config(workspace, "7")
    with pytest.raises(TooManyRejected):
        workspace.ingest(rows, config=settings)
    after = workspace.rows()
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"t045", "t046"}
    assert workspace.rows("rejected").keys() == {f"t{i:03d}" for i in range(40, 45)}

    # The cause is removed.
    for i in range(3):
        workspace.picture(f"{i}.png", i)
    retry(workspace.uri(), settings)
    run = workspace.ingest(rows, config=workspace.settings(decode={"max_caption_chars": 1000}))
    assert (run.counts["rejected"], len(workspace.rows()), workspace.rows("rejected")) == (0, 63, {})


def test_items_rejected_before_do_not_count_as_failures_again(workspace):
    rows, settings = catalogue(workspace, 30, range(25, 29)), config(workspace, "10%")
    with pytest.raises(TooManyRejected, match="4 of 30 items failed"):
        workspace.ingest(rows, config=settings)
    run = workspace.ingest(rows, config=settings, load=workspace.no_model)
    assert (run.counts["rejected_before"], run.counts["unchanged"]) == (4, 26)


OUTSIDE = r"all 3 items were rejected, most often as NotAllowed \(2\), such as 'a': '/etc/hostname' leads outside"


@pytest.mark.slow
def test_a_run_in_which_every_item_was_rejected_ends_with_4(workspace):
    rows = [{"content_id": name, "uri": "/etc/hostname"} for name in "ab"] + [{"content_id": "c", "caption": " "}]
    for limit in (None, "99.9%", "50"):  # a limit in items does not apply to the whole
        with pytest.raises(TooManyRejected) as caught:
            workspace.ingest(rows, config=workspace.settings(run={"max_rejected": limit}), db=f"db{limit}")
        assert caught.value.exit_status == 4
        assert "\n" not in str(caught.value)
    with pytest.raises(TooManyRejected, match=OUTSIDE) as caught:
        workspace.ingest(rows)
    assert all(part in str(caught.value) for part in ("source.allow", "run.max_rejected", "fuseid retry"))
    assert {name: row["error_class"] for name, row in workspace.rows("rejected").items()} == {
        "a": "NotAllowed", "b": "NotAllowed", "c": "EmptyItem"
    }  # fmt: skip
    (run,) = workspace.store().dataset("runs").to_table().to_pylist()
    assert run["outcome"].startswith("failed: all 3 items were rejected")

    # In the next run nothing is new and nothing is committed.
    with pytest.raises(TooManyRejected, match=OUTSIDE):
        workspace.ingest(rows, load=workspace.no_model)
    run = workspace.ingest(rows, config=workspace.settings(run={"max_rejected": "100%"}), load=workspace.no_model)
    assert run.counts["rejected_before"] == 3
    assert workspace.ingest([*rows, *workspace.captions(1)]).counts["committed"] == 1
    assert workspace.ingest([*rows, *workspace.captions(1)]).counts["unchanged"] == 1


def test_a_run_in_which_every_item_failed_costs_no_known_item_and_prunes_nothing(workspace):
    rows = workspace.captions(20)
    workspace.ingest(rows)
    before = workspace.rows()
    bad = [{**row, "caption": [row["caption"]]} for row in rows[:-1]] + [{"content_id": "new", "caption": 5}]
    small = {"block_rows": 4, "wave_rows": 8, "wave_vectors": 8, "max_prune": "100%"}
    with pytest.raises(TooManyRejected, match="all 20 items were rejected, most often as BadField") as caught:
        workspace.ingest(bad, prune=True, config=workspace.settings(run=small))
    assert "19 known items keep their rows (run.max_rejected: 100% would move 19 of them to the " in str(caught.value)
    assert f"`fuseid rejected --db {workspace.uri()}` lists 1 others: correct" in str(caught.value)
    # Where none but known items fail, `rejected` has none of them.
    with pytest.raises(
        TooManyRejected, match=r"19 known items keep their rows.*Correct the cause and run again"
    ) as caught:
        workspace.ingest(bad[:-1], config=workspace.settings(run=small))
    assert "fuseid re" not in str(caught.value)
    assert workspace.rows() == before
    assert workspace.rows("rejected").keys() == {"new"}
    # It is allowed: then each is rejected, and what is not listed goes.
    run = workspace.ingest(bad, prune=True, config=workspace.settings(run={**small, "max_rejected": "100%"}))
    assert (run.counts["rejected"], run.counts["pruned"]) == (19, 1)
    assert workspace.rows() == {}


def test_the_remedies_can_be_pasted_and_a_column_that_was_not_read_is_named(workspace):
    rows = [{"content_id": name, "uri": None, "Caption": "words"} for name in "ab"]
    with pytest.raises(
        TooManyRejected,
        match=r"\(columns of the manifest that were not read: Caption; is Caption meant for caption\?\)",
    ) as caught:
        workspace.ingest(rows, db="a b'c")
    uri = workspace.uri("a b'c")
    commands = [shlex.split(text) for text in str(caught.value).split("`")[1::2]]
    assert commands == [["fuseid", name, "--db", uri] for name in ("rejected", "retry")]
    with pytest.raises(TooManyRejected, match=r"max_rejected.*not read: Caption") as caught:
        workspace.ingest([*rows, *workspace.captions(1)], db="a b'd", config=config(workspace, "1"))
    commands = [shlex.split(text) for text in str(caught.value).split("`")[1::2]]
    assert commands == [["fuseid", name, "--db", workspace.uri("a b'd")] for name in ("rejected", "retry")]
    (note,) = [note for note in workspace.ingest(workspace.captions(1), db="e f").notes if "fuseid fit" in note]
    assert shlex.split(note.split("`")[1]) == ["fuseid", "fit", "--db", workspace.uri("e f")]


def test_known_items_that_are_missing_do_not_fail_the_run(workspace):
    rows = [{"content_id": "a", "uri": workspace.picture("a.png", 1)}]
    workspace.ingest(rows)
    (workspace.media / "a.png").unlink()
    rows.append({"content_id": "b", "uri": "none.png"})
    assert workspace.ingest(rows).counts["rejected"] == 1


@pytest.mark.parametrize("limit", ["5 %", "-1", "many", 0.05, -3, True, "5%%"])
def test_an_invalid_limit_is_refused(workspace, limit):
    with pytest.raises(ValueError, match="a share like 5% or a number of items like 100"):
        config(workspace, limit)


def test_waves_are_of_the_size_that_the_config_gives(bare, cluster):
    seen = []
    config = bare.settings(clip=None, run={"block_rows": 5, "wave_rows": 10, "wave_vectors": 10})
    bare.ingest_vectors(cluster(23), config=config, after_wave=lambda n: seen.append((n, len(bare.rows()))))
    assert seen == [(1, 10), (2, 20), (3, 23)]


def test_a_wave_is_committed_early_where_its_rows_are_large(bare, monkeypatch):
    monkeypatch.setattr(waves, "_WAVE_BYTES", (128 << 20) // 10)
    vectors = {f"v{number}": np.random.default_rng(number).normal(size=40_000) for number in range(120)}
    config = bare.settings(clip=None, run={"wave_rows": 5000, "wave_vectors": 5000, "block_rows": 10})
    sizes: list[int] = []

    def committed(count: int) -> None:
        sizes.append(bare.store().dataset("contents").count_rows())

    bare.ingest_vectors(vectors, config=config, after_wave=committed)
    assert sizes == [104, 120]  # a batch of 16.6 MB exceeds the limit of 13.4 MB
