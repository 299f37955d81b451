"""A database in a bucket has the same IDs, look-ups, exports and guards as a local one."""

from __future__ import annotations

import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest

from fuseid.core.errors import BadInput, LeaseHeld, StoreError
from fuseid.pipelines.backup import backup
from fuseid.pipelines.check import check
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.fit import fit
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.restore import restore
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.store.id_order import named
from fuseid.pipelines.store.indexes import unindexed_rows
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.upgrade import upgrade


def rows_of(store, table="contents"):
    return {row["content_id"]: row for row in store.dataset(table).to_table().to_pylist()}


@pytest.fixture
def catalogue(workspace):
    media = [{"content_id": f"p{n}", "uri": workspace.picture(f"{n}.png", n)} for n in range(6)]
    (workspace.media / "broken.png").write_bytes(b"no picture")
    return [*workspace.captions(30), *media, {"content_id": "broken", "uri": "broken.png"}]


@pytest.mark.slow
def test_a_database_in_a_bucket_holds_what_one_on_disk_does(workspace, catalogue, encode_step, in_bucket, tmp_path):
    config = workspace.settings(run={"wave_rows": 100, "block_rows": 50})
    given = {}
    for uri in (workspace.uri(), in_bucket):

        def run(rows, uri=uri):
            return ingest(uri, open_source(workspace.manifest(rows)), config, LocalRunner(lambda _: encode_step))

        assert run(catalogue).counts["committed"] == 36
        fit(uri, workspace.settings())
        assert run(catalogue).counts["planned"] == 0
        assert run([*catalogue, *workspace.captions(5, "new")]).counts["assigned"] == 5
        store = Store.open(uri)
        maintain(store, vector_rows=10, fts_rows=10)
        assert set(unindexed_rows(store).values()) == {0}
        assert rows_of(store, "rejected").keys() == {"broken"}
        found = Catalog.open(uri, workspace.settings()).search(text="a red apple", k=5)["content_id"].to_pylist()
        out = tmp_path / f"export-{len(given)}"
        export_ids(uri, out)
        exported = {path.name: path.read_bytes() for path in out.iterdir() if path.name != "manifest.json"}
        given[uri] = ({name: row["sid"] for name, row in rows_of(store).items()}, found, exported)
    disk, bucket = given.values()
    assert disk == bucket
    ids, _, exported = disk
    assert None not in ids.values()
    assert exported


@pytest.mark.slow
def test_an_old_database_in_a_bucket_is_upgraded_as_one_on_disk(workspace, in_bucket, tmp_path):
    frozen = Path(__file__).parents[2] / "data" / "frozen" / "schema-3-vectors.tar.gz"
    with tarfile.open(frozen) as archive:
        archive.extractall(tmp_path, filter="data")
    here = str(tmp_path / "db")
    backup(here, str(tmp_path / "backup"))
    restore(str(tmp_path / "backup"), in_bucket)
    for uri in (here, in_bucket):
        assert upgrade(uri, workspace.settings()).counts == {"rows": 48, "changed": 40}
        assert check(uri, workspace.settings())["damages"] == []
    assert rows_of(Store.open(here)) == rows_of(Store.open(in_bucket))


@pytest.mark.slow
def test_a_database_in_a_bucket_is_copied_checked_and_restored(workspace, in_bucket, encode_step):
    config = workspace.settings(clip=None)
    vectors = {f"v{n:02d}": np.random.default_rng(n).normal(size=8) for n in range(40)}
    ingest(in_bucket, workspace.vectors(vectors), config, LocalRunner())
    fit(in_bucket, workspace.settings())
    places = {"there": f"{in_bucket}-backup", "here": workspace.uri("backup")}
    for name, place in places.items():
        made = backup(in_bucket, place)
        with pytest.raises(BadInput, match="exists and is not"):
            backup(in_bucket, place)
        again = f"{in_bucket}-again" if name == "here" else workspace.uri("again")
        assert restore(place, again) == {**made, "ids_from_exports": 0}
        assert rows_of(Store.open(again)) == rows_of(Store.open(in_bucket))
        assert check(again, config)["damages"] == []
        assert ingest(again, workspace.vectors(vectors), config, LocalRunner()).counts["planned"] == 0
    fs, root = fsspec.url_to_fs(in_bucket)
    (manifest, *_) = sorted(fs.ls(f"{root}/lease.lance/_versions", detail=False))
    fs.pipe_file(manifest, b"")
    with pytest.raises(StoreError, match=r"the table lease of s3://.* is damaged: .*fuseid check"):
        ingest(in_bucket, workspace.vectors(vectors), config, LocalRunner())
    document = check(in_bucket, config, repair=True)
    assert ([one["where"] for one in document["repaired"]], document["damages"]) == (["lease"], [])
    assert ingest(in_bucket, workspace.vectors(vectors), config, LocalRunner()).counts["planned"] == 0


