"""Ready-made vectors from files, folders, patterns and Lance datasets; what cannot be used is refused or rejected."""

from __future__ import annotations

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput, FingerprintMismatch
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.sources.vectors import Vectors


def test_bad_vectors_cost_their_own_item_only(bare, cluster):
    bad = {
        "zero": np.zeros(8),
        "nan": np.full(8, np.nan),
        "infinite": np.full(8, np.inf),
        "half nan": [np.nan, *[1.0] * 7],
    }
    bare.ingest_vectors({**cluster(5), **bad})
    assert bare.rows().keys() == cluster(5).keys()
    rejected = bare.rows("rejected")
    assert {name: (row["stage"], row["error_class"]) for name, row in rejected.items()} == dict.fromkeys(
        bad, ("source", "BadVector")
    )
    again = bare.ingest_vectors({**cluster(5), **bad})
    assert (again.counts["planned"], again.counts["unchanged"], again.counts["rejected_before"]) == (0, 5, 4)
    bare.ingest_vectors({"zero": np.ones(8)})
    assert "zero" in bare.rows()
    assert "zero" not in bare.rows("rejected")


def test_a_number_beyond_float32_costs_its_own_item(bare, cluster):
    np.save(bare.media / "big.npy", np.array([[1e300] * 8, [1.0] * 8]))
    (bare.media / "big.ids.txt").write_text("big\nfine\n")
    ingest(bare.uri(), Vectors(bare.media / "big.npy"), bare.settings(clip=None), LocalRunner())
    assert (bare.rows().keys(), bare.rows("rejected").keys()) == ({"fine"}, {"big"})


def test_vectors_of_another_size_than_the_databases_are_refused_in_one_line(bare, cluster):
    bare.ingest_vectors(cluster(5))
    with pytest.raises(FingerprintMismatch, match=r"external vectors of 7 numbers .* external has 8") as caught:
        bare.ingest_vectors({"other": np.ones(7)})
    assert "\n" not in str(caught.value)
    assert bare.rows().keys() == cluster(5).keys()


def test_unchanged_vectors_are_not_committed_again_and_changed_ones_are(fitted, cluster):
    vectors = cluster(60)
    before = fitted.store().versions()["contents"]
    run = fitted.ingest_vectors(vectors)
    assert (run.counts["unchanged"], run.counts["planned"]) == (60, 0)
    assert fitted.store().versions()["contents"] == before
    run = fitted.ingest_vectors({**vectors, "v003": vectors["v003"] + 1})
    assert (run.counts["unchanged"], run.counts["committed"]) == (59, 1)
    assert np.allclose(fitted.rows()["v003"]["external"], vectors["v003"] + 1)


def test_a_file_without_rows_is_refused(bare):
    np.save(bare.media / "none.npy", np.empty((0, 8), np.float32))
    (bare.media / "none.ids.txt").touch()
    with pytest.raises(BadInput, match="lists no items"):
        ingest(bare.uri(), Vectors(bare.media / "none.npy"), bare.settings(clip=None), LocalRunner())
    assert not (bare.root / "db").exists()


def test_captions_and_vectors_live_in_one_database(workspace, cluster):
    workspace.ingest(workspace.captions(8))
    workspace.ingest_vectors(cluster(8))
    workspace.fit()
    rows = workspace.rows()
    assert None not in workspace.ids().values()
    assert len(rows) == 16
    assert rows["v001"]["clip_text"] is None
    assert rows["t001"]["external"] is None
    assert rows["t001"]["clip_text"] is not None


def refusal(read):
    with pytest.raises(BadInput) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Ids


def ids_of(*texts, kind=None):
    return pa.array(texts, kind or pa.string())


