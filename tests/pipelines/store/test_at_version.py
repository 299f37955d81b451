"""A database is read as it was: by version, time and tag, with the settings of then."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from fuseid.core.errors import BadInput, NoDatabase, StoreError
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.store.at_version import StoreAt
from fuseid.pipelines.store.indexes import remove_old_versions


def items(catalog: Catalog) -> set[str]:
    found: set[str] = set()
    for child in catalog.children().to_pylist():
        found |= set(catalog.search(sid=child["prefix"], k=1000)["content_id"].to_pylist())
    return found


@pytest.fixture
def grown(fitted, cluster, tmp_path):
    """v000 to v059, exported; then w000 to w009. -> the workspace, the version and the tag before."""
    manifest = export_ids(fitted.uri(), tmp_path / "ids")
    version = fitted.store().dataset("contents").version
    fitted.ingest_vectors(cluster(60) | cluster(10, seed=1, prefix="w"))
    return fitted, version, manifest["tag"]


def moments(workspace) -> dict[int, datetime]:
    return {
        one["version"]: one["timestamp"].astimezone(UTC) for one in workspace.store().dataset("contents").versions()
    }


def test_a_version_a_tag_and_a_time_name_the_same_state(grown):
    workspace, version, tag = grown
    time = moments(workspace)[version]
    zone = timezone(timedelta(hours=5))
    spellings = [version, str(version), tag, tag[:-8], time, time.astimezone(zone), time.isoformat()]
    spellings += [time.replace(tzinfo=None), time.replace(tzinfo=None).isoformat(sep=" ")]
    for at in spellings:
        catalog = Catalog.open(workspace.uri(), at=at)
        assert catalog.search(like="v000").schema.metadata[b"fuseid.version"] == str(version).encode()
        assert len(items(catalog)) == 60
        assert catalog.items(["w000"]) == []
        with pytest.raises(Exception, match="no item 'w000'"):
            catalog.search(like="w000")
    assert len(items(workspace.catalog())) == 70


def test_the_settings_are_those_of_that_time(bare, cluster):
    bare.ingest_vectors(cluster(40))
    before = bare.store().dataset("contents").version
    bare.fit()
    with pytest.raises(Exception, match="fuseid fit"):
        Catalog.open(bare.uri(), at=before).search(sid="1")
    assert StoreAt.at(bare.uri(), before).setting("champion") is None
    for version in range(before + 1, bare.store().dataset("contents").version + 1):
        store = StoreAt.at(bare.uri(), version)
        if store.dataset("contents").count_rows("sid IS NOT NULL"):
            assert store.setting("champion") == bare.store().setting("champion")
            break
    else:
        raise AssertionError("no version has IDs")


def test_it_stays_while_jobs_write(grown, cluster):
    workspace, version, _ = grown
    catalog = Catalog.open(workspace.uri(), at=version)
    workspace.ingest_vectors(cluster(20, seed=2, prefix="x"))
    assert len(items(catalog)) == 60


@pytest.mark.parametrize("at", [99, "99", 0, "0", -1])
def test_an_unknown_version_names_those_that_there_are(grown, at):
    workspace, _, _ = grown
    newest = workspace.store().dataset("contents").version
    with pytest.raises(BadInput, match=rf"has no version {at} any more or yet; it has the versions 1 to {newest}$"):
        Catalog.open(workspace.uri(), at=at)


def test_a_version_without_items_says_so(grown):
    workspace, version, _ = grown
    workspace.store().delete("contents", list(workspace.rows()))
    emptied = workspace.store().dataset("contents").version
    with pytest.raises(StoreError, match=rf"^version {emptied} of .* has no item; leave at= out$"):
        Catalog.open(workspace.uri(), at=emptied).search(sid="1")
    assert len(items(Catalog.open(workspace.uri(), at=version))) == 60


def test_a_date_is_its_beginning_as_an_object_and_as_text(grown):
    workspace, _, _ = grown
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    for at in (tomorrow, tomorrow.isoformat(), np.datetime64(tomorrow)):
        assert len(items(Catalog.open(workspace.uri(), at=at))) == 70
    for at in (date(2001, 9, 9), "2001-09-09"):
        with pytest.raises(BadInput, match="no version of 2001-09-09T00:00:00"):
            Catalog.open(workspace.uri(), at=at)
    for at in (True, 2.5, b"x", [1]):
        with pytest.raises(BadInput, match="no version, time or tag"):
            Catalog.open(workspace.uri(), at=at)


def test_a_version_that_is_gone_is_unknown_and_a_tagged_one_is_there(grown):
    workspace, version, tag = grown
    newest = workspace.store().dataset("contents").version
    for name in ("contents", "assignments"):
        remove_old_versions(workspace.store(), name, timedelta(0))
    with pytest.raises(BadInput, match=rf"it has the versions {version}, {newest}$"):
        Catalog.open(workspace.uri(), at=version - 1)
    for at in (version, tag):
        assert len(items(Catalog.open(workspace.uri(), at=at))) == 60


def test_other_texts_name_the_tags_or_that_there_are_none(grown, bare, cluster):
    workspace, _, tag = grown
    with pytest.raises(BadInput, match=rf"has no tag 'yesterday'; there are {re.escape(tag)}"):
        Catalog.open(workspace.uri(), at="yesterday")
    workspace.store().dataset("contents").tags.delete(tag)
    with pytest.raises(
        BadInput, match=r"'yesterday' is no version, time or tag of .*which has no tags; it has the ver"
    ):
        Catalog.open(workspace.uri(), at="yesterday")


def test_a_time_before_the_first_version_names_the_oldest(grown):
    workspace, _, _ = grown
    with pytest.raises(
        BadInput, match=r"has no version of 2001-09-09T00:00:00\+00:00: the oldest that it still has is 1"
    ):
        Catalog.open(workspace.uri(), at="2001-09-09")


def test_there_has_to_be_a_database(tmp_path):
    with pytest.raises(NoDatabase):
        Catalog.open(tmp_path / "db", at=1)
