"""A remote uri has one spelling, and an ambiguous one is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.pipelines.files.remote_uri import parse_remote


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("https://CDN.Example.org:443/a/b.jpg", "https://cdn.example.org/a/b.jpg"),
        ("HTTPS://cdn.example.org./a", "https://cdn.example.org/a"),
        ("http://cdn.example.org:080/a", "http://cdn.example.org/a"),
        ("http://cdn.example.org:8080", "http://cdn.example.org:8080/"),
        ("https://bücher.example/ä b.jpg?q=ü#part", "https://xn--bcher-kva.example/%C3%A4%20b.jpg?q=%C3%BC"),
        ("https://ＣＤＮ。example.org/a", "https://cdn.example.org/a"),
        ("http://[2001:DB8:0::1]:80/a", "http://[2001:db8::1]/a"),
        ("https://a.example/100%25.jpg?sig=x%2Fy==&e=1", "https://a.example/100%25.jpg?sig=x%2Fy==&e=1"),
        ("https://a.example/...//.hidden/..a", "https://a.example/...//.hidden/..a"),
        ("s3://bucket.name/a b/ü#1?.jpg", "s3://bucket.name/a b/ü#1?.jpg"),
        ("gs://my_bucket", "gs://my_bucket/"),
    ],
)
def test_every_spelling_of_a_uri_is_normalised_to_one(text, spelled):
    assert str(parse_remote(text)) == spelled
    assert str(parse_remote(spelled)) == spelled


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg", "//host/a", "ftp://host/a", "file:///a", "s3:/bucket/a", "", "://", "https:/a", "https:///a",
        "s3:///a", "https://good@evil/a", "https://good:pw@evil/a", "https://@evil/a", "https://a\\@b/",
        "https://a.example\\b", "https://a b/", "https://a\tb/", "https://a\n.example/", "https://a.example/\x00",
        "https://a%2eb/", "https://a_b%00/", "https://a..b/", "https://.a/", "https://-a/", "https://a-/",
        "https://a:b/", "https://a:0/", "https://a:65536/", "https://a:1:2/", "https://[::1/", "https://[::1]x/",
        "https://[fe80::1%25eth0]/", "https://" + "a" * 64 + ".b/", "http://127.1/", "http://2130706433/",
        "http://0x7f000001/", "http://0177.0.0.1/", "http://1.2.3.4.5/", "http://256.1.1.1/", "https://a/../b",
        "https://a/./b", "https://a/b/..", "https://a/%2e%2E/b", "https://a/%252e%252e/b", "https://a/.%2e/b",
        "https://a/..;x/b", "https://a/%2e%2e;x/b", "https://a/x%2fy", "https://a/x%2Fy", "https://a/x%5cy",
        "https://a/x%252fy", "https://a/%00", "https://a/%0a", "https://a/" + "%25" * 1 + "25" * 9 + "2e", "s3://b/x",
        "s3://Bucket/x", "s3://bucket@evil/x", "s3://bucket:80/x", "s3://-bucket/x", "s3://bucket/../x",
        "s3://bucket/./x", "s3://bucket/a/..", "s3://bucket\\x/a", "s3://bucket/a\nb", "s3://bucket/a?versionId=1",
        "s3://arn:aws:s3:::x/a", "gs:///x",
    ],
)  # fmt: skip
def test_ambiguous_uris_are_refused(text):
    with pytest.raises(ValueError):
        parse_remote(text)


@pytest.mark.parametrize(
    ("uri", "prefix", "below"),
    [
        ("s3://bucket/dir/a", "s3://bucket/dir", True),
        ("s3://bucket/dir/a", "s3://bucket/dir/", True),
        ("s3://bucket/dir/a", "s3://bucket", True),
        ("s3://bucket/directory/a", "s3://bucket/dir", False),
        ("s3://bucket/dir", "s3://bucket/dir/a", False),
        ("s3://bucket-evil/dir/a", "s3://bucket/", False),
        ("s3://bucket/DIR/a", "s3://bucket/dir/", False),
        ("gs://bucket/dir/a", "s3://bucket/dir/", False),
        ("https://cdn.example.org/a/b", "https://CDN.example.org:443/a", True),
        ("https://cdn.example.org/%61/b", "https://cdn.example.org/a/", True),
        ("https://cdn.example.org/ab", "https://cdn.example.org/a", False),
        ("https://cdn.example.org/a?x=/b", "https://cdn.example.org/a/b", False),
        ("https://cdn.example.org.evil/a", "https://cdn.example.org/", False),
        ("https://evil.cdn.example.org/a", "https://cdn.example.org/", False),
        ("https://cdn.example.org:8443/a", "https://cdn.example.org/", False),
        ("http://cdn.example.org/a", "https://cdn.example.org/", False),
    ],
)
def test_a_uri_is_below_a_prefix_only_in_its_folder_and_host(uri, prefix, below):
    assert parse_remote(uri).is_below(parse_remote(prefix)) == below


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.sampled_from(["https://", "http://", "s3://", "gs://"]),
    st.text(alphabet="aB1.-_@:%/\\?#;[]é2eEfF05cC \x00", max_size=30),
)
def test_any_text_is_refused_or_has_one_spelling_that_stays_in_its_folder(scheme, rest):
    try:
        uri = parse_remote(scheme + "host.example/dir/" + rest if len(rest) % 2 else scheme + rest)
    except ValueError:
        return
    assert parse_remote(str(uri)) == uri
    assert "@" not in uri.authority
    assert not {"..", "."} & set(uri.path.split("/"))
    if len(rest) % 2:
        assert uri.is_below(parse_remote(scheme + "host.example/dir"))