NOT_UTF8 = pa.Array.from_buffers(
    pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff")]
)
BAD_IDS = {
    "null": (ids_of("a", None), "row 2: content_id is None; every row needs one"),
    "empty": (ids_of("a", ""), "row 2: content_id is ''; every row needs one"),
    "null among numbers": (pa.array([1, None]), "row 2: content_id is None"),
    "null in a dictionary": (ids_of("a", None).dictionary_encode(), "row 2: content_id is None"),
    "twice": (ids_of("a", "a"), "'a' in row 1 and row 2; ids must be unique"),
    "a number twice": (pa.array([7, 7]), "'7' in row 1 and row 2; ids must be unique"),
    "not UTF-8": (NOT_UTF8, "row 2: content_id is a value that is not UTF-8"),
    "not UTF-8 in a dictionary": (
        pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), NOT_UTF8), "row 2: content_id is a value that"
    ),
    "floats": (pa.array([1.5, 2.5]), "content_id must hold text, whole numbers or UUIDs, got double"),
    "truths": (pa.array([True, False]), "content_id must hold text, whole numbers or UUIDs, got bool"),
    "dates": (pa.array([1, 2], pa.date32()), "content_id must hold text, whole numbers or UUIDs, got date32"),
    "lists": (pa.array([["a"], ["b"]]), "content_id must hold text, whole numbers or UUIDs, got list"),
    "nothing": (pa.nulls(2), "row 1: content_id is None"),
}  # fmt: skip


def put(path, ids, **columns):
    vectors = pa.array([[float(i + 1), 1.0] for i in range(len(ids))], pa.list_(pa.float32()))
    pq.write_table(pa.table({"content_id": ids, "vector": vectors, **columns}), path)
    return path


@pytest.mark.parametrize("name", BAD_IDS)
def test_ids_that_cannot_be_used_are_refused_before_there_is_a_database(bare, name):
    ids, said = BAD_IDS[name]
    path = put(bare.media / "v.parquet", ids)
    assert said in refusal(lambda: bare.ingest_vectors(path))
    assert not (bare.root / "db").exists()


IDS = [
    ids_of("a", "b"), ids_of("c", "d", kind=pa.large_string()), ids_of("e", "f", kind=pa.string_view()),
    ids_of("g", "h").dictionary_encode(), ids_of("i", "j", kind=pa.large_string()).dictionary_encode(),
    pa.array([1, 2], pa.int8()), pa.array([2**64 - 1, 0], pa.uint64()), pa.array([-5, 5]).dictionary_encode(),
    ids_of("日本 😀", "it's; --"), ids_of(" ", "x" * 100_000), ids_of("a\0b", "null"),
]  # fmt: skip


def test_ids_of_any_text_and_whole_numbers_are_items(bare):
    for number, ids in enumerate(IDS):
        put(bare.media / f"{number}.parquet", ids)
    bare.ingest_vectors(bare.media, name="audio")
    expected = {str(each): [place + 1.0, 1.0] for ids in IDS for place, each in enumerate(ids.to_pylist())}
    assert {name: row["audio"] for name, row in bare.rows().items()} == expected
    assert bare.ingest_vectors(bare.media, name="audio").counts["unchanged"] == len(expected)


def test_an_id_that_occurs_in_two_files_of_a_folder_is_refused(bare):
    for number, names in enumerate((["a", "b"], ["c"], ["d", "b"])):
        put(bare.media / f"{number}.parquet", ids_of(*names))
    said = refusal(lambda: bare.ingest_vectors(bare.media))
    assert f"'b' in row 2 of {bare.media / '0.parquet'} and row 2 of {bare.media / '2.parquet'}; ids" in said
    assert not (bare.root / "db").exists()


def test_a_row_of_any_file_and_row_group_is_named_by_its_number(bare):
    names = [f"v{i}" for i in range(30)]
    put(bare.media / "0.parquet", ids_of(*names))
    pq.write_table(
        pa.table({"content_id": ids_of(*"abcdefg", None, "h"), "vector": [[1.0, 2.0]] * 9}),
        bare.media / "1.parquet",
        row_group_size=3,
    )
    said = refusal(lambda: bare.ingest_vectors(bare.media))
    assert f"{bare.media / '1.parquet'}, row 8: content_id is None" in said


# Sources


