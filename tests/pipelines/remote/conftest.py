"""Real servers on this machine's loopback: a web server that can misbehave, and emulators of S3 and Cloud Storage."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fuseid.core.config import SourceConfig
from fuseid.core.errors import ItemError
from fuseid.pipelines.files import fetcher
from fuseid.pipelines.files.fetcher import Fetcher

Answer = Callable[[BaseHTTPRequestHandler], None]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Tests close connections within an answer on purpose; the tracebacks are of no use."""


class Site:
    """`files` are served with ETag and ranges; `answers` replace them at a path; `requests` are those received."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                try:
                    site.answers.get(self.path, site._file)(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def uri(self, path: str = "", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"

    def paths(self, method: str = "GET") -> list[str]:
        return [path for made, path, _ in self.requests if made == method]

    def put(self, path: str, data: bytes) -> str:
        self.files[f"/{path}"] = data
        return self.uri(path)

    def answer(self, path: str, answer: Answer) -> str:
        self.answers[f"/{path}"] = answer
        return self.uri(path)

    def redirect(self, path: str, target: str) -> str:
        return self.answer(path, lambda handler: reply(handler, 302, b"moved", Location=target))

    def _file(self, handler: BaseHTTPRequestHandler) -> None:
        data = self.files.get(handler.path)
        if data is None:
            reply(handler, 404, b"not here")
            return
        tag = f'"{md5(data).hexdigest()}"'
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
        if wanted:
            first, last = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
            where = f"bytes {first}-{last}/{len(data)}"
            reply(handler, 206, data[first : last + 1], ETag=tag, **{"Content-Range": where})
        else:
            reply(handler, 200, data, ETag=tag)


def reply(
    handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", length: int | None = -1, **headers: str
) -> None:
    """length: of the header Content-Length; None to omit it, by default the true one."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    if length is None:
        handler.close_connection = True
    else:
        handler.send_header("Content-Length", str(len(body) if length == -1 else length))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before an http request is tried again."""
    monkeypatch.setattr(fetcher, "_PAUSES", tuple(pause / 10 for pause in fetcher._PAUSES))


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def respond() -> Callable[..., Answer]:
    """An answer with a status, a body and headers."""
    return lambda status, body=b"", length=-1, **headers: (
        lambda handler: reply(handler, status, body, length, **headers)
    )


@pytest.fixture
def config(site: Site) -> Callable[..., SourceConfig]:
    """The configuration that allows the site of the test, changed by keywords."""
    lets = {"schemes": ("http",), "allow": (site.uri(),), "private_hosts": True, "timeout_seconds": 10}
    return lambda **changes: SourceConfig(**{**lets, **changes})


@pytest.fixture
def fetch(config: Callable[..., SourceConfig]) -> Callable[..., bytes | ItemError]:
    """Fetches one location: its bytes, or its error. No file is left behind."""

    def fetched(place: str, max_bytes: int = 1 << 20, source: SourceConfig | None = None) -> bytes | ItemError:
        with Fetcher(source or config(), max_bytes) as fetcher, fetcher.files([place]) as files:
            (file,) = files
            if isinstance(file, ItemError):
                return file
            folder = Path(file.path).parent
            assert folder.stat().st_mode & 0o077 == 0
            data = Path(file.path).read_bytes()
        assert not folder.exists()
        return data

    return fetched


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended before it served"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server did not come up")


def _serve(code: str, folder: Path) -> Iterator[int]:
    port = _free_port()
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code.format(port=port)],
            stdout=log,
            stderr=log,
            env=environment,
            cwd=folder,
        )
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    yield from _serve(
        "from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])", tmp_path_factory.mktemp("s3")
    )


@pytest.fixture
def s3_bucket(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the bucket `bucket`, which s3:// leads to, for Lance as for s3fs."""
    server = f"http://127.0.0.1:{s3_port}"
    environment = {
        "ENDPOINT_URL_S3": server, "ENDPOINT_URL": server, "ALLOW_HTTP": "true", "EC2_METADATA_DISABLED": "true",
        "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    send("PUT", f"{server}/bucket")
    return f"{server}/bucket"


@pytest.fixture
def in_bucket(s3_bucket: str, tmp_path: Path) -> str:
    """The uri of a database that does not exist yet."""
    return f"s3://bucket/{tmp_path.name}/db"


@pytest.fixture(scope="session")
def gs_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    code = (
        "from gcp_storage_emulator.server import create_server; "
        "create_server('127.0.0.1', {port}, in_memory=True, default_bucket='bucket').run()"
    )
    yield from _serve(code, tmp_path_factory.mktemp("gs"))


def send(method: str, where: str, data: bytes = b"") -> None:
    headers = {"Content-Type": "application/octet-stream"}
    urllib.request.urlopen(urllib.request.Request(where, data, headers, method=method)).close()
