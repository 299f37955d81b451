"""Ready-made vectors beside media and other vectors: each ingest writes its own columns only, in whatever order."""

from __future__ import annotations

import shutil
from itertools import permutations

import numpy as np
import pytest

from fuseid.core.errors import BadInput, FingerprintMismatch
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.ingestion.steps import load_encoders
from fuseid.pipelines.sources.vectors import Vectors

AUDIO, ENGAGEMENT = {"audio", "audio_fp"}, {"engagement", "engagement_fp"}
FUSED = {"fused", "fused_fp"}


def fake(workspace, **changes):
    """Settings with encoders that cost nothing."""
    return workspace.settings(clip={"model": "fake:16"}, **changes)


def ingest_media(workspace, rows, db="db"):
    return workspace.ingest(rows, db, fake(workspace), load_encoders)


def catalogue(workspace):
    """Ten pictures, five captions, one file that is no picture."""
    rows = [{"content_id": f"p{i}", "uri": workspace.picture(f"p{i}.png", i), "caption": f"dog {i}"} for i in range(10)]
    (workspace.media / "broken.png").write_bytes(b"no picture")
    return [*rows, *workspace.captions(5), {"content_id": "broken", "uri": "broken.png"}]


@pytest.fixture(scope="module")
def mixed_once(tmp_path_factory, make_bare):
    workspace = make_bare(tmp_path_factory.mktemp("mixed"))
    rows = catalogue(workspace)
    ingest_media(workspace, rows)
    workspace.fit(clip={"model": "fake:16"})
    return workspace, rows


@pytest.fixture
def mixed(bare, mixed_once):
    """A catalogue of media, `listed`, with IDs; made once and copied."""
    made, rows = mixed_once
    shutil.copytree(made.media, bare.media, dirs_exist_ok=True)
    shutil.copytree(made.uri(), bare.uri())
    bare.listed = [dict(row) for row in rows]
    return bare


def vectors(names, dim, seed=0):
    return dict(zip(names, np.random.default_rng(seed).normal(size=(len(names), dim)).tolist(), strict=True))


# One's own columns


def test_vectors_of_several_names_and_sizes_lie_side_by_side_and_touch_nothing_else(mixed):
    before = mixed.rows()
    run = mixed.ingest_vectors(mixed.parquet(vectors(["p0", "t001", "new"], 8)), name="audio")
    assert (run.counts["committed"], run.counts["updated"]) == (3, 2)
    changes = mixed.changes(before)
    assert (changes.pop("p0"), changes.pop("t001")) == (AUDIO, AUDIO)
    assert changes.keys() == {"new"}
    assert mixed.rows()["new"]["sid"] is None

    before = mixed.rows()
    mixed.ingest_vectors(mixed.parquet(vectors(["p0", "p1", "new"], 3)), name="engagement")
    assert mixed.changes(before) == {"p0": ENGAGEMENT, "p1": ENGAGEMENT, "new": ENGAGEMENT}
    assert mixed.store().dims() == {"clip_image": 16, "clip_text": 16, "fused": 16, "audio": 8, "engagement": 3}


def test_a_vector_that_the_fusion_knows_changes_the_fused_vector_and_never_the_id(bare):
    names = [f"v{i:02d}" for i in range(30)]
    for name, dim in (("audio", 8), ("engagement", 3)):
        bare.ingest_vectors(bare.parquet(vectors(names, dim)), name=name)
    bare.fit()
    before = bare.rows()
    bare.ingest_vectors(bare.parquet(vectors(names, 8) | {"v03": [1.0] * 8}), name="audio")
    assert bare.changes(before) == {"v03": AUDIO | FUSED}
    assert np.linalg.norm(bare.rows()["v03"]["fused"]) == pytest.approx(1)

    # As if it had been so from the beginning: the same fused vector as that of a new item with the same vectors.
    before = bare.rows()
    bare.ingest_vectors(bare.parquet({"twin": [1.0] * 8}), name="audio")
    bare.ingest_vectors(bare.parquet({"twin": before["v03"]["engagement"]}), name="engagement")
    assert bare.rows()["twin"]["fused"] == before["v03"]["fused"]
    assert bare.changes(before).keys() == {"twin"}


