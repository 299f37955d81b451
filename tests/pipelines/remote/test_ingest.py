"""An ingest from HTTP, S3 or Cloud Storage gives what one from local files gives, and is repeated as cheaply."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput, FetchFailed, MissingFile, NotAllowed, TooManyRejected
from fuseid.pipelines.files.fetcher import Fetcher
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.sources.open import open_source

from .conftest import reply, send

Put = Callable[[str, bytes], Any]


@pytest.fixture
def on_s3(s3_bucket) -> tuple[str, Put]:
    """-> (the uri of a folder, what puts a file into it)."""
    return "s3://bucket/dir/", lambda key, data: send("PUT", f"{s3_bucket}/dir/{key}", data)


@pytest.fixture
def on_gs(gs_port, monkeypatch) -> tuple[str, Put]:
    server = f"http://127.0.0.1:{gs_port}"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
    upload = f"{server}/upload/storage/v1/b/bucket/o?uploadType=media&name=dir/"
    return "gs://bucket/dir/", lambda key, data: send("POST", f"{upload}{key}", data)


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def run(workspace, encode_step):
    """Ingests a remote source into a database."""

    def ran(source: str, load: Any = None, db: str = "db", **settings: Any) -> Any:
        scheme = source.partition(":")[0]
        web = {"schemes": [scheme], "private_hosts": True, "timeout_seconds": 20, **settings}
        config = workspace.settings(source=web)
        opened = open_source(source, config.source)
        return ingest(workspace.uri(db), opened, config, LocalRunner(load or (lambda _: encode_step)))

    return ran


def test_a_manifest_and_its_media_are_ingested_from_a_web_server(workspace, site, run):
    for number in range(3):
        site.put(f"media/{number}.png", (workspace.media / workspace.picture(f"{number}.png", number)).read_bytes())
    site.put("media/f.mp4", (workspace.media / workspace.video("f.mp4")).read_bytes())
    site.put("media/bad.png", b"no picture")
    rows = [
        {"content_id": "0", "uri": "media/0.png", "caption": "a picture"},
        {"content_id": "1", "uri": site.uri("media/1.png")},
        {"content_id": "f", "uri": "media/f.mp4"},
        {"content_id": "w", "caption": "only words"},
        {"content_id": "bad", "uri": "media/bad.png"},
        {"content_id": "none", "uri": "media/none.png"},
        {"content_id": "up", "uri": "../x.png"},
        {"content_id": "local", "uri": "/etc/passwd"},
    ]
    site.put("items.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    first = run(site.uri("items.jsonl"))
    contents, rejected = workspace.rows(), workspace.rows("rejected")
    assert contents.keys() == {"0", "1", "f", "w"}
    assert {name: (row["stage"], row["error_class"]) for name, row in rejected.items()} == {
        "bad": ("decode", "Unrecognised"), "none": ("fetch", "MissingFile"),
        "up": ("source", "NotAllowed"), "local": ("source", "NotAllowed"),
    }  # fmt: skip
    assert "'media/bad.png'" in rejected["bad"]["message"]
    assert first.counts["planned"] == len(rows)
    assert contents["f"]["kind"] == "video"

    # The same files from this disk give the same vectors.
    local = [{**row, "uri": Path(row["uri"]).name} for row in rows if "uri" in row and row["content_id"] in contents]
    workspace.ingest(local, db="local")
    for name, row in workspace.rows(db="local").items():
        assert (row["clip_image"], row["media_hash"]) == (contents[name]["clip_image"], contents[name]["media_hash"])

    again = run(site.uri("items.jsonl"), load=workspace.no_model)
    assert (again.counts["unchanged"], again.counts["rejected_before"], again.counts["planned"]) == (4, 4, 0)

    site.put("media/0.png", (workspace.media / "2.png").read_bytes())
    changed = run(site.uri("items.jsonl"))
    assert (changed.counts["planned"], changed.counts["committed"]) == (1, 1)
    assert workspace.rows()["0"]["media_hash"] != contents["0"]["media_hash"]


def test_shards_are_ingested_from_a_web_server(workspace, site, run):
    for number in range(2):
        picture = (workspace.media / workspace.picture(f"{number}.png", number)).read_bytes()
        film = (workspace.media / workspace.video(f"{number}.mp4", number)).read_bytes()
        files = {f"p{number}.png": picture, f"p{number}.txt": b"words", f"f{number}.mp4": film}
        site.put(f"shards/{number}.tar", tar_of(files))
    site.put("shards/2.tar", b"no tar" * 500)
    pattern = site.uri("shards/{0..3}.tar")
    run(pattern)
    contents, rejected = workspace.rows(), workspace.rows("rejected")
    assert contents.keys() == {"p0", "f0", "p1", "f1"}
    assert contents["p1"]["caption"] == "words"
    assert contents["p1"]["uri"].startswith(site.uri("shards/1.tar#p1.png@"))
    assert {row["uri"]: row["error_class"] for row in rejected.values()} == {
        site.uri("shards/2.tar"): "BadShard", site.uri("shards/3.tar"): "MissingFile"
    }  # fmt: skip
    again = run(pattern, load=workspace.no_model)
    assert (again.counts["unchanged"], again.counts["planned"]) == (4, 0)


@pytest.mark.parametrize("store", ["on_s3", "on_gs"])
def test_a_manifest_media_and_shards_are_ingested_from_an_object_store(workspace, request, run, store):
    uri, put = request.getfixturevalue(store)
    picture = (workspace.media / workspace.picture("a.png", 1)).read_bytes()
    put("media/a.png", picture)
    put("0.tar", tar_of({"m.png": picture}))
    shard = open_source(f"{uri}0.tar", SourceConfig(schemes=(uri[:2],)))
    (member,) = shard
    rows = [{"content_id": "a", "uri": "media/a.png"}, {"content_id": "m", "uri": member.uri}]
    rows += [{"content_id": "none", "uri": "media/none.png"}, {"content_id": "other", "uri": f"{uri[:5]}other/a.png"}]
    put("items.jsonl", "\n".join(map(json.dumps, rows)).encode())
    run(f"{uri}items.jsonl")
    contents, rejected = workspace.rows(), workspace.rows("rejected")
    assert contents["a"]["media_hash"] == contents["m"]["media_hash"]
    assert {name: row["error_class"] for name, row in rejected.items()} == {
        "none": "MissingFile",
        "other": "NotAllowed",
    }
    again = run(f"{uri}items.jsonl", load=workspace.no_model)
    assert (again.counts["unchanged"], again.counts["rejected_before"]) == (2, 2)


@pytest.mark.parametrize("store", ["on_s3", "on_gs"])
def test_shards_of_a_bucket_are_found_by_folder_and_pattern(request, store, tmp_path):
    uri, put = request.getfixturevalue(store)
    large = bytes(range(256)) * 40_000  # more than one range
    for name in ("00", "01", "10"):
        put(f"found/{name}.tar", tar_of({f"{name}.png": b"x", f"{name}l.png": large}))
    put("found/notes.txt", b"x")
    config = SourceConfig(schemes=(uri[:2],))
    keys = {p: [item.content_id for item in open_source(f"{uri}found/{p}", config)] for p in ("0*.tar", "", "1?.tar")}
    assert keys == {
        "0*.tar": ["00", "00l", "01", "01l"],
        "": ["00", "00l", "01", "01l", "10", "10l"],
        "1?.tar": ["10", "10l"],
    }
    with pytest.raises(BadInput, match="no such shards"):
        open_source(f"{uri}found/x*.tar", config)
    _, item = open_source(f"{uri}found/10.tar", config)
    with Fetcher(config, len(large)) as fetcher, fetcher.files([item.uri, item.uri.replace("+", "+1")]) as files:
        whole, wrong = files
        assert Path(whole.path).read_bytes() == large
        assert not hasattr(wrong, "path")


@pytest.mark.parametrize("store", ["on_s3", pytest.param("on_gs", marks=pytest.mark.slow)])
def test_a_manifest_in_parts_lies_in_a_bucket(request, store, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uri, put = request.getfixturevalue(store)
    for place, data in {
        "t.parquet/_SUCCESS": b"\n",
        "t.parquet/dt=2024-05-02/part-0.csv.gz": gzip.compress(b"content_id,caption\nb,x\n"),
        "t.parquet/dt=2024-05-01/part-0.csv.gz": gzip.compress(b"content_id,caption\na,x\n"), "t.parquet/README": b"x",
        "t.parquet/dt=2024-05-01/_metadata": b"x",
        "t.parquet/dt=2024-05-01/part-1.csv.gz": b"content_id,caption\nc,y\n",
    }.items():  # fmt: skip
        put(place, data)
    config = SourceConfig(schemes=(uri[:2],), require_success=True)

    def found(text: str) -> dict[str, Any]:
        source = open_source(f"{uri}{text}", config)
        items = {item.content_id: json.loads(item.attributes) for item in source}
        assert list(tmp_path.iterdir()) == []
        return items

    dates = {"a": {"dt": "2024-05-01"}, "c": {"dt": "2024-05-01"}, "b": {"dt": "2024-05-02"}}
    assert found("t.parquet/") == found("t.parquet") == dates
    assert list(found("t.parquet/")) == ["a", "c", "b"]
    assert found("t.parquet/dt=*/part-0*") == {"a": dates["a"], "b": dates["b"]}
    source = open_source(f"{uri}t.parquet", config)
    assert len(list(source)) == 3
    assert source.passed_over.counts == {"without an ending": 1}
    assert source.base == f"{uri}t.parquet/"
    config = SourceConfig(schemes=(uri[:2],))
    assert found("t.parquet/dt=2024-05-01/") == {"a": {}, "c": {}}
    with pytest.raises(BadInput, match="no such files"):
        found("t.parquet/x*.csv")
    with pytest.raises(BadInput, match="cannot read"):
        found("none.csv")


def test_an_unreachable_store_fails_within_the_time_limit(monkeypatch, fetch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert isinstance(fetch("s3://bucket/a.png", source=SourceConfig(timeout_seconds=0.5)), FetchFailed)


@pytest.mark.slow
def test_an_unreachable_host_removes_no_item_and_new_items_are_retried(workspace, site, run, respond):
    site.put("a.png", (workspace.media / workspace.picture("a.png", 1)).read_bytes())
    rows = [{"content_id": "a", "uri": "a.png"}]
    site.put("items.jsonl", json.dumps(rows[0]).encode())
    run(site.uri("items.jsonl"))
    before = workspace.rows()

    rows += [{"content_id": "b", "uri": "b.png"}]
    site.put("items.jsonl", "\n".join(map(json.dumps, rows)).encode())
    for name in ("a.png", "b.png"):
        site.answer(name, respond(503, b"later"))
    night = run(site.uri("items.jsonl"))
    assert night.counts["missing_kept"] == 1
    assert workspace.rows() == before
    assert workspace.rows("rejected")["b"]["error_class"] == "FetchFailed"

    # Still unreachable and unchanged: it is retried nevertheless.
    assert run(site.uri("items.jsonl")).counts["rejected_before"] == 0
    assert workspace.rows("rejected")["b"]["attempts"] == 2

    # HEAD succeeds and shows a change, but the download fails.
    del site.answers["/a.png"]
    site.put("a.png", (workspace.media / workspace.picture("c.png", 3)).read_bytes())
    site.answer("a.png", lambda handler: (site._file if handler.command == "HEAD" else respond(503, b"later"))(handler))
    assert run(site.uri("items.jsonl")).counts["missing_kept"] == 1
    assert workspace.rows() == before

    site.answers.clear()
    site.put("b.png", site.files["/a.png"])
    run(site.uri("items.jsonl"))
    assert workspace.rows().keys() == {"a", "b"}
    assert workspace.rows()["a"]["media_hash"] != before["a"]["media_hash"]
    assert workspace.rows("rejected") == {}


def bare(site):
    """Serves all files without ETag."""

    def answer(handler):
        data = site.files.get(handler.path)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
        if data is None:
            reply(handler, 404)
        elif wanted:
            first, last = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
            where = f"bytes {first}-{last}/{len(data)}"
            reply(handler, 206, data[first : last + 1], **{"Content-Range": where})
        else:
            reply(handler, 200, data)

    site._file = answer


@pytest.mark.slow
def test_media_of_a_server_without_etag_and_date_are_compared_by_their_bytes(workspace, site, run, respond):
    bare(site)
    for number in range(3):
        site.put(f"{number}.bmp", (workspace.media / workspace.picture(f"{number}.bmp", number)).read_bytes())
    rows = [{"content_id": f"{number}", "uri": f"{number}.bmp", "caption": "words"} for number in range(3)]

    def listed():
        site.put("items.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
        site.requests.clear()
        done = run(site.uri("items.jsonl"))
        return done, workspace.rows()

    _, before = listed()
    # Nothing has changed: all are fetched, and not a row is written.
    again, rows_now = listed()
    assert rows_now == before
    counts = again.counts
    assert (counts["unchanged"], counts["committed"], counts["missing_kept"], counts["rejected"]) == (3, 0, 0, 0)
    assert sorted(path for path in site.paths() if path.endswith(".bmp")) == ["/0.bmp", "/1.bmp", "/2.bmp"]
    size = 3 * len(site.files["/0.bmp"]) / 1e6
    assert any(
        f"3 known items were fetched again ({size:.1f} MB) to compare their bytes" in note for note in again.notes
    )

    # A caption is edited, another medium changes under the same size.
    rows[0]["caption"] = "other words"
    assert len(site.files["/1.bmp"]) == len(site.files["/2.bmp"])
    site.files["/1.bmp"] = site.files["/2.bmp"]
    changed, rows_now = listed()
    assert (changed.counts["committed"], changed.counts["unchanged"]) == (2, 1)
    assert rows_now["0"]["caption"] == "other words"
    assert rows_now["0"]["clip_image"] == before["0"]["clip_image"]
    assert rows_now["0"]["clip_text"] != before["0"]["clip_text"]
    assert rows_now["1"]["media_hash"] == before["2"]["media_hash"] != before["1"]["media_hash"]
    assert rows_now["1"]["clip_image"] != before["1"]["clip_image"]
    assert rows_now["2"] == before["2"]

    # Not so for a server that is unreachable, or that answers HEAD and then does not serve the file.
    for name in ("0.bmp", "1.bmp"):
        site.answer(name, respond(503, b"later"))
    site.answer("2.bmp", lambda handler: (site._file if handler.command == "HEAD" else respond(503, b"later"))(handler))
    down, still = listed()
    assert (down.counts["missing_kept"], down.counts["unchanged"]) == (3, 0)
    assert still == rows_now
    site.answers.clear()

    # Once the server sends an ETag, the bytes are compared for the last time.
    del site._file
    assert listed()[0].counts["committed"] == 3
    assert listed()[0].counts["planned"] == 0


@pytest.mark.slow
def test_an_item_of_a_server_without_etag_may_change_its_kind_and_attributes(workspace, site, run):
    bare(site)
    site.put("a", (workspace.media / workspace.picture("a.png", 1)).read_bytes())
    row = {"content_id": "a", "uri": "a", "attributes": {"n": 1}}
    for attributes, committed in (({"n": 1}, 1), ({"n": 2}, 1), ({"n": 2}, 0)):
        site.put("items.jsonl", json.dumps({**row, "attributes": attributes}).encode())
        assert run(site.uri("items.jsonl")).counts["committed"] == committed
    assert workspace.rows()["a"]["attributes"] == '{"n":2}'
    site.put("a", (workspace.media / workspace.video("f.mp4")).read_bytes())
    run(site.uri("items.jsonl"))
    assert workspace.rows()["a"]["kind"] == "video"


def test_members_of_a_shard_on_a_server_without_etag_are_compared_by_their_bytes(workspace, site, run):
    bare(site)
    pictures = [(workspace.media / workspace.picture(f"{n}.bmp", n)).read_bytes() for n in range(2)]
    site.put("0.tar", tar_of({f"{n}.bmp": data for n, data in enumerate(pictures)}))
    run(site.uri("0.tar"))
    before = workspace.rows()
    again = run(site.uri("0.tar"))
    assert (again.counts["unchanged"], workspace.rows()) == (2, before)
    assert any("2 known items were fetched again" in note for note in again.notes)
    site.put("0.tar", tar_of({"0.bmp": pictures[1], "1.bmp": pictures[1]}))
    assert run(site.uri("0.tar")).counts["committed"] == 1
    assert workspace.rows()["0"]["media_hash"] == before["1"]["media_hash"]


def test_where_head_is_refused_a_file_takes_one_get(workspace, site, run, respond):
    rows = [{"content_id": "a", "uri": "a.png"}, {"content_id": "bad", "uri": "bad.png"}]
    site.put("items.jsonl", "\n".join(map(json.dumps, rows)).encode())
    site.put("bad.png", b"no picture")

    def refusing(name: str, seed: int) -> None:
        site.put(name, (workspace.media / workspace.picture(name, seed)).read_bytes())

    for name in ("a.png", "bad.png"):
        site.answer(name, lambda handler: (respond(405) if handler.command == "HEAD" else site._file)(handler))
    refusing("a.png", 1)

    def gets() -> list[str]:
        site.requests.clear()
        counted = run(site.uri("items.jsonl")).counts
        return [counted["planned"], sorted(path for path in site.paths() if path.endswith("png"))]

    assert gets() == [2, ["/a.png", "/bad.png"]]
    before = workspace.rows()["a"]
    assert before["source_stat"].startswith('"')
    # What is known is asked for by a GET whose body is not read; what was rejected once more, now with its ETag.
    assert gets() == [1, ["/a.png", "/bad.png", "/bad.png"]]
    assert gets() == [0, ["/a.png", "/bad.png"]]
    assert workspace.rows()["a"] == before
    refusing("a.png", 2)
    refusing("bad.png", 3)
    assert gets()[0] == 2
    assert workspace.rows().keys() == {"a", "bad"}
    assert workspace.rows()["a"]["media_hash"] != before["media_hash"]
    # A server that is down costs no item.
    site.answer("a.png", respond(503))
    assert run(site.uri("items.jsonl")).counts["missing_kept"] == 1


def test_nothing_remote_is_opened_unless_configured(workspace, site, encode_step):
    site.put("a.png", (workspace.media / workspace.picture("a.png", 1)).read_bytes())
    rows = [{"content_id": "a", "uri": site.uri("a.png")}, {"content_id": "s", "uri": "s3://bucket/a.png"}]
    with pytest.raises(TooManyRejected, match=r"NotAllowed \(2\), such as 'a': .*add http to source\.schemes"):
        workspace.ingest(rows)
    assert {row["error_class"] for row in workspace.rows("rejected").values()} == {"NotAllowed"}
    assert site.requests == []
    # Once the configuration allows it, the same item is retried without a command.
    allowed = workspace.settings(source={"schemes": ["http"], "allow": [site.uri()], "private_hosts": True})
    workspace.ingest(rows, config=allowed)
    assert workspace.rows().keys() == {"a"}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("s3://bucket/items.jsonl", "add s3 to source.schemes"),
        ("ftp://host/items.jsonl", "cannot read from"),
        ("simplecache::http://127.0.0.1/items.jsonl", "cannot read from"),
        ("http://user@127.0.0.1/items.jsonl", "cannot read from"),
        ("{site}none.jsonl", "no such file"),
        ("{site}items.txt", "a manifest is"),
        ("{site}shards/*.tar", "does not list its files"),
    ],
)
def test_an_unreadable_source_is_refused_in_one_line(site, config, source, said):
    with pytest.raises(BadInput, match=said) as caught:
        list(open_source(source.format(site=site.uri()), config()))
    assert "\n" not in str(caught.value)


def test_a_source_at_a_private_address_is_refused(site, config):
    site.put("items.jsonl", b"{}")
    with pytest.raises(BadInput, match="private_hosts"):
        list(open_source(site.uri("items.jsonl"), config(private_hosts=False)))
    source = open_source(site.uri("0.tar"), config(private_hosts=False))
    assert [type(item.problem) for item in source] == [NotAllowed]
    assert [type(item.problem) for item in open_source(site.uri("0.tar"), config())] == [MissingFile]


def test_the_copy_of_a_manifest_is_removed_when_it_was_read(site, config, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    site.put("items.csv", b"content_id,caption\na,x\n")
    source = open_source(site.uri("items.csv"), config())
    assert [item.content_id for item in source] == ["a"]
    assert len(site.requests) == 1
    assert list(tmp_path.iterdir()) == []
