"""A catalogue with hostile media: each is rejected alone at most, and nothing else happens."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import psutil
import pytest

from fuseid.core.config import MIB, DecodeConfig, SamplingConfig
from fuseid.core.errors import ItemError
from fuseid.encoders.decode_pool import DecodePool

from ..data.make_hostile import Hostile, hostile, make  # noqa: TID252  (the tests are no package)

LIMITS = {
    "max_pixels": 2_000_000,
    "max_bytes": 64 * MIB,
    "max_duration_seconds": 3600.0,
    "max_caption_chars": 1000,
    "memory_bytes": 256 * MIB,
    "timeout_seconds": 8.0,
}


@pytest.fixture
def server() -> Iterator[tuple[int, list[str]]]:
    """-> (port, the requests that arrived)."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        yield listening.server_address[1], requests
        listening.shutdown()
        thread.join()


def test_the_hostile_playlist_works_where_it_is_not_guarded_against(server, tmp_path):
    """FFmpeg requests what a playlist names when it is given the file name and allows the protocols."""
    port, requests = server
    (playlist,) = [item for item in hostile(port) if item.name == "videos/hls.ts"]
    (tmp_path / "list.m3u8").write_bytes(playlist.make)
    with contextlib.suppress(av.error.FFmpegError):
        av.open(str(tmp_path / "list.m3u8"), options={"protocol_whitelist": "file,http,tcp"})
    assert requests == ["/hls.ts"]


def files_below(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and modification time of everything there, by path; links are not followed."""
    found = {}
    for directory, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            status = os.lstat(os.path.join(directory, name))
            found[os.path.join(directory, name)] = (status.st_size, status.st_mtime_ns)
    return found


@pytest.mark.slow
def test_hostile_media_are_rejected_and_have_no_other_effect(workspace, server, monkeypatch, tmp_path):
    port, requests = server
    items = {item.name.encode("utf-8", "backslashreplace").decode(): item for item in make(workspace.media, port)}
    assert len(items) >= 150
    good = [workspace.picture(f"good-{i}.png", i) for i in range(6)] + [
        workspace.video(f"good-{i}.mp4", i) for i in range(3)
    ]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.chdir(scratch)
    before = files_below(workspace.media)
    config = workspace.settings(decode={**LIMITS, "workers": 2})

    run = workspace.ingest(workspace.media, config=config)

    contents, rejected = workspace.rows(), workspace.rows("rejected")
    outcomes = dict.fromkeys(contents, "accepted") | {name: row["error_class"] for name, row in rejected.items()}
    wrong = {name: (outcomes.get(name), item.expected) for name, item in items.items()
             if outcomes.get(name) not in item.expected}  # fmt: skip
    assert wrong == {}
    assert set(good) <= contents.keys()
    assert outcomes.keys() == items.keys() | set(good)
    assert not contents.keys() & rejected.keys()
    assert (run.counts["committed"], run.counts["rejected"]) == (len(contents), len(rejected))
    assert all(row["message"] and "\n" not in row["message"] for row in rejected.values())

    # Nothing was asked for, written or left running.
    assert requests == []
    assert files_below(workspace.media) == before
    assert list(scratch.iterdir()) == []
    assert [child.name() for child in psutil.Process().children() if "decode_child" in " ".join(child.cmdline())] == []

    # A second run has nothing to do.
    again = workspace.ingest(workspace.media, config=config, load=workspace.no_model)
    assert (again.counts["planned"], again.counts["rejected_before"]) == (0, len(rejected))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["uniform", "scene"])
def test_hostile_videos_have_the_expected_outcome_under_every_method(tmp_path, server, method):
    port, requests = server
    items = [item for item in hostile(port) if item.name.startswith("videos/") and not item.name.endswith(".png")]
    for item in items:
        item.write(tmp_path)
    config = DecodeConfig(sampling=SamplingConfig(method=method, frames=2), **LIMITS)
    with DecodePool(config, workers=2) as pool:
        results = list(pool.decode_many([(str(tmp_path / item.name), "video") for item in items]))
    assert wrong(items, results) == {}
    assert requests == []


def wrong(items: list[Hostile], results: list[Any]) -> dict[str, str]:
    outcomes = [type(result).__name__ if isinstance(result, ItemError) else "accepted" for result in results]
    return {item.name: got for item, got in zip(items, outcomes, strict=True) if got not in item.expected}
