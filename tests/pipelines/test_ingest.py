"""Ingest: good items arrive, bad ones land in `rejected` alone, and nothing is done twice."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuseid.core.errors import BadInput, FingerprintMismatch, ModelError
from fuseid.pipelines.ingest import _POLL_SECONDS
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.plan import Plan

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

    # Every hostile id can be asked for, and finds its own row.
    workspace.fit()
    for number, name in enumerate(HOSTILE_IDS):
        (item,) = workspace.catalog().items([name])
        assert item["caption"] == f"hostile {number}"
        assert workspace.catalog().search(like=name, k=1).num_rows == 1


def test_halves_of_characters_cost_nothing_but_themselves(workspace):
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
    run = workspace.ingest(workspace.media, db="folder")
    assert run.counts["rejected"] == 1


def test_attributes_that_json_cannot_hold_do_not_make_an_item_look_changed(workspace):
    attributes = {"nan": float("nan"), "big": 10**400, "tiny": 1e-320, "nested": {"b": [1, None, 2.5], "a": True}}
    rows = [{"content_id": "a", "caption": "x", "attributes": attributes}]
    workspace.ingest(rows)
    assert workspace.ingest(rows, load=workspace.no_model).counts["unchanged"] == 1


def test_a_caption_edit_neither_decodes_nor_encodes_the_medium_again(workspace):
    rows = [
        {"content_id": "a", "uri": workspace.picture("a.png", 1), "caption": "old words"},
        {"content_id": "b", "uri": workspace.video("b.mp4"), "caption": "other words"},
        *workspace.captions(8),
    ]
    workspace.ingest(rows)
    workspace.fit()
    before = workspace.rows()

    # The bytes are destroyed under an unchanged size and time: whoever opens the file again rejects the item.
    for name in ("a.png", "b.mp4"):
        path = workspace.media / name
        stat = path.stat()
        path.write_bytes(b"\0" * stat.st_size)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    edited = [{**row, "caption": "new words"} if row.get("uri") else row for row in rows]
    run = workspace.ingest(edited)
    assert (run.counts["planned"], run.counts["committed"], run.counts["rejected"]) == (2, 2, 0)
    after = workspace.rows()
    for name in ("a", "b"):
        assert after[name]["caption"] == "new words"
        assert after[name]["clip_image"] == before[name]["clip_image"]
        assert after[name]["thumbnail"] == before[name]["thumbnail"]
        assert after[name]["clip_text"] != before[name]["clip_text"]
        assert after[name]["fused"] != before[name]["fused"]
        assert after[name]["sid"] == before[name]["sid"] is not None


def test_a_caption_that_is_removed_takes_its_vector_along(workspace):
    rows = [{"content_id": "a", "uri": workspace.picture("a.png", 1), "caption": "words"}]
    workspace.ingest(rows)
    vector = workspace.rows()["a"]["clip_image"]
    workspace.ingest([{**rows[0], "caption": None}])
    row = workspace.rows()["a"]
    assert (row["caption"], row["clip_text"], row["clip_image"]) == (None, None, vector)


def test_edited_attributes_are_stored_without_a_model(workspace):
    rows = workspace.captions(3)
    workspace.ingest(rows)
    rows[1]["attributes"] = {"price": 3}
    run = workspace.ingest(rows)
    assert run.counts["planned"] == 1
    assert workspace.rows()["t001"]["attributes"] == '{"price":3}'


def test_a_touched_file_with_the_same_bytes_is_not_encoded_again(workspace):
    rows = [{"content_id": "a", "uri": workspace.picture("a.png", 1), "caption": "x"}]
    workspace.ingest(rows)
    before = workspace.rows()["a"]
    marked = [2.0] + [0.0] * (len(before["clip_image"]) - 1)
    _overwrite_vector(workspace, marked)
    os.utime(workspace.media / "a.png", ns=(1, 1))

    run = workspace.ingest(rows)
    assert run.counts["planned"] == 1  # it is looked at,
    after = workspace.rows()["a"]
    assert after["clip_image"] == marked  # but its stored vector stands,
    assert after["source_stat"] != before["source_stat"]
    assert workspace.ingest(rows, load=workspace.no_model).counts["unchanged"] == 1  # and from now on it is known.


def _overwrite_vector(workspace: Any, vector: list[float]) -> None:
    """Puts a vector into the store that no encoder gives, to see later whether it was computed anew."""
    store = workspace.store()
    table = store.dataset("contents").to_table()
    row = {**table.to_pylist()[0], "clip_image": vector}
    store.upsert("contents", type(table).from_pylist([row], schema=table.schema))


def test_changed_bytes_are_encoded_again_and_the_id_stays(workspace):
    rows = [{"content_id": "a", "uri": workspace.picture("a.png", 1)}, *workspace.captions(8)]
    workspace.ingest(rows)
    workspace.fit()
    before = workspace.rows()["a"]
    workspace.picture("a.png", 2)
    run = workspace.ingest(rows)
    after = workspace.rows()["a"]
    assert (run.counts["planned"], run.counts["unchanged"]) == (1, 8)
    assert after["media_hash"] != before["media_hash"]
    assert after["clip_image"] != before["clip_image"]
    assert after["sid"] == before["sid"] is not None


def test_an_item_may_become_of_another_kind(workspace):
    workspace.ingest([{"content_id": "a", "caption": "words"}])
    workspace.ingest([{"content_id": "a", "caption": "words", "uri": workspace.picture("a.png", 1)}])
    assert workspace.rows()["a"]["kind"] == "image"
    workspace.ingest([{"content_id": "a", "caption": "words", "uri": workspace.video("a.mp4")}])
    assert workspace.rows()["a"]["kind"] == "video"
    workspace.ingest([{"content_id": "a", "caption": "words"}])
    row = workspace.rows()["a"]
    assert (row["kind"], row["clip_image"], row["media_hash"]) == ("text", None, None)
    assert workspace.rows("rejected") == {}


def test_a_rejected_item_is_skipped_while_unchanged_and_mended_when_its_file_is(workspace):
    path = workspace.media / "a.png"
    path.write_bytes(b"no picture")
    rows = [{"content_id": "a", "uri": "a.png"}, {"content_id": "b", "caption": "fine"}]
    first = workspace.ingest(rows)
    assert workspace.ingest(rows, load=workspace.no_model).counts["rejected_before"] == 1

    path.write_bytes(b"no picture either")
    third = workspace.ingest(rows)
    row = workspace.rows("rejected")["a"]
    assert (row["attempts"], row["first_run"], row["last_run"]) == (2, first.run_id, third.run_id)

    workspace.picture("a.png", 1)
    assert workspace.ingest(rows).counts["committed"] == 1
    assert workspace.rows("rejected") == {}
    assert workspace.rows().keys() == {"a", "b"}


def test_an_item_rejected_for_its_kind_is_tried_again_when_the_kind_is_mended(workspace):
    row = {"content_id": "a", "uri": workspace.video("a.mp4"), "kind": "image"}
    workspace.ingest([row])
    assert "kind to video" in workspace.rows("rejected")["a"]["message"]
    workspace.ingest([{**row, "kind": "video"}])
    assert workspace.rows("rejected") == {}
    assert workspace.rows()["a"]["kind"] == "video"


def test_a_good_item_whose_file_breaks_moves_over_and_gets_its_old_id_back(workspace):
    # Two items of the same bytes: their IDs differ by the collision digit only.
    rows = [{"content_id": "a", "uri": workspace.picture("a.png", 1)}, *workspace.captions(8)]
    shutil.copy(workspace.media / "a.png", workspace.media / "b.png")
    rows.append({"content_id": "b", "uri": "b.png"})
    workspace.ingest(rows)
    workspace.fit()
    before = workspace.ids()
    assert before["b"].startswith(before["a"])

    good = (workspace.media / "a.png").read_bytes()
    (workspace.media / "a.png").write_bytes(good[:50])
    run = workspace.ingest(rows)
    assert (run.counts["planned"], run.counts["rejected"]) == (1, 1)
    assert "a" not in workspace.rows()
    assert workspace.rows("rejected").keys() == {"a"}

    (workspace.media / "a.png").write_bytes(good)
    workspace.ingest(rows)
    assert workspace.rows("rejected") == {}
    assert workspace.ids() == before


def test_a_row_that_a_killed_run_left_in_both_tables_is_reconciled(workspace):
    rows = workspace.captions(3)
    workspace.ingest(rows)
    store = workspace.store()
    left = dict.fromkeys(store.table("rejected").schema.names) | {"content_id": "t001", "attempts": 1}
    store.table("rejected").add([left])
    workspace.ingest(rows, load=workspace.no_model)
    assert workspace.rows("rejected") == {}
    assert len(workspace.rows()) == 3


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
    ("content_id", "rows", "said"),
    [
        ("twice", [{"content_id": "twice", "caption": "a"}, {"content_id": "twice", "caption": "b"}], "twice"),
        ("it's", [{"content_id": "it's", "caption": "a"}] * 2, "it's"),
    ],
)
def test_an_id_that_occurs_twice_is_named_and_nothing_is_made(workspace, content_id, rows, said):
    with pytest.raises(BadInput, match=said) as caught:
        workspace.ingest([*workspace.captions(5), *rows])
    assert "more than once" in str(caught.value)
    assert not (workspace.root / "db").exists()


def test_an_unknown_model_is_refused_before_anything_is_made(workspace):
    with pytest.raises(ModelError, match="mini-clip"):
        workspace.ingest(workspace.captions(2), config=workspace.settings(clip={"model": "builtin:nope"}))
    assert not (workspace.root / "db").exists()


def test_another_precision_is_refused_and_both_are_named(workspace):
    rows = workspace.captions(8)
    workspace.ingest(rows)
    with pytest.raises(FingerprintMismatch, match=r"fp32.*bf16") as caught:
        workspace.ingest(rows, config=workspace.settings(clip={"precision": "bf16"}), load=workspace.no_model)
    assert "\n" not in str(caught.value)


def test_after_the_fit_another_model_is_refused_and_look_up_goes_on(workspace):
    rows = workspace.captions(8)
    workspace.ingest(rows)
    workspace.fit()
    other = shutil.copytree(_mini_clip(), workspace.root / "other")
    (other / "extra.json").write_text("{}")
    config = workspace.settings(clip={"model": f"local-dir:{other}"})
    with pytest.raises(
        FingerprintMismatch, match=r"fusion-\w+ was fitted on clip_text .*encoder \w+, these are of \w+"
    ):
        workspace.ingest([*rows, {"content_id": "new", "caption": "x"}], config=config, load=workspace.no_model)
    assert "new" not in workspace.rows()
    # Queries are still encoded by the model that the catalogue was encoded with.
    assert Catalog.open(workspace.uri()).search(text="a dog", k=2).num_rows == 2


def _mini_clip() -> Any:
    from fuseid.encoders.model_files import builtin_directory

    return builtin_directory("builtin:mini-clip")


def test_a_relative_model_path_or_another_batch_size_is_no_other_model(workspace):
    workspace.ingest(workspace.captions(4))
    copy = shutil.copytree(_mini_clip(), workspace.root / "copy")
    config = workspace.settings(clip={"model": f"local-dir:{copy}", "batch_size": 3})
    assert workspace.ingest(workspace.captions(4), config=config, load=workspace.no_model).counts["unchanged"] == 4


def test_the_run_is_recorded_with_its_counts_and_outcome(workspace):
    run = workspace.ingest(workspace.captions(3))
    with pytest.raises(FingerprintMismatch):
        workspace.ingest(workspace.captions(3), config=workspace.settings(clip={"precision": "fp16"}))
    done, failed = workspace.store().dataset("runs").to_table().sort_by("started_at").to_pylist()
    assert (done["run_id"], done["job"], done["outcome"]) == (run.run_id, "ingest", "done")
    assert '"committed": 3' in done["counts"]
    assert done["finished_at"] >= done["started_at"]
    assert failed["outcome"].startswith("failed: ")
    assert "fp16" in failed["outcome"]


def test_a_known_item_whose_file_is_gone_tonight_stays_as_it_is(workspace):
    rows = [{"content_id": "a", "uri": workspace.picture("a.png", 1)}, *workspace.captions(8)]
    workspace.ingest(rows)
    before = workspace.rows()
    (workspace.media / "a.png").unlink()
    run = workspace.ingest(rows, load=workspace.no_model)
    assert (run.counts["missing_kept"], run.counts["planned"], run.counts["rejected"]) == (1, 0, 0)
    assert any("1 known items cannot be read" in note for note in run.notes)
    assert workspace.rows() == before
    assert workspace.rows("rejected") == {}


def test_progress_tells_of_each_item_once_however_long_planning_takes(bare, cluster, monkeypatch):
    told: list[int] = []

    class Told:
        def begin(self, stage: str, total: int | None) -> None:
            pass

        def advance(self, stage: str, done: int) -> None:
            if stage == "ingest":
                told.append(done)

    def slowly(self: Plan, ids: list[str], stored: Any = Plan._stored) -> Any:
        time.sleep(3 * _POLL_SECONDS)
        return stored(self, ids)

    monkeypatch.setattr(Plan, "_stored", slowly)
    bare.ingest_vectors(cluster(8))
    bare.ingest_vectors(cluster(10), progress=Told())
    assert min(told) == 0
    assert sum(told) == 10


def test_a_wave_is_committed_early_where_its_rows_are_large(bare):
    vectors = {f"v{number}": np.random.default_rng(number).normal(size=40_000) for number in range(1200)}
    config = bare.settings(clip=None, run={"wave_rows": 5000, "block_rows": 100})
    sizes: list[int] = []

    def committed(waves: int) -> None:
        sizes.append(bare.store().table("contents").count_rows())

    bare.ingest_vectors(vectors, config=config, after_wave=committed)
    assert sizes == [900, 1200]  # 144 MB are the first to exceed the limit of 128 MiB
