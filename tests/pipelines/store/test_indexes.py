"""Indexes: created when due, and writing IDs removes no row from a vector index."""

from __future__ import annotations

import shutil

import lancedb
import numpy as np
import pytest

from fuseid.pipelines.assignment.projection import project
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.ingestion.steps import load_encoders
from fuseid.pipelines.promote import promote
from fuseid.pipelines.store.indexes import indexed_columns, unindexed_rows

INDEX = {"external": "external_idx", "fused": "fused_idx"}


def names(workspace) -> set[str]:
    return indexed_columns(workspace.store().dataset("contents"))


@pytest.fixture(scope="module")
def indexed_once(make_workspace, cluster, tmp_path_factory):
    workspace = make_workspace(tmp_path_factory.mktemp("indexed"))
    workspace.ingest_vectors(cluster(80))
    workspace.fit()
    maintain(workspace.store(), vector_rows=10, fts_rows=10)
    return workspace


@pytest.fixture
def indexed(indexed_once, bare):
    """Eighty ready-made vectors with IDs and all indexes; made once and copied."""
    shutil.copytree(indexed_once.uri(), bare.uri())
    return bare


def test_a_small_table_has_key_indexes_only(fitted):
    assert names(fitted) == {"content_id", "sid"}


def test_a_table_that_is_large_enough_has_them_all(indexed):
    assert names(indexed) == {"content_id", "sid", "fused"}
    assert set(unindexed_rows(indexed.store()).values()) == {0}


def test_rows_that_an_index_lacks_are_counted_until_it_has_them(indexed):
    store = indexed.store()
    row = store.dataset("contents").to_table(filter="content_id = 'v001'")
    place = row.schema.get_field_index("content_id")
    store.upsert("contents", row.set_column(place, row.schema.field(place), [["new"]]))
    assert set(unindexed_rows(store).values()) == {1}
    maintain(store, vector_rows=10, fts_rows=10)
    assert set(unindexed_rows(store).values()) == {0}


@pytest.mark.parametrize("size", [16, 40])
def test_vectors_of_many_numbers_are_indexed_by_codes(bare, size):
    rng = np.random.default_rng(0)
    vectors = {f"v{number}": rng.normal(size=size) for number in range(300)}
    bare.ingest_vectors(vectors, config=bare.settings(clip=None))
    bare.fit(fusion={"dim": size})
    maintain(bare.store(), vector_rows=300)
    table = lancedb.connect(bare.uri()).open_table("contents")
    (index,) = (index for index in table.list_indices() if index.columns == ["fused"])
    assert index.index_type == ("IvfSq" if size > 32 else "IvfFlat")
    assert table.index_stats("fused_idx").num_unindexed_rows == 0
    query = np.array(bare.rows()["v7"]["fused"], np.float32)
    hits = table.search(query, vector_column_name="fused").distance_type("cosine").nprobes(20).limit(10)
    assert "v7" in [row["content_id"] for row in hits.select(["content_id"]).to_list()]


def test_an_ingest_that_assigns_leaves_no_row_unindexed(indexed, cluster):
    indexed.ingest_vectors(cluster(30, seed=7, prefix="w"))
    assert None not in indexed.ids().values()
    assert set(unindexed_rows(indexed.store()).values()) == {0}


def test_writing_ids_drops_no_vector_out_of_its_index_even_before_the_upkeep(indexed):
    indexed.fit(tokenizer={"codebook_sizes": [2, 2]})
    candidate = indexed.candidate()
    assert project(indexed.store(), candidate) == 80
    assert indexed.ids() == indexed.ledger(candidate)
    left = unindexed_rows(indexed.store())
    assert left["fused_idx"] == 0


def test_after_a_promote_the_index_on_ids_finds_the_new_ones(indexed):
    indexed.fit(tokenizer={"codebook_sizes": [2, 2]})
    candidate = indexed.candidate()
    promote(indexed.uri(), candidate, indexed.settings())
    assert set(unindexed_rows(indexed.store()).values()) == {0}
    ids = indexed.ids()
    for prefix in {sid.split("-")[0] for sid in ids.values()}:
        found = indexed.catalog().search(sid=prefix, k=100)["content_id"].to_pylist()
        assert set(found) == {name for name, sid in ids.items() if sid.split("-")[0] == prefix}


