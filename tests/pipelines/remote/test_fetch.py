"""Remote media become local files of bounded size in bounded time, and one bad host costs its own items only."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
import zlib
from importlib.metadata import version
from pathlib import Path

import pytest
from pydantic import ValidationError

from fuseid.core.errors import CorruptMedia, FetchFailed, ItemError, MissingFile, NotAllowed, TooLarge
from fuseid.pipelines.files.access import Location, member_uri
from fuseid.pipelines.files.fetcher import Fetcher
from fuseid.pipelines.files.tar import members


def test_bytes_arrive_as_they_are(site, fetch):
    data = bytes(range(256)) * 4000
    assert fetch(site.put("a b.png".replace(" ", "%20"), data), max_bytes=len(data)) == data
    assert fetch(site.put("empty", b"")) == b""
    assert fetch(site.put("a.png?sig=a%2Fb", b"signed")) == b"signed"


def test_a_body_announced_as_too_large_is_not_downloaded(site, fetch, respond):
    outcome = fetch(site.answer("a.png", respond(200, b"x" * 10, 5000)), max_bytes=4999)
    assert isinstance(outcome, TooLarge)
    assert "decode.max_bytes" in str(outcome)


@pytest.mark.parametrize(
    ("status", "part", "outcome"), [(200, False, TooLarge), (400, False, FetchFailed), (400, True, FetchFailed)]
)
def test_a_body_without_a_length_is_cut_at_the_limit(site, fetch, status, part, outcome):
    sent = []

    def endless(handler):
        handler.send_response(status)
        handler.end_headers()
        handler.close_connection = True
        for _ in range(10_000):
            handler.wfile.write(b"x" * 65536)
            sent.append(65536)

    place = site.answer("0.tar", endless) + "#a.png@512+9" * part
    assert isinstance(fetch(place, max_bytes=1 << 20), outcome)
    time.sleep(0.2)
    assert sum(sent) < 64 << 20  # what fits into the buffers between the two, not the 655 MB


def test_a_truncated_body_is_a_failed_fetch(site, fetch, respond):
    def ends_early(handler):
        respond(200, b"x" * 10, 20)(handler)
        handler.close_connection = True

    assert isinstance(fetch(site.answer("a.png", ends_early)), FetchFailed)


PICTURE = bytes(range(256)) * 3000
RAW = zlib.compressobj(wbits=-15)
COMPRESSED = {
    "gzip": gzip.compress(PICTURE),
    "x-gzip": gzip.compress(PICTURE[:1000]) + gzip.compress(PICTURE[1000:]),
    "deflate": zlib.compress(PICTURE),
    "Deflate": RAW.compress(PICTURE) + RAW.flush(),
}


@pytest.mark.parametrize("coding", COMPRESSED)
def test_what_a_server_compresses_unasked_is_decompressed(site, fetch, respond, coding):
    place = site.answer("a.png", respond(200, COMPRESSED[coding], **{"Content-Encoding": coding}))
    assert fetch(place, max_bytes=len(PICTURE)) == PICTURE
    assert isinstance(fetch(place, max_bytes=len(PICTURE) - 1), TooLarge)
    assert {headers["accept-encoding"] for _, _, headers in site.requests} == {"identity"}


@pytest.mark.parametrize(
    ("coding", "body", "said"),
    [
        ("br", b"x", "compresses (br)"),
        ("gzip, br", b"x", "compresses (gzip, br)"),
        ("gzip", PICTURE, "arrived compressed (gzip) and is damaged"),
        ("gzip", COMPRESSED["gzip"][:-9], "arrived compressed (gzip) and ends too early"),
        ("deflate", COMPRESSED["deflate"][:-1], "arrived compressed (deflate) and ends too early"),
        ("deflate", COMPRESSED["deflate"] + b"more", "is damaged"),
        ("deflate", b"x", "ends too early"),
        ("gzip", b"", "ends too early"),
    ],
)
def test_a_compressed_body_that_cannot_be_restored_is_a_failed_fetch(site, fetch, respond, coding, body, said):
    outcome = fetch(site.answer("a.png", respond(200, body, **{"Content-Encoding": coding})))
    assert isinstance(outcome, FetchFailed)
    assert said in str(outcome)


def test_a_decompression_bomb_ends_at_the_limit(site, fetch, respond):
    bomb = gzip.compress(b"\0" * (64 << 20))
    outcome = fetch(site.answer("a.png", respond(200, bomb, **{"Content-Encoding": "gzip"})), max_bytes=1 << 20)
    assert isinstance(outcome, TooLarge)


def test_a_compressed_range_is_refused(site, fetch, respond):
    headers = {"Content-Encoding": "gzip", "Content-Range": "bytes 0-515/9999"}
    outcome = fetch(site.answer("a.tar", respond(206, b"h" * 516, **headers)) + "#x.png@512+4")
    assert isinstance(outcome, FetchFailed)
    assert "compresses (gzip)" in str(outcome)


def test_requests_name_fuseid_or_what_is_configured(site, config, fetch):
    place = site.put("a.png", b"x")
    fetch(place)
    fetch(place, source=config(user_agent="Studio catalogue (media@example.org)"))
    agents = [headers["user-agent"] for _, _, headers in site.requests]
    assert agents == [f"fuseid/{version('fuseid')}", "Studio catalogue (media@example.org)"]


@pytest.mark.parametrize("agent", ["", " x", "a\r\nCookie: b", "naïve", "x" * 300])
def test_a_user_agent_that_is_no_header_is_refused(config, agent):
    with pytest.raises(ValidationError, match="user_agent"):
        config(user_agent=agent)


@pytest.mark.parametrize("trouble", [503, 500, 429, "reset", "short"])
def test_transient_failures_are_retried(site, fetch, respond, trouble):
    site.files["/a.png"] = b"in the end"
    tries = []

    def first_troubled(handler):
        tries.append(1)
        if len(tries) > 1:
            site._file(handler)
        elif trouble == "reset":
            handler.close_connection = True
        elif trouble == "short":
            respond(200, b"x", 10)(handler)
            handler.close_connection = True
        else:
            respond(trouble, b"later")(handler)

    assert fetch(site.answer("a.png", first_troubled)) == b"in the end"
    assert len(tries) == 2


def test_lasting_failures_are_given_up_and_permanent_ones_not_retried(site, fetch, respond):
    outcome = fetch(site.answer("a.png", respond(503, b"later")))
    assert isinstance(outcome, FetchFailed)
    assert "503" in str(outcome)
    assert len(site.requests) == 3
    site.requests.clear()
    assert isinstance(fetch(site.uri("none.png")), MissingFile)
    assert isinstance(fetch(site.answer("no.png", respond(403, b"no"))), NotAllowed)
    assert len(site.requests) == 2


def slow(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.1)


def test_a_very_slow_body_ends_at_the_time_limit(site, config, fetch):
    started = time.perf_counter()
    outcome = fetch(site.answer("a.png", slow), source=config(timeout_seconds=0.5))
    assert isinstance(outcome, FetchFailed)
    assert "source.timeout_seconds" in str(outcome)
    assert time.perf_counter() - started < 3


def test_one_slow_host_does_not_block_the_others(site, config):
    site.put("good.png", b"good")
    site.answer("slow", slow)
    places = [site.uri("slow", host="localhost")] * 40 + [site.uri("good.png")] * 3
    source = config(timeout_seconds=0.5, concurrency=4)
    started = time.perf_counter()
    with Fetcher(source, 1 << 20) as fetcher, fetcher.files(places) as files:
        outcomes = list(files)
        good = [Path(file.path).read_bytes() for file in outcomes[40:]]
    assert good == [b"good"] * 3
    assert all(isinstance(file, FetchFailed) for file in outcomes[:40])
    assert "failed too often in a row" in str(outcomes[39])
    assert time.perf_counter() - started < 4  # not 40 * 0.5 / 4


def test_files_are_prefetched_in_order_and_removed_when_released(site, config):
    places = [site.put(f"{number}.png", b"%d" % number) for number in range(12)]
    seen = []
    with Fetcher(config(concurrency=3), 1 << 20) as fetcher, fetcher.files(places) as files:
        for number, file in enumerate(files):
            assert not isinstance(file, ItemError)
            folder = Path(file.path).parent
            seen.append(Path(file.path).read_bytes())
            assert len(list(folder.iterdir())) <= 4
            assert len(site.requests) <= number + 4
            file.release()
            assert not Path(file.path).exists()
    assert seen == [b"%d" % number for number in range(12)]
    assert not folder.exists()


def test_partial_files_are_removed(site, config, respond, shard, tmp_path):
    site.answer("long", respond(200, b"x" * 500_000, None))
    site.answer("short", respond(200, b"x" * 50_000, 99_999))
    local = member_uri(str(tmp_path / "0.tar"), "a.png", 2048, 10)
    places = [site.uri("long"), site.uri("short"), local, site.put("good.png", b"x")]
    with Fetcher(config(timeout_seconds=1), 100_000) as fetcher, fetcher.files(places) as files:
        *failed, good = files
        assert [path.name for path in Path(good.path).parent.iterdir()] == ["3"]
    assert [type(error) for error in failed] == [TooLarge, FetchFailed, MissingFile]


def test_fetches_that_are_no_longer_needed_are_cancelled(site, config):
    site.answer("slow", slow)
    started = time.perf_counter()
    with Fetcher(config(), 1 << 20) as fetcher, fetcher.files([site.uri("slow")] * 3) as files:
        assert files is not None
    assert time.perf_counter() - started < 3


def test_a_local_file_is_opened_in_place(tmp_path, config):
    (tmp_path / "a.png").write_bytes(b"x")
    with Fetcher(config(), 0) as fetcher, fetcher.files([str(tmp_path / "a.png")]) as files:
        (file,) = files
        assert (file.path, file.is_copy) == (str(tmp_path / "a.png"), False)
        file.release()
    assert (tmp_path / "a.png").exists()


# Members of shards


@pytest.fixture
def shard(tmp_path):
    """A tar of three members, and where each lies."""
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name in ("a.png", "b.png", "empty.png"):
            info = tarfile.TarInfo(name)
            info.size = 0 if name == "empty.png" else 70_000
            tar.addfile(info, io.BytesIO(name[:1].encode() * info.size))
    data = (tmp_path / "0.tar").read_bytes()
    return data, {member.name: member for member in members(io.BytesIO(data), len(data))}


@pytest.mark.parametrize("where", ["local", "http"])
def test_a_member_is_fetched_alone(shard, site, fetch, tmp_path, where):
    data, found = shard
    file = str(tmp_path / "0.tar") if where == "local" else site.put("0.tar", data)
    for name, content in {"b.png": b"b" * 70_000, "a.png": b"a" * 70_000, "empty.png": b""}.items():
        assert fetch(member_uri(file, name, found[name].offset, found[name].size)) == content
    assert where == "local" or all("range" in headers for _, _, headers in site.requests)


@pytest.mark.parametrize("where", ["local", "http"])
def test_a_span_that_is_no_member_is_not_read(shard, site, fetch, tmp_path, where):
    data, found = shard
    file = str(tmp_path / "0.tar") if where == "local" else site.put("0.tar", data)
    member = found["a.png"]
    for offset, size in (
        (member.offset, 60_000),
        (member.offset, 140_000),
        (member.offset + 512, 5),
        (0, 5),
        (0, 70_000),
        (10**9, 5),
    ):
        outcome = fetch(member_uri(file, "a.png", offset, size))
        assert isinstance(outcome, MissingFile | FetchFailed | CorruptMedia), outcome
    assert isinstance(fetch(member_uri(file, "a.png", member.offset, 10**15)), TooLarge)
    assert isinstance(fetch(member_uri(file + "x.tar", "a.png", member.offset, member.size)), MissingFile)


# Looks


def no_head(site, refused):
    """Refuses HEAD, and serves the file."""
    return lambda handler: (refused if handler.command == "HEAD" else site._file)(handler)


def test_stat_of_a_remote_file_changes_as_its_server_reports(site, config, respond, shard, tmp_path):
    site.put("a.png", b"one")
    site.answer("sized", respond(200, b"123", **{"Last-Modified": "Sat, 01 Jan 2022 00:00:00 GMT"}))
    site.answer("bare", respond(200, b"123"))
    site.answer("gone", respond(404, b"no"))
    site.answer("refused", no_head(site, respond(405)))
    place = Location(str(tmp_path / "0.tar"), ("a.png", 512, 70_000))
    names = ("a.png", "sized", "bare", "gone", "refused", "none")
    places = [Location.parse(site.uri(name)) for name in names] + [place]
    with Fetcher(config(), 0) as fetcher:
        stats = fetcher.stats(places)
        tag, sized, bare, gone, unseen, none, member = (stat.text for stat in stats)
        assert [stat.size for stat in stats] == [3, 3, 3, None, None, None, 70_000]
        assert fetcher.stats(places, by_get=True)[4].text is None
        site.put("a.png", b"two")
        assert fetcher.stats(places[:1])[0].text != tag
    assert tag.startswith('"')
    assert sized == "3:Sat, 01 Jan 2022 00:00:00 GMT"
    assert bare == "unversioned:3"
    assert (gone, unseen, none) == (None, "unseen", None)
    assert member.endswith("+512+70000")


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_a_file_whose_server_refuses_head_is_seen_when_it_is_fetched(site, config, respond, status):
    site.files["/a.png"] = b"one"
    place = site.answer("a.png", no_head(site, respond(status)))
    with Fetcher(config(), 1 << 20) as fetcher:
        assert fetcher.stats([Location.parse(place)]) == [("unseen", None)]
        with fetcher.files([place]) as (file,):
            tag = file.stat
        assert site.paths() == ["/a.png"]
        assert fetcher.stats([Location.parse(place)], by_get=True) == [(tag, 3)]
        member = Location.parse(f"{place}.tar#a.png@512+3")
        site.files["/a.png.tar"] = b"one"
        assert fetcher.stats([member]) == [(f"{tag}+512+3", 3)]


def test_each_file_is_checked_once_and_a_dead_host_soon_given_up(site, config):
    uri = site.put("0.tar", b"x")
    shards = [Location.parse(member_uri(uri, f"{i}.png", 512 * i, 1)) for i in range(200)]
    dead = [Location.parse(f"http://localhost:1/{i}") for i in range(200)]
    started = time.perf_counter()
    with Fetcher(config(), 0) as fetcher:
        found = fetcher.stats(shards + dead)
    assert len(set(found[:200])) == 200
    assert found[200:] == [(None, None)] * 200
    assert len(site.requests) == 1
    assert time.perf_counter() - started < 3
