"""Nothing outside the manifest's folder and the configured prefixes is opened, whatever a uri says."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuseid.core.config import SourceConfig
from fuseid.core.errors import NotAllowed
from fuseid.pipelines.locate import Locator, stat_of


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base" / "sub").mkdir(parents=True)
    (tmp_path / "base2").mkdir()
    (tmp_path / "base" / "a b.png").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"x")
    return tmp_path / "base"


def test_paths_within_are_found_however_they_are_written(base):
    locator = Locator(base, SourceConfig())
    real = os.path.realpath(base / "a b.png")
    for uri in ("a b.png", "./a b.png", "sub/../a b.png", str(base / "a b.png"), f"file://{base}/a%20b.png",
                f"FILE://localhost{base}/a b.png"):  # fmt: skip
        assert locator.path(uri) == real
    assert locator.path("not there.png") == os.path.realpath(base / "not there.png")


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
def test_what_leads_outside_is_refused(base, uri):
    (base / "link").symlink_to(base.parent / "secret")
    (base / "parent").symlink_to(base.parent)
    locator = Locator(base, SourceConfig())
    if uri == "sub/%00":
        assert locator.path(uri).endswith("%00")  # plain paths are not percent-decoded
        return
    with pytest.raises(NotAllowed, match=r"outside the manifest's folder.*source\.allow"):
        locator.path(uri)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://example.org/a.png", "only local files"),
        ("s3://bucket/key", "only local files"),
        ("ftp://x/y", "only local files"),
        ("://x", "only local files"),
        ("file://otherhost/etc/passwd", "another host"),
        ("a\0.png", "NUL"),
        ("file:///a%00.png", "NUL"),
        ("http://[bad/a.png", "no uri"),
        ("file://[::1", "no uri"),
    ],
)
def test_other_schemes_hosts_and_malformed_uris_are_refused(base, uri, said):
    with pytest.raises(NotAllowed, match=said):
        Locator(base, SourceConfig()).path(uri)


def test_allowed_prefixes_open_what_lies_below_them_and_nothing_beside(base):
    (base / "link").symlink_to(base.parent / "base2")
    locator = Locator(base, SourceConfig(allow=(str(base.parent / "base2"),)))
    assert locator.path(str(base.parent / "base2" / "x.png")).endswith("/base2/x.png")
    assert locator.path("link/x.png").endswith("/base2/x.png")
    with pytest.raises(NotAllowed):
        locator.path(str(base.parent / "base22" / "x.png"))
    with pytest.raises(NotAllowed):
        locator.path("../secret")


def test_a_base_that_is_a_link_is_what_it_leads_to(base):
    (base.parent / "alias").symlink_to(base)
    assert Locator(base.parent / "alias", SourceConfig()).path("a b.png") == os.path.realpath(base / "a b.png")


def test_a_loop_of_links_is_not_followed_for_ever(base):
    (base / "loop").symlink_to(base / "loop")
    assert Locator(base, SourceConfig()).path("loop").startswith(os.path.realpath(base))


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(alphabet="./:ab%20ef\0[]\\~", max_size=24) | st.text(max_size=12))
def test_any_text_is_a_path_within_or_not_allowed(base, uri):
    try:
        path = Locator(base, SourceConfig()).path(uri)
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