def test_a_run_without_changes_makes_no_version_of_the_table(mixed):
    path = mixed.parquet(
        vectors(["p0", "t001", "a", "it's", "日本 😀", "x" * 300, " "], 8) | {"bad": [0.0] * 8}, caption=["c"] * 8
    )
    mixed.ingest_vectors(path, name="audio")
    mixed.ingest_vectors(path, name="audio")  # maintenance merges the new fragment only once it is indexed
    before = mixed.store().versions(), mixed.rows()
    again = mixed.ingest_vectors(path, name="audio")
    assert (mixed.store().versions(), mixed.rows()) == before
    counts = ("unchanged", "rejected_before", "planned", "committed")
    assert [again.counts[name] for name in counts] == [7, 1, 0, 0]


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 7, 100])
def test_the_size_of_waves_does_not_show_in_the_database(bare, size):
    first, second = vectors([f"v{i:02d}" for i in range(20)], 4), vectors([f"v{i:02d}" for i in range(10, 40)], 4, 1)
    first["v05"], second["v15"], second["v35"] = [0.0] * 4, [0.0] * 4, [0.0] * 4
    for db, rows in (("db", size), ("other", 32)):
        for each in (first, second):
            bare.ingest_vectors(bare.parquet(each), db, bare.settings(clip=None, run={"wave_vectors": rows}), "audio")
    for table in ("contents", "rejected"):
        ours, theirs = bare.rows(table), bare.rows(table, "other")
        for row in (*ours.values(), *theirs.values()):
            for column in ("run_id", "updated_at", "first_run", "last_run"):
                row.pop(column, None)
        assert ours == theirs


# Notes and refusals


def test_a_name_that_came_after_the_fit_is_stored_and_said_not_to_be_fused(mixed):
    fusion = mixed.store().setting("fusion")
    run = mixed.ingest_vectors(mixed.parquet(vectors(["p0"], 8)), name="audio")
    said = f"audio is stored, not yet fused: {fusion} was fitted without it, so it changes no ID; `fuseid fit "
    (note,) = [note for note in run.notes if note.startswith(said)]
    assert note.endswith(" --refit-fusion` makes the next fusion, with it")


def test_no_such_note_is_made_before_a_fit_or_when_the_fusion_knows_the_name(bare):
    path = bare.parquet(vectors([f"v{i:02d}" for i in range(30)], 8))
    runs = [bare.ingest_vectors(path, name="audio")]
    bare.fit()
    runs.append(bare.ingest_vectors(path, name="audio"))
    assert not [note for run in runs for note in run.notes if "not yet fused" in note]


def test_a_seventh_kind_of_vectors_is_refused_and_nothing_changes(bare):
    names = ["audio", "beat", "genre", "likes", "mood", "voice"]
    for name in names:
        bare.ingest_vectors(bare.parquet({"a": [1.0, 2.0]}), name=name)
    before = bare.rows(), bare.store().versions()
    with pytest.raises(BadInput, match=r"has 6 kinds of vectors \(audio, .*, voice\), and cannot have more") as caught:
        bare.ingest_vectors(bare.parquet({"b": [1.0]}), name="tempo")
    assert "\n" not in str(caught.value)
    assert (bare.rows(), bare.store().versions()) == before
    # Those that are there can still be written.
    bare.ingest_vectors(bare.parquet({"a": [2.0, 1.0]}), name="mood")
    assert bare.changes(before[0]) == {"a": {"mood", "mood_fp"}}


