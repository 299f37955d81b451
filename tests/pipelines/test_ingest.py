"""Ingest: good items are stored, bad ones are in `rejected` alone, and nothing is done twice."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuseid.core.errors import BadInput
from fuseid.pipelines.ingest import _POLL_SECONDS
from fuseid.pipelines.ingestion.plan import Plan

HOSTILE_IDS = [
    "it's",
    "'; DROP TABLE contents; --",
    "x' OR '1'='1",
    'a "quoted" id',
    "línea\nnueva\t",
    "日本語 🍎",
    "%_\\",
    " ",
]


def mixed(workspace: Any) -> tuple[list[dict[str, Any]], dict[str, tuple[str, str]]]:
    """-> (rows of a manifest, per bad item the stage and class that it must be rejected with)."""
    media = workspace.media
    good = [
        {"content_id": "png", "uri": workspace.picture("a.png", 1), "caption": "a picture"},
        {"content_id": "jpg", "uri": workspace.picture("b.jpg", 2)},
        {"content_id": "gif", "uri": workspace.picture("c.gif", 3), "kind": "image"},
        {"content_id": "film", "uri": workspace.video("d.mp4"), "caption": "a film"},
        {"content_id": "words", "caption": "only words", "attributes": {"lang": "en"}},
        *({"content_id": name, "caption": f"hostile {i}"} for i, name in enumerate(HOSTILE_IDS)),
    ]
    whole = (media / "b.jpg").read_bytes()
    (media / "truncated.png").write_bytes((media / "a.png").read_bytes()[:60])
    (media / "corrupt.jpg").write_bytes(whole[:20] + b"\0" * 300)
    (media / "zero.jpg").touch()
    (media / "mislabelled.jpg").write_bytes(b"just a text that is called a picture")
    (media / "broken.mp4").write_bytes((media / "d.mp4").read_bytes()[:200])
    (media / "folder.png").mkdir()
    (media / "wide.png").write_bytes(_wide_png(media))
    bad = {
        "truncated": ({"uri": "truncated.png"}, "decode", "CorruptMedia"),
        "corrupt": ({"uri": "corrupt.jpg", "caption": "fine words"}, "decode", "CorruptMedia"),
        "zero": ({"uri": "zero.jpg"}, "decode", "CorruptMedia"),
        "mislabelled": ({"uri": "mislabelled.jpg"}, "decode", "Unrecognised"),
        "film as image": ({"uri": "d.mp4", "kind": "image"}, "decode", "Unrecognised"),
        "broken film": ({"uri": "broken.mp4", "kind": "video"}, "decode", "CorruptMedia"),
        "missing": ({"uri": "nowhere.jpg"}, "decode", "MissingFile"),
        "directory": ({"uri": "folder.png"}, "decode", "MissingFile"),
        "gigapixel": ({"uri": "wide.png"}, "decode", "TooLarge"),
        "outside": ({"uri": "../elsewhere.jpg"}, "source", "NotAllowed"),
        "web": ({"uri": "https://example.org/a.jpg"}, "source", "NotAllowed"),
        "no url": ({"uri": "http://[bad/a.jpg"}, "source", "NotAllowed"),
        "nul": ({"uri": "a\0.png"}, "source", "NotAllowed"),
        "quoted nul": ({"uri": "file:///a%00.png"}, "source", "NotAllowed"),
        "nothing": ({}, "decode", "EmptyItem"),
        "blank": ({"caption": " \n\t "}, "decode", "EmptyItem"),
        "long words": ({"caption": "x" * 1_000_000}, "decode", "TooLarge"),
        "long name": ({"uri": "n" * 100_000}, "decode", "MissingFile"),
        "strange kind": ({"uri": "a.png", "kind": "audio"}, "decode", "Unrecognised"),
        "it's bad": ({"uri": "it's; DROP TABLE rejected.jpg"}, "decode", "MissingFile"),
    }
    rows = good[:]
    for number, (name, (fields, _, _)) in enumerate(bad.items()):
        # Between the good ones, so that batches are mixed.
        rows.insert(2 * number % len(rows), {"content_id": name, **fields})
    return rows, {name: (stage, error) for name, (_, stage, error) in bad.items()}


def _wide_png(media: Any) -> bytes:
    path = media / "scratch.png"
    Image.new("1", (2000, 1000)).save(path)
    blob = path.read_bytes()
    path.unlink()
    return blob


LIMITS = {"decode": {"max_caption_chars": 1000, "max_pixels": 1_000_000}}


def test_bad_items_are_rejected_each_with_its_reason_and_all_others_arrive(workspace):
    rows, bad = mixed(workspace)
    config = workspace.settings(**LIMITS)
    run = workspace.ingest(rows, config=config)
    contents, rejected = workspace.rows(), workspace.rows("rejected")

    assert {name: (row["stage"], row["error_class"]) for name, row in rejected.items()} == bad
    assert contents.keys() == {row["content_id"] for row in rows} - bad.keys()
    for row in rejected.values():
        assert row["message"]
        assert "\n" not in row["message"]
        assert (row["attempts"], row["first_run"], row["last_run"]) == (1, run.run_id, run.run_id)
    listed = len(rows)
    assert run.counts == {
        "listed": listed, "unchanged": 0, "missing_kept": 0, "rejected_before": 0, "planned": listed,
        "planned_new": listed - 5, "planned_unusable": 5, "to_decode": 16, "to_encode": 27,
        "committed": listed - len(bad), "rejected": len(bad),
    }  # fmt: skip

    kinds = {name: contents[name]["kind"] for name in ("png", "jpg", "gif", "film", "words")}
    assert kinds == {"png": "image", "jpg": "image", "gif": "image", "film": "video", "words": "text"}
    film = contents["film"]
    assert (film["width"], film["height"], len(film["timestamps"])) == (64, 48, 2)
    assert film["duration"] == pytest.approx(1.0, abs=0.1)
    assert contents["png"]["thumbnail"][:2] == b"\xff\xd8"
    assert contents["words"]["attributes"] == '{"lang":"en"}'
    for name, row in contents.items():
        assert (row["clip_image"] is not None) == (name in ("png", "jpg", "gif", "film"))
        assert (row["clip_text"] is not None) == (row["caption"] is not None)
        for vector in (row["clip_image"], row["clip_text"]):
            assert vector is None or np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)

    # Again: nothing is planned, no model is loaded, nothing changes.
    again = workspace.ingest(rows, config=config, load=workspace.no_model)
    assert again.counts["unchanged"] == listed - len(bad)
    assert again.counts["rejected_before"] == len(bad)
    assert (again.counts["planned"], again.counts["committed"], again.counts["rejected"]) == (0, 0, 0)
    assert workspace.rows() == contents
    assert workspace.rows("rejected") == rejected

    # Every hostile id can be looked up, and finds its own row.
    workspace.fit()
    for number, name in enumerate(HOSTILE_IDS):
        (item,) = workspace.catalog().items([name])
        assert item["caption"] == f"hostile {number}"
        assert workspace.catalog().search(like=name, k=1).num_rows == 1


def test_lone_surrogates_in_text_are_replaced(workspace):
    (workspace.media / os.fsdecode(b"caf\xe9.png")).write_bytes(b"a name that is not UTF-8")
    rows = [
        {"content_id": "half\ud83d", "caption": "half an emoji \ud83d here", "attributes": {"a\ud83d": "\ud83d"}},
        {"content_id": "uri", "uri": "half\ud83d.png"},
        {"content_id": "whole", "caption": "fine"},
    ]
    workspace.ingest(rows)
    assert workspace.rows()["half\\ud83d"]["caption"] == "half an emoji here"
    assert workspace.rows().keys() == {"half\\ud83d", "whole"}
    assert workspace.rows("rejected").keys() == {"uri"}
    workspace.picture("good.png", 1)
    run = workspace.ingest(workspace.media, db="folder")
    assert (run.counts["committed"], run.counts["rejected"]) == (1, 1)


def test_before_the_fit_look_up_works_and_after_it_new_items_are_assigned_as_they_come(workspace):
    rows = [{"content_id": "a", "uri": workspace.picture("a.png", 1), "caption": "a picture"}, *workspace.captions(11)]
    run = workspace.ingest(rows)
    assert "assigned" not in run.counts
    assert any("fit" in note for note in run.notes)
    catalog = workspace.catalog()
    assert catalog.search(text="a dog", k=5).num_rows == 5
    assert "a" in catalog.search(image=workspace.media / "a.png", k=12)["content_id"].to_pylist()
    assert set(workspace.ids().values()) == {None}

    fitted = workspace.fit()
    assert fitted.counts["assigned"] == 12
    ids = workspace.ids()
    assert None not in ids.values()
    assert len(set(ids.values())) == 12

    run = workspace.ingest([*rows, *workspace.captions(3, "new")])
    assert (run.counts["planned"], run.counts["assigned"]) == (3, 3)
    later = workspace.ids()
    assert {name: later[name] for name in ids} == ids
    assert None not in later.values()
    assert later == workspace.ledger()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"content_id": "twice", "caption": "a"}, {"content_id": "twice", "caption": "b"}], "twice"),
        ([{"content_id": "it's", "caption": "a"}] * 2, "it's"),
    ],
)
def test_an_id_that_occurs_twice_is_named_and_nothing_is_made(workspace, rows, said):
    with pytest.raises(BadInput, match=said) as caught:
        workspace.ingest([*workspace.captions(5), *rows])
    assert "more than once" in str(caught.value)
    assert not (workspace.root / "db").exists()


def test_progress_counts_each_item_once_however_long_planning_takes(bare, cluster, monkeypatch):
    counts: list[int] = []

    class Progress:
        def begin(self, stage: str, total: int | None) -> None:
            pass

        def advance(self, stage: str, done: int) -> None:
            if stage == "ingest":
                counts.append(done)

    def slowly(self: Plan, ids: list[str], stored: Any = Plan._stored) -> Any:
        time.sleep(3 * _POLL_SECONDS)
        return stored(self, ids)

    monkeypatch.setattr(Plan, "_stored", slowly)
    bare.ingest_vectors(cluster(8))
    bare.ingest_vectors(cluster(10), progress=Progress())
    assert min(counts) == 0
    assert sum(counts) == 10


# A run that dies between two waves costs only time


class PowerCut(Exception):
    pass


def cut_after(waves: int):
    def after_wave(committed: int) -> None:
        if committed == waves:
            raise PowerCut

    return after_wave


@pytest.mark.slow
def test_the_next_run_completes_a_failed_one(workspace):
    waves = 2
    rows = [{"content_id": f"p{i}", "uri": workspace.picture(f"{i}.png", i % 3)} for i in range(6)]
    rows += [{"content_id": "bad", "uri": "nowhere.png"}, *workspace.captions(9)]
    config = workspace.settings(run={"block_rows": 2, "wave_rows": 4, "wave_vectors": 4})
    old = [{"content_id": f"o{i}", "uri": f"{i}.png", "caption": f"{i}"} for i in range(6)]
    old += workspace.captions(4, "old")
    for db in ("quiet", "broken"):
        workspace.ingest(old, db=db)
        workspace.fit(db)
    workspace.ingest(rows, db="quiet", config=config)

    with pytest.raises(PowerCut):
        workspace.ingest(rows, db="broken", config=config, after_wave=cut_after(waves))
    done = len(workspace.rows(db="broken")) - 10 + len(workspace.rows("rejected", "broken"))
    assert done == 4 * waves
    outcomes = workspace.store("broken").dataset("runs").to_table().sort_by("started_at")["outcome"].to_pylist()
    assert outcomes[-1] == "failed: power cut"

    again = workspace.ingest(rows, db="broken", config=config)
    assert again.counts["unchanged"] + again.counts["rejected_before"] == done
    assert again.counts["planned"] == len(rows) - done
    assert workspace.ids("broken") == workspace.ids("quiet")
    assert None not in workspace.ids("broken").values()
    assert workspace.rows("rejected", "broken").keys() == {"bad"}


def test_a_first_ingest_that_fails_at_every_wave_ends_with_the_same_ids(bare, cluster):
    vectors = cluster(30)
    bare.ingest_vectors(vectors, db="quiet")
    bare.fit("quiet")
    config = bare.settings(clip=None, run={"block_rows": 4, "wave_rows": 8, "wave_vectors": 8})
    for _ in range(3):
        with pytest.raises(PowerCut):
            bare.ingest_vectors(vectors, config=config, after_wave=cut_after(1))
    assert len(bare.rows()) == 24
    bare.ingest_vectors(vectors, config=config)
    bare.fit()
    assert bare.ids() == bare.ids("quiet")
    for name, row in bare.rows().items():
        assert np.array_equal(row["external"], vectors[name])
