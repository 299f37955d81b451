"""Nothing inside the network is reached through a uri, however its host is written or where a server redirects to."""

from __future__ import annotations

import pytest

from fuseid.core.errors import FetchFailed, ItemError, MissingFile, NotAllowed
from fuseid.pipelines.files.access import AccessPolicy
from fuseid.pipelines.files.guarded_http import is_allowed_address

PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
PRIVATE = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "::1", "fc00::1",
    "fd12::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:7f00:1", "64:ff9b::127.0.0.1", "64:ff9b::192.168.0.1",
]  # fmt: skip
NEVER = [
    "169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "192.0.0.192",
    "fd00:ec2::254", "0.0.0.0", "0.1.2.3", "::", "255.255.255.255", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "100.64.0.1", "fe80::1", "fe80::1%eth0", "ff02::1", "fec0::1", "2002:7f00:1::", "2002:a00:1::1",
    "2001:0:7f00:1::1", "::127.0.0.1", "100::1", "64:ff9b:1::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_connected_to(address):
    assert is_allowed_address(address, private=False)
    assert is_allowed_address(address, private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_and_loopback_addresses_only_where_configured(address):
    assert not is_allowed_address(address, private=False)
    assert is_allowed_address(address, private=True)


@pytest.mark.parametrize("address", NEVER)
def test_metadata_link_local_multicast_and_reserved_addresses_never(address):
    assert not is_allowed_address(address, private=False)
    assert not is_allowed_address(address, private=True)


# Only loopback in any form: a guard that fails must not let a test contact a foreign host.
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST", "localhost.", "[::ffff:127.0.0.1]", "１２７.0.0.1"]
)
def test_a_host_that_turns_out_to_be_loopback_is_refused_when_it_is_connected_to(site, config, fetch, host):
    site.put("a.png", b"secret")
    source = config(private_hosts=False, allow=(site.uri(host=host),))
    place = AccessPolicy(site.uri(host=host), source).locate("a.png")
    refused = fetch(str(place), source=source)
    assert isinstance(refused, NotAllowed)
    assert "source.private_hosts" in str(refused)
    assert site.requests == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_with_private_hosts_allowed_loopback_is_fetched(site, config, fetch, host):
    site.put("a.png", b"mine")
    place = AccessPolicy(site.uri(host=host), config(allow=())).locate("a.png")
    assert fetch(str(place), source=config(allow=())) == b"mine"


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "127.0.1", "127.0.0.1.", "017700000001",
     "0x7f.1", "127.0.0.0x1", "[::1%25lo]", "good@127.0.0.1", "good:pw@127.0.0.1", "127.0.0.1\\@good",
     "127.0.0.1#@good", "127.0.0.1%2f.good", "127.0.0.1\t", "127%2e0.0.1", ""],
)  # fmt: skip
def test_a_host_in_disguise_is_refused_before_anything_is_connected_to(site, config, host):
    locator = AccessPolicy("http://good/", config(allow=("http://good/",), private_hosts=False))
    with pytest.raises(NotAllowed):
        locator.locate(site.uri("a.png", host=host))


def test_a_redirect_within_what_is_allowed_is_followed(site, fetch):
    site.put("there.png", b"here it is")
    site.redirect("second", "/there.png")
    assert fetch(site.redirect("first", "second")) == b"here it is"


@pytest.mark.parametrize(
    "target",
    [
        "{site}secret/key",  # of the same host, beside what is allowed
        "//127.0.0.1:{port}/secret/key",
        "/secret/key",
        "../secret/key",
        "/media/../secret/key",
        "/media/%2e%2e/secret/key",
        "http://good@127.0.0.1:{port}/media/x",
        "http://localhost:{port}/media/x",
        "http://127.0.0.1:1/media/x",
        "https://127.0.0.1:{port}/media/x",
        "http://2130706433:{port}/media/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "data:,x",
        "http://[bad/",
        "",
    ],
)
def test_a_redirect_to_a_place_that_is_not_allowed_is_refused(site, config, fetch, target):
    site.put("secret/key", b"secret")
    first = site.redirect("media/a.png", target.format(site=site.uri(), port=site.port))
    outcome = fetch(first, source=config(allow=(site.uri("media/"),)))
    assert isinstance(outcome, NotAllowed | FetchFailed)
    assert site.paths() == ["/media/a.png"]


def test_a_circle_of_redirects_ends_soon(site, fetch):
    site.redirect("b", "/a")
    assert isinstance(fetch(site.redirect("a", "/b")), FetchFailed)
    assert len(site.requests) <= 5


def test_a_redirect_to_a_private_address_is_refused_though_its_name_is_allowed(site, config, fetch):
    site.put("key", b"secret")
    source = config(private_hosts=False, allow=(site.uri(), site.uri(host="localhost")))
    assert isinstance(fetch(site.redirect("a", site.uri("key", "localhost")), source=source), NotAllowed)
    assert site.requests == []


def test_no_cookie_proxy_or_password_is_sent(site, fetch, respond, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1/")
    site.put("b.png", b"x")
    site.answer("a.png", respond(302, Location="/b.png", **{"Set-Cookie": "session=1"}))
    assert fetch(site.uri("a.png")) == b"x"
    for _, _, headers in site.requests:
        assert not {"cookie", "authorization", "proxy-authorization"} & headers.keys()


MEMBER = ".tar#x.png@512+4"


@pytest.mark.parametrize(
    ("status", "body", "length", "headers"),
    [
        (200, b"h" * 512 + b"data", -1, {}),  # ignores the range
        (206, b"h" * 512 + b"data", -1, {}),
        (206, b"h" * 512 + b"data", -1, {"Content-Range": "bytes 1-516/9999"}),  # another range
        (206, b"h" * 5000, -1, {"Content-Range": "bytes 0-4999/9999"}),  # a longer one
        (206, b"h" * 5000, -1, {"Content-Range": "bytes 0-515/9999"}),
        (206, b"h" * 5000, None, {"Content-Range": "bytes 0-515/9999"}),
    ],
)
def test_an_answer_that_is_not_the_range_asked_for_is_not_read(site, fetch, respond, status, body, length, headers):
    place = site.answer("a.tar", respond(status, body, length, **headers)).removesuffix(".tar") + MEMBER
    outcome = fetch(place)
    assert isinstance(outcome, FetchFailed)
    assert "range" in str(outcome)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, NotAllowed), (403, NotAllowed), (404, MissingFile), (410, MissingFile), (400, FetchFailed),
     (204, FetchFailed), (203, FetchFailed), (304, FetchFailed), (451, FetchFailed), (501, FetchFailed)],
)  # fmt: skip
def test_status_codes_of_the_server_become_item_errors(site, fetch, respond, status, expected):
    outcome: ItemError = fetch(site.answer("a.png", respond(status, b"" if status in (204, 304) else b"body")))
    assert type(outcome) is expected
    assert expected is MissingFile or str(status) in str(outcome)
