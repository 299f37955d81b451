"""Ready-made vectors at S3, Cloud Storage and a web server are what they are in local files."""

from __future__ import annotations

import io

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput, NotReady
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.sources.vectors import Vectors

from .conftest import send


def parquet(names):
    buffer = io.BytesIO()
    vectors = pa.array([[float(ord(name[0])), 1.0] for name in names], pa.list_(pa.float32()))
    pq.write_table(pa.table({"content_id": pa.array(names, pa.string()), "vector": vectors}), buffer, row_group_size=3)
    return buffer.getvalue()


@pytest.fixture
def on_s3(s3_bucket, tmp_path):
    """-> (the uri of a folder, what puts a file into it)."""
    folder = tmp_path.name
    return f"s3://bucket/{folder}/", lambda key, data: send("PUT", f"{s3_bucket}/{folder}/{key}", data)


@pytest.fixture
def run(bare):
    def ran(source, db="db", **settings):
        config = bare.settings(clip=None, source={"schemes": ["s3", "http"], "private_hosts": True, **settings})
        return ingest(bare.uri(db), Vectors(source, config.source, "audio"), config, LocalRunner())

    return ran


PATTERNS = {
    "": "abcdefgh",
    "*.parquet": "abcdefgh",
    "part-1*": "defgh",
    "part-{0,2}.parquet": "abc",
    "one.parquet": "x",
}


@pytest.mark.slow
@pytest.mark.parametrize(("pattern", "found"), PATTERNS.items())
def test_files_folders_and_patterns_on_s3_are_read(bare, on_s3, run, pattern, found):
    folder, put = on_s3
    for number, names in enumerate((["a", "b", "c"], ["d", "e", "f", "g", "h"], [])):
        put(f"part-{number}.parquet", parquet(names))
    put("_SUCCESS", b"")
    put("inner/one.parquet", parquet(["x"]))
    source = f"{folder}{'inner/' * (found == 'x')}{pattern}"
    assert run(source, require_success=found != "x").counts["committed"] == len(found)
    assert {name: row["audio"] for name, row in bare.rows().items()} == {name: [ord(name), 1.0] for name in found}
    before = bare.store().versions()
    assert run(source).counts["unchanged"] == len(found)
    assert bare.store().versions() == before


def test_a_file_on_a_web_server_is_read_in_parts(bare, site, run):
    site.put("v.parquet", parquet(["a", "b", "c", "d"]))
    assert run(site.uri("v.parquet")).counts["committed"] == 4
    assert "a web server does not list its files" in refusal(lambda: run(site.uri("*.parquet")))


def refusal(read):
    with pytest.raises(BadInput) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_read_on_s3_ends_with_one_line(bare, on_s3, run):
    folder, put = on_s3
    put("broken.parquet", b"no parquet at all")
    put("v.npy", b"")
    put("v.txt", b"x")
    for name, said in (
        ("none.parquet", "cannot read s3://"),
        ("broken.parquet", "cannot read vectors s3://"),
        ("none-*.parquet", "no such files"),
        ("none/", "cannot list"),
        ("v.npy", "vectors at a uri are Parquet"),
        ("v.txt", "names files of .txt"),
    ):
        assert said in refusal(lambda name=name: run(f"{folder}{name}"))
    assert "add s3 to source.schemes" in refusal(lambda: Vectors(f"{folder}v.parquet", SourceConfig()))
    with pytest.raises(NotReady, match="holds no file _SUCCESS"):
        run(f"{folder}broken.parquet", require_success=True)
    assert not (bare.root / "db").exists()


@pytest.mark.slow
def test_a_file_on_s3_that_is_replaced_between_the_two_readings_is_refused(bare, on_s3, s3_bucket):
    folder, put = on_s3
    put("v.parquet", parquet(["a", "b"]))
    config = bare.settings(clip=None, source={"schemes": ["s3"]})
    source = Vectors(f"{folder}v.parquet", config.source, "audio")
    # The emulator lets nobody replace a file without a signature.
    signed = s3fs.S3FileSystem(endpoint_url=s3_bucket.removesuffix("/bucket"), skip_instance_cache=True)
    signed.pipe_file(f"{folder}v.parquet", parquet(["a", "b", "c"]))
    with pytest.raises(NotReady, match="was written to while it was read"):
        ingest(bare.uri(), source, config, LocalRunner())
    assert not (bare.root / "db").exists()


@pytest.mark.slow
def test_a_lance_dataset_on_s3_is_read(bare, on_s3, run):
    folder, _ = on_s3
    lance.write_dataset(pq.read_table(io.BytesIO(parquet(["a", "b"]))), f"{folder}songs.lance")
    assert run(f"lance:{folder}songs.lance").counts["committed"] == 2
    assert "cannot read vectors" in refusal(lambda: run(f"lance:{folder}none.lance"))
