"""What becomes of vectors that cannot be used and of what their file says about items; indexes after a rewrite."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import TooManyRejected
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.ingestion.steps import load_encoders
from fuseid.pipelines.rejected import retry
from fuseid.pipelines.remove import remove
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.store import Store

GOOD = [1.0, 2.0, 3.0]
NAN, INF = float("nan"), float("inf")
BAD = {
    "null": None,
    "null inside": [1.0, None, 3.0],
    "short": [1.0, 2.0],
    "long": [1.0] * 4,
    "empty": [],
    "nan": [1.0, NAN, 3.0],
    "infinite": [1.0, -INF, 3.0],
    "zero": [0.0, -0.0, 0.0],
    "beyond float32": [1.0, 1e300, 3.0],
    "below float32": [1e-300, 0.0, 0.0],
}


def file_of(workspace, rows, vectors=None, file="vectors.parquet", **columns):
    """A Parquet file of vectors by content_id, as lists of 64-bit floats unless another type is given."""
    path = workspace.media / file
    arrays = {"content_id": pa.array([*rows], pa.string())}
    arrays["vector"] = pa.array([*rows.values()], vectors or pa.list_(pa.float64()))
    table = pa.table(arrays | columns)
    pq.write_table(table, path)
    return path


def bring(workspace, rows, name="audio", config=None, vectors=None, **columns):
    """columns: of a manifest, beside the vectors."""
    return workspace.ingest_vectors(file_of(workspace, rows, vectors, **columns), config=config, name=name)


def captioned(workspace, names):
    """Items of captions alone."""
    settings = workspace.settings(clip={"model": "fake:16"})
    rows = [{"content_id": name, "caption": f"words of {name}"} for name in names]
    workspace.ingest(rows, config=settings, load=load_encoders)


# Vectors that cannot be used


def test_a_bad_vector_of_an_unknown_item_is_one_rejected_row(bare):
    run = bring(bare, {"good": GOOD, "good too": GOOD} | BAD)
    assert (run.counts["committed"], run.counts["rejected"]) == (2, len(BAD))
    assert bare.rows().keys() == {"good", "good too"}
    rejected = bare.rows("rejected")
    assert rejected.keys() == BAD.keys()
    assert {(row["stage"], row["error_class"]) for row in rejected.values()} == {("source", "BadVector")}
    assert rejected["short"]["message"] == "vector has 2 numbers, where others of the file have 3"
    assert rejected["zero"]["message"] == "audio vector is zero or not finite"
    assert rejected["null inside"]["message"] == "vector is null or holds null"


def test_a_bad_vector_of_a_known_item_leaves_its_row_and_former_vector_and_is_noted(bare):
    captioned(bare, BAD)
    bring(bare, dict.fromkeys([*BAD][::2], GOOD))
    before = bare.rows()
    for _ in range(2):
        run = bring(bare, BAD | {"new": GOOD})
        assert (run.counts["rejected"], run.counts["missing_kept"]) == (0, len(BAD))
        (note,) = (note for note in run.notes if "cannot be used" in note)
        assert note.startswith(f"the audio vectors of {len(BAD)} known items cannot be used ('null', 'null inside', ")
        assert note.endswith("'nan' ...); their rows stay") or note.endswith("); their rows stay")
        assert bare.changes(before).keys() == {"new"}
        assert bare.rows("rejected") == {}


def test_a_bad_vector_rejects_an_item_that_has_nothing_else(bare):
    bring(bare, dict.fromkeys(["alone", "with others", "listed", "stays"], GOOD), caption=["said by the file"] * 4)
    bring(bare, {"with others": [1.0]}, name="likes")
    captioned(bare, ["listed"])
    before = bare.rows()
    run = bring(bare, {"stays": GOOD} | dict.fromkeys(["alone", "with others", "listed"], [NAN] * 3))
    assert bare.changes(before) == {
        "alone": set(before["alone"]) - {n for n, v in before["alone"].items() if v is None}
    }
    assert bare.rows("rejected").keys() == {"alone"}
    assert (run.counts["rejected"], run.counts["missing_kept"]) == (1, 2)
    # The next night it is neither tried nor moved.
    run = bring(bare, {"stays": GOOD} | dict.fromkeys(["alone", "with others", "listed"], [NAN] * 3))
    assert (run.counts["rejected_before"], run.counts["rejected"]) == (1, 0)
    # Once it is good again, it is back.
    bring(bare, {"alone": GOOD, "stays": GOOD})
    assert ("alone" in bare.rows(), bare.rows("rejected")) == (True, {})


def test_while_all_vectors_of_a_run_are_bad_none_removes_an_item(bare):
    bring(bare, {"a": GOOD, "b": GOOD})
    before = bare.rows()
    with pytest.raises(TooManyRejected, match=r"all 2 items were rejected.* 2 known items keep their rows"):
        bring(bare, {"a": [NAN] * 3, "b": [0.0] * 3})
    assert (bare.changes(before), bare.rows("rejected")) == ({}, {})


def test_a_run_with_too_many_bad_vectors_keeps_the_good_ones_of_new_and_known_items(bare):
    captioned(bare, ["known"])
    bring(bare, {"old": GOOD})
    before = bare.rows()
    config = bare.settings(clip=None, run={"max_rejected": "1"})
    with pytest.raises(TooManyRejected, match=r"2 of 5 items failed.* What is good was kept"):
        bring(bare, {"known": GOOD, "old": [3.0, 2.0, 1.0], "new": GOOD, "x": [NAN] * 3, "y": [NAN] * 3}, config=config)
    changes = bare.changes(before)
    assert changes.keys() == {"known", "old", "new"}
    assert (changes["known"], changes["old"]) == ({"audio", "audio_fp"},) * 2
    assert bare.rows("rejected").keys() == {"x", "y"}


KINDS = {
    pa.list_(pa.float16()): True, pa.list_(pa.float32()): False, pa.large_list(pa.float32()): False,
    pa.large_list(pa.float64()): False, pa.list_(pa.float16(), 3): False, pa.list_(pa.float32(), 3): False,
    pa.list_(pa.float64(), 3): True, pa.list_(pa.int8()): False, pa.list_(pa.int64(), 3): True,
    pa.list_(pa.uint32()): False,
}  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [kind if everyday else pytest.param(kind, marks=pytest.mark.slow) for kind, everyday in KINDS.items()],
    ids=str,
)
def test_numbers_of_any_type_are_stored_as_32_bit_floats(bare, kind):
    number = (
        np.float16 if "halffloat" in str(kind) else (float if "float" in str(kind) or "double" in str(kind) else int)
    )
    rows = {"a": [1, 2, 3], "null": None, "b": [4, 5, 6], "zero": [0, 0, 0], "null inside": [7, None, 8]}
    values = {name: row and [None if each is None else number(each) for each in row] for name, row in rows.items()}
    bring(bare, values, vectors=kind)
    assert {name: row["audio"] for name, row in bare.rows().items()} == {"a": [1, 2, 3], "b": [4, 5, 6]}
    assert bare.store().dataset("contents").schema.field("audio").type == pa.list_(pa.float32(), 3)
    assert bare.rows("rejected").keys() == {"null", "zero", "null inside"}
    # The same numbers in another type are the same vectors.
    run = bring(bare, {"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]})
    assert run.counts["unchanged"] == 2


# What a file says about items


FIELDS = {"uri": ["x.mp3", None], "caption": ["a song", None], "kind": ["video", None],
          "attributes": ['{"year": 1999}', None]}  # fmt: skip


def described(workspace, names=("a", "b")):
    rows = workspace.rows()
    return {name: [rows[name][field] for field in FIELDS] for name in names}


def test_a_file_describes_items_that_only_vectors_brought_and_updates_its_own_description(bare):
    bring(bare, {"a": GOOD, "b": GOOD}, **FIELDS)
    assert described(bare) == {
        "a": ["x.mp3", "a song", "video", '{"year":1999}'], "b": [None, None, "text", "{}"],
    }  # fmt: skip
    before = bare.rows()
    other = {**FIELDS, "caption": ["another song", "b now too"]}
    bring(bare, {"a": GOOD, "b": GOOD}, **other)
    assert bare.changes(before) == {name: {"caption", "caption_hash", "source_stat"} for name in "ab"}
    # A file that says nothing leaves the description; other vectors do not change it.
    before = bare.rows()
    assert bring(bare, {"a": GOOD, "b": GOOD}).counts["unchanged"] == 2
    bring(bare, {"a": [1.0], "b": [2.0]}, name="likes", caption=["mine", "mine"], kind=["image", "image"])
    assert bare.changes(before) == {name: {"likes", "likes_fp"} for name in "ab"}
    # Nor do they the next time, and the first ones still may.
    assert bring(bare, {"a": [1.0], "b": [2.0]}, name="likes", caption=["mine", "mine"]).counts["unchanged"] == 2
    bring(bare, {"a": GOOD, "b": GOOD}, **FIELDS)
    assert described(bare)["b"] == [None, None, "text", "{}"]


def test_the_first_file_that_describes_an_item_counts_whichever_vectors_came_first(bare):
    bring(bare, {"a": [1.0], "b": [1.0]}, name="likes")
    bring(bare, {"a": GOOD, "b": GOOD}, **FIELDS)
    assert described(bare)["a"] == ["x.mp3", "a song", "video", '{"year":1999}']


def test_files_of_one_folder_may_describe_some_items_and_others_not(bare):
    """Also if both lie in one fragment, and some were described before."""
    names = [f"v{i:02d}" for i in range(40)]
    rows = {name: [float(number + 1), 1.0, 1.0] for number, name in enumerate(names)}
    half = len(names) // 2
    folder = bare.media / "parts"
    folder.mkdir()
    bring(bare, rows, caption=["first"] * len(names))
    changed = {name: [1.0, *row[1:][::-1][:1], row[0]] for name, row in rows.items()}
    ingested = bare.settings(clip=None, run={"wave_vectors": 8})
    file_of(bare, dict([*changed.items()][:half]), file="parts/0.parquet", caption=["second"] * half)
    file_of(bare, dict([*changed.items()][half:]), file="parts/1.parquet")
    run = ingest(bare.uri(), Vectors(folder, name="audio"), ingested, LocalRunner())
    assert run.counts["updated"] == len(names)
    after = bare.rows()
    assert [after[name]["caption"] for name in names] == ["second"] * half + ["first"] * half
    assert {after[name]["kind"] for name in names} == {"text"}
    assert all(after[name]["audio"] == changed[name] for name in names)
    assert ingest(bare.uri(), Vectors(folder, name="audio"), ingested, LocalRunner()).counts["unchanged"] == len(names)


def test_a_field_of_the_wrong_type_rejects_its_row_as_in_a_manifest(bare):
    run = bring(bare, {"a": GOOD, "b": GOOD, "c": GOOD}, attributes=["{}", "[1]", "no JSON"])
    assert run.counts["rejected"] == 2
    rejected = bare.rows("rejected")
    assert {name: row["error_class"] for name, row in rejected.items()} == {"b": "BadField", "c": "BadField"}


# IDs


def test_an_item_that_was_removed_has_its_id_again_when_vectors_bring_it_back(fitted, cluster):
    before = fitted.ids()
    remove(fitted.uri(), ["v003", "v010"], fitted.settings(clip=None))
    vectors = cluster(60)
    fitted.ingest_vectors(vectors | {"v010": vectors["v010"] * -1})
    assert fitted.ids() == before


@pytest.mark.slow
def test_new_items_have_ids_in_an_order_of_their_own_whatever_the_order_of_the_file(fitted, cluster):
    new = {f"{name}{copy}": row for copy in "abc" for name, row in cluster(20, prefix="n").items()}
    shutil.copytree(fitted.uri(), fitted.uri("other"))
    fitted.ingest_vectors(new)
    fitted.ingest_vectors(dict([*new.items()][::-1]), "other")
    assert fitted.ids() == fitted.ids("other")
    assert None not in fitted.ids().values()


# Where the fit, or maintenance, was not complete


def test_vectors_of_known_items_are_fused_although_a_killed_fit_has_made_no_column_for_it(bare):
    rows = {f"v{i:02d}": row.tolist() for i, row in enumerate(np.random.default_rng(0).normal(size=(30, 3)))}
    bring(bare, rows)
    bring(bare, {"twin": [5.0, 1.0, 1.0]})
    bare.fit()
    store = bare.store()
    wanted = bare.rows()
    # As it was when the fit had chosen its fusion.
    store.dataset("contents").drop_columns(["fused"])
    store.update("contents", {"fused_fp": "NULL", "sid": "NULL", "codes": "NULL", "tokenizer_id": "NULL"}, "true")
    changed = {**rows, "v03": [5.0, 1.0, 1.0]}
    bring(bare, changed)
    after = bare.rows()
    assert after["v03"]["fused"] == wanted["twin"]["fused"]
    for name in rows.keys() - {"v03"}:
        assert (after[name]["fused"], after[name]["sid"]) == (wanted[name]["fused"], wanted[name]["sid"])


@pytest.mark.parametrize("column", ["fused", pytest.param("audio", marks=pytest.mark.slow)])
def test_a_search_by_index_finds_the_new_vector_and_not_the_old_one(bare, column):
    rng = np.random.default_rng(0)
    rows = {f"v{i:03d}": row.tolist() for i, row in enumerate(rng.normal(size=(400, 3)))}
    bring(bare, rows, config=bare.settings(clip=None, run={"wave_vectors": 100}))
    bare.fit()
    store = bare.store()
    maintain(store, vector_rows=100)
    with store.writing("contents") as dataset:
        if column == "audio":  # as an earlier fuseid made
            dataset.create_index("audio", "IVF_FLAT", metric="cosine", num_partitions=4)
    assert f"{column}_idx" in {index.name for index in store.dataset("contents").describe_indices()}
    before = bare.rows()
    changed = {**rows, "v007": (-np.array(rows["v007"])).tolist()}
    bring(bare, changed)

    def nearest(vector, only_indexed=False):
        wanted = {"column": column, "q": np.array(vector, np.float32), "k": 2, "nprobes": 400}
        columns = ["content_id", "_distance"]
        found = Store(bare.uri()).dataset("contents").to_table(columns, nearest=wanted, fast_search=only_indexed)
        return dict(zip(found["content_id"].to_pylist(), found["_distance"].to_pylist(), strict=True))

    after = bare.rows()
    assert nearest(after["v007"][column])["v007"] == pytest.approx(0, abs=1e-6)
    assert "v007" not in nearest(before["v007"][column])
    # The index itself, without a scan of rows that it does not cover.
    assert nearest(after["v007"][column], only_indexed=True)["v007"] == pytest.approx(0, abs=1e-6)
    assert "v007" not in nearest(before["v007"][column], only_indexed=True)


def test_a_fragment_of_many_new_vectors_is_written_in_pieces(bare, monkeypatch):
    names = [f"item-{number}" for number in range(12)]
    captioned(bare, names)
    config = bare.settings(clip=None, run={"wave_vectors": 3})
    monkeypatch.setattr("fuseid.pipelines.ingestion.vector_commit._PIECE_BYTES", 40)
    before = bare.store().dataset("contents").version
    run = bring(bare, {name: [1.0, 2.0, float(number)] for number, name in enumerate(names)}, config=config)
    assert run.counts["updated"] == 12
    assert [row["audio"] for row in bare.rows().values()] == [[1.0, 2.0, float(number)] for number in range(12)]
    assert bare.store().dataset("contents").version - before >= 4


def test_a_kind_or_caption_that_a_manifest_could_not_have_rejects_its_row(bare):
    config = bare.settings(decode={"max_caption_chars": 10})
    fields = {"kind": ["banana", None, None], "caption": ["fine", "x" * 11, "  fine  "]}
    run = bring(bare, {"a": GOOD, "b": GOOD, "c": GOOD}, config=config, **fields)
    assert {name: row["error_class"] for name, row in bare.rows("rejected").items()} == {
        "a": "Unrecognised", "b": "TooLarge"
    }  # fmt: skip
    assert (run.counts["committed"], bare.rows()["c"]["caption"]) == (1, "fine")


def test_attempts_of_a_bad_vector_are_counted(bare):
    for _ in range(3):
        bring(bare, {"good": GOOD, "bad": [0.0] * 3})
        retry(bare.uri(), bare.settings())
    assert bare.rows("rejected")["bad"]["attempts"] == 3
