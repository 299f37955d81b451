"""Planning: work comes in blocks of the configured size, and only for items that changed."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import just

from fuseid.core.config import Config
from fuseid.core.fingerprints import text_hash
from fuseid.pipelines.files.access import UNVERSIONED, Location
from fuseid.pipelines.ingestion.fingerprints import StageFingerprints, stage_fingerprints
from fuseid.pipelines.ingestion.looks import Look
from fuseid.pipelines.ingestion.plan import _STATE, Plan
from fuseid.pipelines.sources.item import SourceItem
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.store.store import Store

# A video is known by its kind, or else by the end of its name.
STILLS = ({"caption": "words"}, {"uri": "a.png"}, {"uri": "a.mp4.jpg", "kind": "image"}, {"uri": "mp4"})
VIDEOS = ({"uri": "a.MP4"}, {"uri": "a.webm?size=2"}, {"uri": "a", "kind": "video"}, {"uri": "a.gif", "kind": "video"})


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database `db` that holds nothing."""
    folder = tmp_path_factory.mktemp("plan")
    Store.create(folder / "db")
    return folder


@settings(max_examples=50)
@given(
    listed=st.lists(st.sampled_from([*STILLS, *VIDEOS]), min_size=1, max_size=40),
    frames=st.integers(1, 9),
    block_rows=st.integers(1, 20),
)
def test_blocks_hold_every_item_once_in_order_and_are_as_full_as_they_may_be(empty, listed, frames, block_rows):
    path = empty / "manifest.jsonl"
    path.write_text("".join(json.dumps({"content_id": f"{i}", **row}) + "\n" for i, row in enumerate(listed)))
    config = Config.model_validate(
        {"clip": None, "decode": {"sampling": {"frames": frames}}, "run": {"block_rows": block_rows}}
    )
    plan = Plan(Store.open(empty / "db"), open_source(path), config, stage_fingerprints(config))
    blocks = [[int(name) for name in block["content_id"].to_pylist()] for block in plan.work()]
    assert [number for block in blocks for number in block] == list(range(len(listed)))
    weights = [[frames if listed[number] in VIDEOS else 1 for number in block] for block in blocks]
    for block in weights:
        assert sum(block) <= block_rows or len(block) == 1
    for block, following in pairwise(weights):
        assert sum(block) + following[0] > block_rows


def either(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


OTHER = {
    "kind": either("image", "text"),
    "uri": either(None, "b.png"),
    "attributes": just('{"b": 1}'),
    "source_stat": either(None, "2:2", f"{UNVERSIONED}1"),
    "caption_hash": either(text_hash("z"), text_hash(None)),
    "decode_fp": just("before"),
    "clip_fp": either("before", None),
    "vlm_fp": either("before", None),
    "describe_fp": either("before", None),
}


@settings(max_examples=250)
@given(
    item=st.builds(
        SourceItem, just("a"), uri=either(None, "a.png"), caption=either("x", None), kind=either(None, "image"),
        attributes=either("{}", '{"a": 1}'),
    ),
    stat=either("1:1", f"{UNVERSIONED}1"),
    models=st.tuples(either("now", None), either("now", None), either("now", None), st.booleans()),
    changes=st.sets(st.sampled_from(sorted(OTHER)), max_size=1),
    other=st.fixed_dictionaries(OTHER),
)  # fmt: skip
def test_an_item_that_the_fast_path_finds_unchanged_needs_no_work(empty, item, stat, models, changes, other):
    stages = StageFingerprints("now", *models)
    plan = Plan(Store.open(empty / "db"), open_source(empty), Config.model_validate({"clip": None}), stages)
    look = Look() if item.uri is None else Look(Location("/a.png"), stat)
    same = {
        "content_id": "a", "kind": "image", "uri": item.uri, "attributes": item.attributes.replace(" ", ""),
        "source_stat": look.stat, "caption_hash": text_hash(item.caption), "decode_fp": "now", "clip_fp": stages.clip,
        "vlm_fp": stages.vlm, "describe_fp": stages.describe,
    }  # fmt: skip
    stored = same | {name: other[name] for name in changes}
    (unchanged,) = plan._unchanged(
        [item], [look], pa.table({name: pa.array([stored[name]], pa.string()) for name in _STATE})
    )
    needs_work = plan._compare(plan._row(item, look), stored) is not None
    assert not (unchanged and needs_work)
    if stored == same and not (look.stat or "").startswith(UNVERSIONED):
        assert unchanged


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

    # The bytes are destroyed under an unchanged size and time: opening the file again would reject the item.
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
    assert after["clip_image"] == marked  # but its stored vector is kept,
    assert after["source_stat"] != before["source_stat"]
    assert workspace.ingest(rows, load=workspace.no_model).counts["unchanged"] == 1  # and from now on it is known.


def _overwrite_vector(workspace: Any, vector: list[float]) -> None:
    """Puts a vector into the store that no encoder gives, to see later whether it was computed again."""
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


def test_an_item_may_change_its_kind(workspace):
    workspace.ingest([{"content_id": "a", "caption": "words"}])
    workspace.ingest([{"content_id": "a", "caption": "words", "uri": workspace.picture("a.png", 1)}])
    assert workspace.rows()["a"]["kind"] == "image"
    workspace.ingest([{"content_id": "a", "caption": "words", "uri": workspace.video("a.mp4")}])
    assert workspace.rows()["a"]["kind"] == "video"
    workspace.ingest([{"content_id": "a", "caption": "words"}])
    row = workspace.rows()["a"]
    assert (row["kind"], row["clip_image"], row["media_hash"]) == ("text", None, None)
    assert workspace.rows("rejected") == {}


def test_a_known_item_whose_file_is_missing_is_kept(workspace):
    rows = [{"content_id": "a", "uri": workspace.picture("a.png", 1)}, *workspace.captions(8)]
    workspace.ingest(rows)
    before = workspace.rows()
    (workspace.media / "a.png").unlink()
    run = workspace.ingest(rows, load=workspace.no_model)
    assert (run.counts["missing_kept"], run.counts["planned"], run.counts["rejected"]) == (1, 0, 0)
    assert any("1 known items cannot be read" in note for note in run.notes)
    assert workspace.rows() == before
    assert workspace.rows("rejected") == {}