def test_media_that_would_bring_a_seventh_kind_are_refused_and_nothing_changes(bare):
    for name in ("audio", "beat", "genre", "likes", "mood"):
        bare.ingest_vectors(bare.parquet({"a": [1.0, 2.0]}), name=name)
    before = bare.rows(), bare.store().dims()
    with pytest.raises(
        BadInput, match=r"has 5 kinds of vectors \(audio, .*, mood\), and cannot have clip_image and clip_text too"
    ):
        ingest_media(bare, [{"content_id": "p", "uri": bare.picture("p.png", 0), "caption": "words"}])
    assert (bare.rows(), bare.store().dims(), bare.rows("rejected")) == (*before, {})
    ingest_media(bare, bare.captions(3))  # captions alone bring the sixth
    assert len(bare.rows()) == 4


def test_vectors_of_another_length_than_those_of_their_name_are_refused(mixed):
    mixed.ingest_vectors(mixed.parquet(vectors(["p0"], 8)), name="audio")
    before = mixed.rows(), mixed.store().versions()
    with pytest.raises(FingerprintMismatch, match=r"audio vectors of 3 numbers .* audio has 8; .* name=") as caught:
        mixed.ingest_vectors(mixed.parquet(vectors(["p1"], 3)), name="audio")
    assert "\n" not in str(caught.value)
    assert (mixed.rows(), mixed.store().versions()) == before


def test_a_list_of_named_vectors_is_not_the_whole_catalogue(mixed):
    before = mixed.rows()
    with pytest.raises(BadInput, match="audio vectors are not the whole catalogue"):
        mixed.ingest_vectors(mixed.parquet(vectors(["p0"], 8)), name="audio", prune=True)
    assert mixed.rows() == before


# Media beside vectors


def test_edited_media_and_captions_keep_vectors_and_ids(mixed):
    rows = mixed.listed
    mixed.ingest_vectors(mixed.parquet(vectors(["p0", "p1", "t001", "t002"], 8)), name="audio")
    before = mixed.rows()
    mixed.picture("p0.png", 100)
    for row in rows:
        if row["content_id"] == "t001":
            row["caption"] = "other words"
    ingest_media(mixed, rows)
    after = mixed.rows()
    changes = mixed.changes(before)
    assert changes.keys() == {"p0", "t001"}
    assert {"media_hash", "thumbnail", "clip_image", "fused"} <= changes["p0"]
    for name in changes:
        for column in (*AUDIO, "sid", "codes"):
            assert after[name][column] == before[name][column]


def test_an_item_with_vectors_whose_medium_breaks_stays_where_it_is_night_after_night(mixed):
    rows = mixed.listed
    path = mixed.parquet(vectors(["p0", "broken"], 8))
    mixed.ingest_vectors(path, name="audio")
    (mixed.media / "p0.png").write_bytes(b"no picture any more")
    before = mixed.rows()
    assert mixed.rows("rejected") == {}
    for _ in range(2):
        run = ingest_media(mixed, rows)
        assert run.counts["missing_kept"] == 2
        (note,) = (note for note in run.notes if "cannot be read now" in note)
        assert note.startswith(
            "2 known items cannot be read now, and their rows stay, most often as Unrecognised (2), "
        )
        assert "such as 'p0': " in note or "such as 'broken': " in note
        assert mixed.ingest_vectors(path, name="audio").counts["planned"] == 0
        assert (mixed.changes(before), mixed.rows("rejected")) == ({}, {})
    # An item without vectors is rejected, as ever.
    (mixed.media / "p1.png").write_bytes(b"no picture any more")
    ingest_media(mixed, rows)
    assert mixed.rows("rejected").keys() == {"p1"}
    assert mixed.changes(before).keys() == {"p1"}