def test_a_database_in_a_bucket_is_filled_fitted_and_looked_up(workspace, in_bucket):
    vectors = {f"v{n:02d}": np.random.default_rng(n).normal(size=8) for n in range(20)}
    config = workspace.settings(clip=None)
    ingest(in_bucket, workspace.vectors(vectors), config, LocalRunner())
    fit(in_bucket, config)
    assert ingest(in_bucket, workspace.vectors(vectors), config, LocalRunner()).counts["planned"] == 0
    found = Catalog.open(in_bucket).search(like="v03", k=3)
    assert found.num_rows == 3
    assert None not in found["sid"].to_pylist()


@pytest.mark.slow
def test_the_id_order_of_a_database_in_a_bucket_pages_as_a_scan_does(workspace, in_bucket):
    vectors = {f"v{n:02d}": np.random.default_rng(n).normal(size=8) for n in range(20)}
    config = workspace.settings(clip=None)
    ingest(in_bucket, workspace.vectors(vectors), config, LocalRunner())
    fit(in_bucket, config)

    def pages() -> tuple[list[list[str]], list[dict]]:
        catalog = Catalog.open(in_bucket)
        children = catalog.children()
        found = []
        for prefix in children["prefix"].to_pylist():
            after = None
            while True:
                page = catalog.search(sid=prefix, k=3, after=after)
                found.append(page["content_id"].to_pylist())
                after = (page.schema.metadata or {}).get(b"fuseid.next", b"").decode() or None
                if after is None:
                    break
        return found, children.to_pylist()

    store = Store.open(in_bucket)
    assert named(store.dataset("contents")) is None
    scanned = pages()
    maintain(store, order_rows=1)
    facts = named(store.dataset("contents"))
    assert facts is not None
    assert facts["items"] == 20
    assert pages() == scanned
    assert check(in_bucket, config)["damages"] == []
    fs, root = fsspec.url_to_fs(in_bucket)
    fs.rm(f"{root}/id_order/{facts['name']}/items.lance")
    assert pages() == scanned
    document = check(in_bucket, config, repair=True)
    assert [one["where"] for one in document["repaired"]] == ["contents, ID order"]
    assert pages() == scanned
    backup(in_bucket, f"{in_bucket}-backup")
    restore(f"{in_bucket}-backup", f"{in_bucket}-again")
    assert check(f"{in_bucket}-again", config)["damages"] == []
    assert named(Store.open(f"{in_bucket}-again").dataset("contents")) is not None


def test_two_writers_to_a_bucket_are_kept_apart(workspace, in_bucket, encode_step):
    store = Store.create(in_bucket)
    with Lease(store), pytest.raises(LeaseHeld, match="another run is writing"), Lease(Store.open(in_bucket)):
        pass
    with Lease(Store.open(in_bucket)):
        pass


def test_a_bucket_without_a_database_is_reported_in_one_line(in_bucket):
    with pytest.raises(StoreError, match=f"^no fuseid database at {in_bucket}; `fuseid ingest --db .* makes one$"):
        Store.open(in_bucket)


def test_a_missing_bucket_is_reported_in_one_line(s3_bucket):
    with pytest.raises(StoreError, match=r"^cannot open the database s3://nobody/db: .*(?<!:\d)$"):
        Store.create("s3://nobody/db")