def test_the_index_finds_what_an_exact_scan_finds_first(indexed, cluster):
    # The nearest item of an item's own vector is that item, in whichever partition it lies.
    for name, vector in list(indexed.rows().items())[::16]:
        hits = indexed.catalog().search(vector=np.array(vector["fused"], np.float32), k=1)
        assert hits["score"][0].as_py() == pytest.approx(1, abs=1e-5)
        assert hits["sid"][0].as_py().partition(".")[0] == indexed.ids()[name].partition(".")[0]


def test_upkeep_of_an_empty_database_and_twice_in_a_row_is_harmless(bare, cluster):
    from fuseid.pipelines.store.store import Store

    maintain(Store.create(bare.uri()))
    bare.ingest_vectors(cluster(20))
    for _ in range(2):
        maintain(bare.store(), vector_rows=10, fts_rows=10)
    assert len(bare.rows()) == 20


@pytest.mark.parametrize("rows", [1, 30])
def test_rows_without_a_vector_enter_beside_an_index_of_vectors(indexed, cluster, rows):
    config = indexed.settings(clip={"model": "fake:8"}, run={"wave_rows": 100, "wave_vectors": 100})
    indexed.ingest(indexed.captions(rows), config=config, load=load_encoders)
    assert set(unindexed_rows(indexed.store()).values()) == {0}
    indexed.ingest_vectors(cluster(10, prefix="w"))
    assert set(unindexed_rows(indexed.store()).values()) == {0}
    assert len(indexed.rows()) == 90 + rows


TEXTS = [
    '"unclosed',
    "a AND (",
    "+must -not",
    "caption:dog",
    "dog~2 OR *",
    "'; DROP TABLE contents; --",
    "\\",
    "?!",
    "x" * 5000,
]


def test_any_text_is_searched_as_words(workspace):
    workspace.ingest([*workspace.captions(20), {"content_id": "rare", "caption": "zanzibar"}])
    maintain(workspace.store(), vector_rows=10, fts_rows=10)
    catalog = workspace.catalog()
    assert "rare" in catalog.search(text="zanzibar", k=5)["content_id"].to_pylist()
    for text in TEXTS:
        found = catalog.search(text=text, k=3, where="kind = 'text'")
        assert found.num_rows == 3
        assert found["score"].null_count == 0


def test_captions_that_arrive_later_are_in_the_full_text_index_too(workspace):
    workspace.ingest(workspace.captions(20))
    maintain(workspace.store(), fts_rows=10)
    workspace.ingest([{"content_id": "rare", "caption": "zanzibar"}])
    assert set(unindexed_rows(workspace.store()).values()) == {0}
    table = lancedb.connect(workspace.uri()).open_table("contents")
    found = table.search("zanzibar", query_type="fts", fts_columns="caption").select(["content_id"]).to_list()
    assert [row["content_id"] for row in found] == ["rare"]


class PowerCut(Exception):
    pass


def test_a_table_far_above_the_size_of_a_fragment_is_compacted_into_several(bare):
    limit = 200_000
    vectors = {f"v{number}": np.random.default_rng(number).normal(size=512) for number in range(1200)}
    config = bare.settings(clip=None, run={"wave_rows": 50, "wave_vectors": 50, "block_rows": 50})

    def after_wave(waves: int) -> None:
        if waves == 24:  # of 100 kB each, and no maintenance yet
            raise PowerCut

    with pytest.raises(PowerCut):
        bare.ingest_vectors(vectors, config=config, after_wave=after_wave)
    assert len(bare.store().dataset("contents").get_fragments()) == 24
    maintain(bare.store(), fragment_bytes=limit)
    fragments = bare.store().dataset("contents").get_fragments()
    sizes = [sum(file.file_size_bytes for file in fragment.metadata.files) for fragment in fragments]
    assert len(sizes) <= 12
    assert max(sizes) <= 2 * limit
    assert bare.rows().keys() == vectors.keys()
    assert set(unindexed_rows(bare.store()).values()) == {0}
