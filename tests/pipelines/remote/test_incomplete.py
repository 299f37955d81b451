"""A listing that fails between pages and an interrupted transfer are refused, never taken for a shorter source."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from fuseid.core.config import SourceConfig
from fuseid.core.errors import NotReady
from fuseid.pipelines.files.fetcher import Fetcher
from fuseid.pipelines.sources.open import open_source

from .conftest import reply, send

Page = Callable[[Any, str | None], None]


class Pages:
    """Site answers: every path is a listing, and `page` says what comes for its marker."""

    def __init__(self, marker: str, page: Page) -> None:
        self._marker, self._page = marker, page
        self.markers: list[str | None] = []

    def get(self, path: str, _: Any) -> Callable[[Any], None]:
        (marker,) = parse_qs(urlsplit(path).query).get(self._marker, [None])
        self.markers.append(marker)
        return lambda handler: self._page(handler, marker)


def s3_page(number: int, more: bool) -> bytes:
    token = "<NextContinuationToken>more</NextContinuationToken>" if more else ""
    return (
        '<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><Prefix>dir/</Prefix><KeyCount>1</KeyCount>'
        f"<MaxKeys>1</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{token}<Contents><Key>dir/{number}.tar</Key>"
        f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>e</ETag><Size>{number + 1}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>"
    ).encode()


def gs_page(number: int, more: bool) -> bytes:
    item = {"kind": "storage#object", "name": f"dir/{number}.tar", "bucket": "bucket", "size": "1", "etag": "e"}
    token = {"nextPageToken": "more"} if more else {}
    return json.dumps({"kind": "storage#objects", "items": [item], **token}).encode()


def cut_off(handler: Any, body: bytes, length: int, **headers: str) -> None:
    """An answer that is shorter than its Content-Length."""
    handler.close_connection = True
    reply(handler, 200, body, length, **headers)


BREAKS: dict[str, Callable[[Any, bytes], None]] = {
    "refused": lambda handler, page: reply(handler, 403, b"<Error>\n<Code>AccessDenied</Code></Error>"),
    "cut off": lambda handler, page: cut_off(handler, page[: len(page) // 2], len(page)),
    "rubbish": lambda handler, page: reply(handler, 200, page[: len(page) // 2]),
}
PAGES = [(scheme, breaks) for scheme in ("s3", "gs") for breaks in (None, "refused", "rubbish")]
# s3fs tries again for two seconds, gcsfs for half a minute.
SLOW = [pytest.param(scheme, "cut off", marks=pytest.mark.slow) for scheme in ("s3", "gs")]


@pytest.mark.parametrize(("scheme", "breaks"), [*PAGES, *SLOW])
def test_a_listing_of_two_pages_is_read_whole_or_refused(site, monkeypatch, scheme, breaks):
    page = s3_page if scheme == "s3" else gs_page

    def answered(handler: Any, marker: str | None) -> None:
        if marker is None:
            reply(handler, 200, page(0, True))
        elif breaks is None:
            reply(handler, 200, page(1, False))
        else:
            BREAKS[breaks](handler, page(1, False))

    pages = site.answers = Pages("continuation-token" if scheme == "s3" else "pageToken", answered)
    for name, value in {
        "AWS_ENDPOINT_URL_S3": site.uri(), "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
        "STORAGE_EMULATOR_HOST": site.uri().rstrip("/"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    config = SourceConfig(schemes=(scheme,), timeout_seconds=3)
    if breaks is None:
        source = open_source(f"{scheme}://bucket/dir/", config)
        assert source._shards == [f"{scheme}://bucket/dir/{number}.tar" for number in range(2)]
    else:
        with pytest.raises(NotReady, match=f"cannot list {scheme}://bucket/dir/") as caught:
            open_source(f"{scheme}://bucket/dir/", config)
        assert "\n" not in str(caught.value)
    assert "more" in pages.markers


LINES = b'{"content_id": "a", "caption": "x"}\n' * 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda handler: cut_off(handler, LINES, 1000), "cannot read"),  # it breaks off between two rows
        (
            lambda handler: reply(handler, 200, LINES, **{"Content-Encoding": "gzip"}),
            "arrived compressed .gzip. and is damaged",
        ),
        pytest.param(
            lambda handler: reply(
                handler, 200, b"%x\r\n%s\r\n" % (len(LINES), LINES), None, **{"Transfer-Encoding": "chunked"}
            ),
            "cannot read",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["shorter", "compressed", "chunks that break off"],
)
def test_a_manifest_whose_transfer_breaks_off_is_refused(site, config, answer, said):
    site.answer("items.jsonl", answer)
    with pytest.raises(NotReady, match=said) as caught:
        list(open_source(site.uri("items.jsonl"), config()))
    assert "\n" not in str(caught.value)


def test_a_manifest_in_a_bucket_that_is_replaced_while_it_is_read_is_refused(s3_bucket, monkeypatch):
    client = boto3.client("s3", endpoint_url=s3_bucket.removesuffix("/bucket"))
    client.put_object(Bucket="bucket", Key="replaced/items.jsonl", Body=LINES)
    config = SourceConfig(schemes=("s3",))
    real = Fetcher._copy

    async def copied_slowly(self, *arguments):
        await real(self, *arguments)
        client.put_object(Bucket="bucket", Key="replaced/items.jsonl", Body=LINES * 2)

    monkeypatch.setattr(Fetcher, "_copy", copied_slowly)
    with pytest.raises(NotReady, match="was written to while it was read"):
        list(open_source("s3://bucket/replaced/items.jsonl", config))


def test_the_success_file_is_found_on_a_web_server(site, config):
    site.put("web/items.jsonl", LINES)
    web = config(require_success=True)
    with pytest.raises(NotReady, match=r"/web/ holds no file _SUCCESS"):
        open_source(site.uri("web/items.jsonl"), web)
    site.put("web/_SUCCESS", b"")
    open_source(site.uri("web/items.jsonl"), web)


@pytest.mark.slow
def test_the_success_file_is_found_in_a_bucket(s3_bucket):
    s3 = SourceConfig(schemes=("s3",), require_success=True)
    send("PUT", f"{s3_bucket}/marked/0.tar", bytes(1024))
    for source in ("s3://bucket/marked/", "s3://bucket/marked/0.tar"):
        with pytest.raises(NotReady, match="s3://bucket/marked/ holds no file _SUCCESS"):
            open_source(source, s3)
    send("PUT", f"{s3_bucket}/marked/_SUCCESS")
    for source in ("s3://bucket/marked/", "s3://bucket/marked/0.tar"):
        open_source(source, s3)


def test_a_success_file_that_cannot_be_read_is_not_taken_for_missing(site, config, respond):
    site.put("web/items.jsonl", LINES)
    site.answer("web/_SUCCESS", respond(403))
    with pytest.raises(NotReady, match=r"cannot see whether .*403"):
        open_source(site.uri("web/items.jsonl"), config(require_success=True))