def test_a_folder_is_read_as_spark_writes_it(bare):
    for number in range(3):
        put(bare.media / f"part-{number:05d}.snappy.parquet", ids_of(f"a{number}", f"b{number}"))
    put(bare.media / "part-00003.parquet", ids_of())
    for name in ("_SUCCESS", "_metadata", "_common_metadata", ".part-00000.parquet.crc", ".hidden.parquet", "README"):
        (bare.media / name).write_bytes(b"no vectors")
    put(bare.media / "_temporary.parquet", ids_of("unfinished"))
    for source in (bare.media, bare.media / "*.parquet"):
        assert sorted(each for ids in Vectors(source).ids() for each in ids.to_pylist()) == [
            "a0", "a1", "a2", "b0", "b1", "b2",
        ]  # fmt: skip
    assert bare.ingest_vectors(bare.media).counts["committed"] == 6


def test_a_file_whose_row_groups_are_empty_is_read_among_others(bare):
    with pq.ParquetWriter(
        bare.media / "v.parquet",
        put_schema := pa.schema([("content_id", pa.string()), ("vector", pa.list_(pa.float32()))]),
    ) as writer:
        for names in ([], ["a"], [], [], ["b", "c"], []):
            writer.write_table(pa.table([ids_of(*names), [[1.0, 2.0]] * len(names)], schema=put_schema))
    assert bare.ingest_vectors(bare.media / "v.parquet").counts["committed"] == 3


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.parquet", "abcd"), ("[ab].parquet", "ab"), ("{a,c}.parquet", "ac"), ("{d,b}*.parquet", "bd"),
        ("?.parquet", "abcd"),
    ],
)  # fmt: skip
def test_patterns_name_files(tmp_path, pattern, found):
    for name in "abcd":
        put(tmp_path / f"{name}.parquet", ids_of(name))
    source = Vectors(f"{tmp_path}/{pattern}")
    assert sorted(each for ids in source.ids() for each in ids.to_pylist()) == [*found]


def test_files_of_several_kinds_are_refused(tmp_path):
    put(tmp_path / "a.parquet", ids_of("a"))
    np.save(tmp_path / "b.npy", np.ones((1, 2)))
    (tmp_path / "b.ids.txt").write_text("b\n")
    assert "names files of .npy and .parquet" in refusal(lambda: Vectors(tmp_path))
    assert "names files of .npy and .parquet" in refusal(lambda: Vectors(f"{tmp_path}/[ab].[np]*"))


@pytest.mark.parametrize(
    "path", ["x" * 5000, "x" * 5000 + "#column", "a\0b", "", "missing/*.parquet", "{0..3}.parquet"]
)
def test_paths_that_name_nothing_end_with_one_line(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    assert refusal(lambda: Vectors(path))


def test_a_column_of_another_name_is_chosen_by_its_name(bare):
    vectors = pa.array([[1.0, 2.0], [3.0, 4.0]])
    pq.write_table(
        pa.table(
            {"content_id": ids_of("a", "b"), "vector": pa.array([[9.0]] * 2), "embedding": vectors, "note": ["", ""]}
        ),
        bare.media / "v.parquet",
    )
    run = bare.ingest_vectors(f"{bare.media}/v.parquet#embedding", name="audio")
    assert bare.rows()["b"]["audio"] == [3.0, 4.0]
    assert "columns of the vectors that were not read: vector, note" in run.notes
    for column, said in (("none", "has no column none; it has content_id, vector, embedding, note"),
                         ("note", "column note must hold lists of floats, got string")):  # fmt: skip
        assert said in refusal(lambda column=column: Vectors(f"{bare.media}/v.parquet#{column}"))
    # A file of that very name is a file.
    put(bare.media / "v#embedding", ids_of("c"))
    assert "names files of" in refusal(lambda: Vectors(bare.media / "v#embedding"))


def test_a_column_that_there_is_twice_is_refused(tmp_path):
    both = pa.Table.from_arrays([ids_of("a"), pa.array([[1.0]]), pa.array([[2.0]])], ["content_id", "vector", "vector"])
    pq.write_table(both, tmp_path / "v.parquet")
    assert "has 2 columns named vector" in refusal(lambda: Vectors(tmp_path / "v.parquet"))


@pytest.mark.parametrize("rows", [[None, None], [[], []], [None, []]])
def test_a_file_in_which_no_item_has_a_vector_is_refused(bare, rows):
    vectors = pa.array(rows, pa.list_(pa.float32()))
    pq.write_table(pa.table({"content_id": ids_of("a", "b"), "vector": vectors}), bare.media / "v.parquet")
    assert "every vector is null or empty" in refusal(lambda: bare.ingest_vectors(bare.media / "v.parquet"))
    assert not (bare.root / "db").exists()


# Lance


def lance_table(names, first=0):
    vectors = np.stack([np.arange(first, first + len(names)), np.ones(len(names))], 1).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 2)
    return pa.table({"content_id": names, "embedding": column, "caption": [f"words of {name}" for name in names]})


