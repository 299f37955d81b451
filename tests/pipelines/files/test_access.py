"""Nothing outside the manifest's folder and the configured prefixes is opened, for any uri."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuseid.core.config import SourceConfig
from fuseid.core.errors import ConfigError, NotAllowed
from fuseid.pipelines.files.access import AccessPolicy, Location, stat_of


def path_of(locator: AccessPolicy, uri: str) -> str:
    place = locator.locate(uri)
    assert place.is_plain
    return str(place)


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base" / "sub").mkdir(parents=True)
    (tmp_path / "base2").mkdir()
    (tmp_path / "base" / "a b.png").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"x")
    return tmp_path / "base"


def test_paths_within_are_found_however_they_are_written(base):
    locator = AccessPolicy(base, SourceConfig())
    real = os.path.realpath(base / "a b.png")
    for uri in ("a b.png", "./a b.png", "sub/../a b.png", str(base / "a b.png"), f"file://{base}/a%20b.png",
                f"FILE://localhost{base}/a b.png"):  # fmt: skip
        assert path_of(locator, uri) == real
    assert path_of(locator, "not there.png") == os.path.realpath(base / "not there.png")


@pytest.mark.parametrize(
    "uri",
    [
        "../secret",
        "sub/../../secret",
        "/etc/passwd",
        "../base2/x",
        "file:///etc/passwd",
        "file:///%2e%2e/etc/passwd",
        "sub/%00",
        "link",
        "link/deeper",
        "parent/secret",
    ],
)
def test_paths_that_lead_outside_are_refused(base, uri):
    (base / "link").symlink_to(base.parent / "secret")
    (base / "parent").symlink_to(base.parent)
    locator = AccessPolicy(base, SourceConfig())
    if uri == "sub/%00":
        assert path_of(locator, uri).endswith("%00")  # plain paths are not percent-decoded
        return
    with pytest.raises(NotAllowed, match=r"outside the manifest's folder.*source\.allow"):
        path_of(locator, uri)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://example.org/a.png", r"add http to source\.schemes"),
        ("s3://bucket/key", r"add s3 to source\.schemes"),
        ("ftp://x/y", "only local files"),
        ("://x", "only local files"),
        ("file://otherhost/etc/passwd", "another host"),
        ("a\0.png", "NUL"),
        ("file:///a%00.png", "NUL"),
        ("http://[bad/a.png", "no host"),
        ("file://[::1", "no uri"),
    ],
)
def test_other_schemes_hosts_and_malformed_uris_are_refused(base, uri, said):
    with pytest.raises(NotAllowed, match=said):
        path_of(AccessPolicy(base, SourceConfig()), uri)


def test_allowed_prefixes_open_what_lies_below_them_and_nothing_beside(base):
    (base / "link").symlink_to(base.parent / "base2")
    locator = AccessPolicy(base, SourceConfig(allow=(str(base.parent / "base2"),)))
    assert path_of(locator, str(base.parent / "base2" / "x.png")).endswith("/base2/x.png")
    assert path_of(locator, "link/x.png").endswith("/base2/x.png")
    with pytest.raises(NotAllowed):
        path_of(locator, str(base.parent / "base22" / "x.png"))
    with pytest.raises(NotAllowed):
        path_of(locator, "../secret")


def test_a_base_that_is_a_link_is_what_it_leads_to(base):
    (base.parent / "alias").symlink_to(base)
    assert path_of(AccessPolicy(base.parent / "alias", SourceConfig()), "a b.png") == os.path.realpath(base / "a b.png")


def test_a_loop_of_links_is_not_followed_for_ever(base):
    (base / "loop").symlink_to(base / "loop")
    assert path_of(AccessPolicy(base, SourceConfig()), "loop").startswith(os.path.realpath(base))


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(alphabet="./:ab%20ef\0[]\\~", max_size=24) | st.text(max_size=12))
def test_any_text_is_a_path_within_or_not_allowed(base, uri):
    try:
        path = path_of(AccessPolicy(base, SourceConfig()), uri)
    except NotAllowed:
        return
    assert os.path.commonpath([path, os.path.realpath(base)]) == os.path.realpath(base)


def test_stat_changes_with_size_and_time_and_is_none_where_there_is_nothing(base):
    path = str(base / "a b.png")
    before = stat_of(path)
    os.utime(path, ns=(5, 5))
    touched = stat_of(path)
    with open(path, "ab") as file:
        file.write(b"y")
    os.utime(path, ns=(5, 5))
    assert len({before, touched, stat_of(path)}) == 3
    assert stat_of(str(base / "nowhere")) is None
    assert stat_of("x" * 100_000) is None


# Remote uris

S3 = SourceConfig(schemes=("s3", "https"), allow=("s3://bucket/dir/", "https://cdn.example.org/media"))


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("s3://bucket/dir/a.png", "s3://bucket/dir/a.png"),
        ("S3://bucket/dir/a b.png", "s3://bucket/dir/a b.png"),
        ("https://CDN.example.org:443/media/a.png?sig=1", "https://cdn.example.org/media/a.png?sig=1"),
        ("s3://bucket/dir/0.tar#a.png@512+9", "s3://bucket/dir/0.tar#a.png@512+9"),
        ("https://cdn.example.org/media/0.tar#a/ü.png@512+9", "https://cdn.example.org/media/0.tar#a/ü.png@512+9"),
    ],
)
def test_remote_uris_below_an_allowed_prefix_are_opened(base, uri, opened):
    place = AccessPolicy(base, S3).locate(uri)
    assert str(place) == opened
    assert Location.parse(opened) == place
    assert not place.is_plain


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://bucket/dirt/a.png", r"source\.allow"),
        ("s3://bucket/a.png", r"source\.allow"),
        ("s3://bucket-evil/dir/a.png", r"source\.allow"),
        ("s3://bucket/dir/../a.png", "not opened"),
        ("s3://bucket@evil/dir/a.png", "not opened"),
        ("https://cdn.example.org.evil/media/a", r"source\.allow"),
        ("https://cdn.example.org/mediation/a", r"source\.allow"),
        ("https://cdn.example.org:8443/media/a", r"source\.allow"),
        ("https://cdn.example.org/media/%2e%2e/a", "not opened"),
        ("https://cdn.example.org/media/..%2fa", "not opened"),
        ("https://cdn.example.org/media\\..\\a", "not opened"),
        ("https://cdn.example.org@evil/media/a", "not opened"),
        ("https://evil/https://cdn.example.org/media/a", r"source\.allow"),
        ("https://evil#https://cdn.example.org/media/a", r"source\.allow"),
        ("https://evil\\@cdn.example.org/media/a", "not opened"),
        ("http://cdn.example.org/media/a", r"add http to source\.schemes"),
        ("gs://bucket/dir/a", r"add gs to source\.schemes"),
        ("s3://bucket/other/0.tar#dir/a.png@512+9", r"source\.allow"),
        ("s3://bucket/dir/../0.tar#a.png@512+9", "not opened"),
        ("simplecache::s3://bucket/dir/a.png", "chains"),
        ("s3://bucket/dir/a::b", "chains"),
        ("filecache::https://cdn.example.org/media/a", "chains"),
        ("zip://a.png::s3://bucket/dir/x.zip", "chains"),
        ("tar://a.png::file:///etc/x.tar", "chains"),
        ("https://cdn.example.org/media/a::file:///etc/passwd", "chains"),
        ("ftp://cdn.example.org/media/a", "only local files"),
        ("sftp://h/a", "only local files"),
        ("github://org:repo@main/a", "only local files"),
        ("git://a", "only local files"),
        ("memory://a", "only local files"),
        ("local:///etc/passwd", "only local files"),
        ("hdfs://h/a", "only local files"),
        ("reference://a", "only local files"),
        ("concat://a", "only local files"),
        ("data:image/png;base64,AAAA", "only local files"),
        ("jar:file:///x.jar!/a", "only local files"),
        ("http:/cdn.example.org/media/a", "only local files|not opened"),
        ("s3:bucket/dir/a", "only local files|not opened"),
        ("file:/etc/passwd", "another host"),
        ("file://cdn.example.org/media/a", "another host"),
        ("file:etc/passwd", "another host"),
    ],
)
def test_remote_uris_of_other_places_schemes_and_forms_are_refused(base, uri, said):
    with pytest.raises(NotAllowed, match=said):
        AccessPolicy(base, S3).locate(uri)


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("a.png", "s3://bucket/catalogue/a.png"),
        ("sub/a b.png", "s3://bucket/catalogue/sub/a b.png"),
        ("a:b.png", "s3://bucket/catalogue/a:b.png"),
        ("s3://bucket/catalogue/a.png", "s3://bucket/catalogue/a.png"),
        ("s3://other/a.png", "s3://other/a.png"),
        ("../a.png", NotAllowed),
        ("sub/../../a.png", NotAllowed),
        ("/etc/passwd", NotAllowed),
        ("//evil/a.png", NotAllowed),
        ("file:///etc/passwd", NotAllowed),
        ("s3://bucket/a.png", NotAllowed),
        ("s3://bucket/catalogues/a.png", NotAllowed),
        ("a\0.png", NotAllowed),
    ],
)
def test_relative_uris_of_a_remote_manifest_stay_in_its_folder(uri, opened):
    locator = AccessPolicy("s3://bucket/catalogue/", SourceConfig(schemes=("s3",), allow=("s3://other",)))
    if isinstance(opened, str):
        assert str(locator.locate(uri)) == opened
        return
    with pytest.raises(opened):
        locator.locate(uri)


def test_a_local_folder_can_be_allowed_beside_a_remote_manifest(base):
    locator = AccessPolicy("s3://bucket/", SourceConfig(schemes=("s3",), allow=(str(base),)))
    assert locator.locate(str(base / "a b.png")).is_plain
    with pytest.raises(NotAllowed):
        locator.locate(str(base.parent / "secret"))


@pytest.mark.parametrize(
    ("allow", "said"),
    [
        ("gs://bucket/", "add gs to source.schemes"),
        ("ftp://host/", "is no prefix"),
        ("s3://bucket/../x", "is no prefix"),
        ("https://user@host/", "is no prefix"),
        ("https://host/a?b=c", "has a query"),
    ],
)
def test_a_prefix_that_allows_nothing_is_an_error_of_the_configuration(base, allow, said):
    with pytest.raises(ConfigError, match=said):
        AccessPolicy(base, SourceConfig(schemes=("s3", "https"), allow=(allow,)))


def test_a_member_lies_where_its_shard_lies(base):
    (base / "link.tar").symlink_to(base.parent / "secret")
    locator = AccessPolicy(base, SourceConfig())
    place = locator.locate("sub/0.tar#../../x.png@512+9")
    assert place == Location(os.path.realpath(base / "sub" / "0.tar"), ("../../x.png", 512, 9))
    assert Location.parse(str(place)) == place
    for uri in ("../0.tar#a.png@512+9", "link.tar#a.png@512+9", f"{base.parent}/0.tar#a.png@512+9"):
        with pytest.raises(NotAllowed):
            locator.locate(uri)
    # Read back in another process, this would be a member of what the link leads to.
    with pytest.raises(NotAllowed, match="rename"):
        locator.locate(f"file://{base}/link.tar%23a.png@512+9")