def test_a_manifest_takes_over_an_item_that_vectors_brought(mixed):
    mixed.ingest_vectors(
        mixed.parquet(vectors(["t900", "p900"], 8), caption=["of the file"] * 2, kind=["video"] * 2), name="audio"
    )
    before = mixed.rows()
    assert [before[name]["caption"] for name in ("t900", "p900")] == ["of the file"] * 2
    rows = [
        {"content_id": "t900", "caption": "of the manifest"},
        {"content_id": "p900", "uri": mixed.picture("p900.png", 900)},
    ]
    ingest_media(mixed, rows)
    after = mixed.rows()
    assert (after["t900"]["caption"], after["t900"]["kind"], after["t900"]["source_stat"]) == (
        "of the manifest", "text", None,
    )  # fmt: skip
    assert (after["p900"]["caption"], after["p900"]["kind"]) == (None, "image")
    assert after["p900"]["clip_image"] is not None
    assert all(after[name]["audio"] == before[name]["audio"] for name in ("t900", "p900"))
    # And keeps it: what the file of vectors says is ignored from now on.
    again = mixed.ingest_vectors(
        mixed.parquet(vectors(["t900", "p900"], 8), caption=["another"] * 2, kind=["video"] * 2), name="audio"
    )
    assert (again.counts["unchanged"], mixed.changes(after)) == (2, {})
    assert ingest_media(mixed, rows).counts["unchanged"] == 2


# Any order


def sources(workspace):
    """How the three sources of one catalogue are ingested: some items are in one of them, some in several, and some
    cannot be read by one of them."""
    rows = catalogue(workspace)
    bad = [0.0] * 8
    audio = workspace.parquet(
        vectors(["p0", "p1", "t001", "broken", "both", "audio-only"], 8) | {"p2": bad, "both-bad": bad, "bad": bad},
        "audio.parquet",
        caption=["words of the file"] * 9,
        attributes=['{"length": 3}'] * 9,
    )
    engagement = workspace.parquet(
        vectors(["p0", "p2", "t002", "both", "both-bad", "likes-only"], 3, 1) | {"t001": [np.nan] * 3},
        "engagement.parquet",
    )
    return {
        "manifest": lambda db: ingest_media(workspace, rows, db),
        "audio": lambda db: workspace.ingest_vectors(audio, db, name="audio"),
        "engagement": lambda db: workspace.ingest_vectors(engagement, db, name="engagement"),
    }


@pytest.mark.slow
def test_any_order_of_manifest_and_vectors_gives_the_same_rows(bare):
    """Every order of every set of the three, each made from the database of the order that is one shorter."""
    makers = sources(bare)
    kept = {}
    for count in range(1, len(makers) + 1):
        for order in permutations(makers, count):
            db = "-".join(order)
            if count > 1:
                shutil.copytree(bare.uri("-".join(order[:-1])), bare.uri(db))
            makers[order[-1]](db)
            rows = bare.rows(db=db)
            for row in rows.values():
                del row["run_id"], row["updated_at"]
            rejected = {name: row["error_class"] for name, row in bare.rows("rejected", db).items()}
            first, *_ = kept.setdefault(frozenset(order), (rows, rejected, db))
            assert rows == first, f"{db} and {kept[frozenset(order)][2]}"
            # Of an item that both sources reject, the reason of the last one is kept.
            assert rejected.keys() == kept[frozenset(order)][1].keys(), db
    everything = kept[frozenset(makers)][0]
    assert everything.keys() == {
        *(f"p{i}" for i in range(10)), *(f"t{i:03d}" for i in range(5)), "broken", "both", "both-bad", "audio-only",
        "likes-only",
    }  # fmt: skip
    assert everything["both"]["caption"] == everything["audio-only"]["caption"] == "words of the file"


@pytest.mark.slow
def test_vectors_in_any_order_of_files_and_rows_give_the_same_ids(bare):
    names = [f"v{i:02d}" for i in range(40)]
    table = vectors(names, 8)
    rng = np.random.default_rng(0)
    for number in range(3):
        db, folder = f"db{number}", bare.media / str(number)
        folder.mkdir()
        order = rng.permutation(40) if number else range(40)
        for part in range(3):
            rows = {names[i]: table[names[i]] for i in list(order)[part::3]}
            bare.parquet(rows, f"{number}/{part}.parquet")
        ingest(bare.uri(db), Vectors(folder, name="audio"), bare.settings(clip=None), LocalRunner())
        bare.fit(db)
    assert bare.ids("db0") == bare.ids("db1") == bare.ids("db2")