def test_a_dataset_is_read_at_one_version_without_deleted_rows(bare):
    path = bare.media / "songs.lance"
    names = [f"v{i:02d}" for i in range(30)]
    lance.write_dataset(lance_table(names[:20]), path, max_rows_per_file=8)
    dataset = lance.write_dataset(lance_table(names[20:], 20), path, mode="append")
    dataset.delete("content_id IN ('v01', 'v25') OR (content_id >= 'v08' AND content_id < 'v16')")
    kept = [name for name in names if name not in ("v01", "v25") and not "v08" <= name < "v16"]
    source = Vectors(f"lance:{path}#embedding", name="audio")
    dataset.delete("content_id = 'v00'")
    run = ingest(bare.uri(), source, bare.settings(clip=None), LocalRunner())
    assert run.counts["committed"] == len(kept)
    rows = bare.rows()
    assert rows.keys() == set(kept)
    assert all(rows[name]["audio"] == [int(name[1:]), 1.0] for name in kept)
    assert rows["v02"]["caption"] == "words of v02"
    again = bare.ingest_vectors(f"lance:{path}#embedding", name="audio")
    assert (again.counts["listed"], again.counts["unchanged"]) == (len(kept) - 1,) * 2


def test_a_table_of_lancedb_is_read(bare):
    import lancedb

    lancedb.connect(str(bare.media / "db")).create_table("songs", lance_table(["a", "b"]))
    bare.ingest_vectors(f"lance:{bare.media}/db/songs.lance#embedding", name="audio")
    assert {name: row["audio"] for name, row in bare.rows().items()} == {"a": [0, 1], "b": [1, 1]}


def test_a_dataset_that_cannot_be_read_ends_with_one_line(bare):
    path = bare.media / "songs.lance"
    assert "cannot read vectors" in refusal(lambda: Vectors(f"lance:{path}"))
    dataset = lance.write_dataset(lance_table(["a", "b"]), path)
    assert "has no column vector; it has content_id, embedding, caption" in refusal(lambda: Vectors(f"lance:{path}"))
    assert "column caption must hold lists" in refusal(lambda: Vectors(f"lance:{path}#caption"))
    (data,) = (path / "data").iterdir()
    whole = data.read_bytes()
    for damaged in (b"", whole[:50], whole[:-1], b"\xff" * len(whole)):
        data.write_bytes(damaged)
        assert "cannot read vectors" in refusal(lambda: bare.ingest_vectors(f"lance:{path}#embedding"))
    assert not (bare.root / "db").exists()
    data.write_bytes(whole)
    dataset.delete("true")
    assert "lists no items" in refusal(lambda: Vectors(f"lance:{path}#embedding"))


def test_a_lance_dataset_elsewhere_needs_its_scheme_to_be_allowed():
    assert "add s3 to source.schemes" in refusal(lambda: Vectors("lance:s3://bucket/songs.lance#embedding"))
    assert "cannot read from" in refusal(lambda: Vectors("lance:ftp://bucket/songs.lance"))
