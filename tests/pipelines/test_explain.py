"""Explain: everything that the store knows about an item, whether good, rejected or removed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from fuseid.core.errors import NotReady, StoreError
from fuseid.pipelines.explain import explain
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.remove import remove


def test_an_item_is_explained_by_its_ids_and_the_items_that_share_its_prefixes(fitted):
    facts = explain(fitted.uri(), "v007", examples=2)
    ids = fitted.ids()
    assert (facts["state"], facts["sid"], facts["kind"]) == ("in contents", ids["v007"], "text")
    assert facts["vectors"] == {"external": 8, "fused": 8}
    assert facts["pinned"] == {
        "fusion": fitted.store().setting("fusion"),
        "champion": fitted.store().setting("champion"),
    }
    (entry,) = facts["ids"]
    assert (entry["sid"], entry["champion"]) == (ids["v007"], True)
    long, short = facts["prefixes"]
    codes = ids["v007"].partition(".")[0]
    assert (long["prefix"], short["prefix"]) == (codes, codes.split("-")[0])
    assert short["items"] == sum(sid.split("-")[0] == short["prefix"] for sid in ids.values())
    assert long["items"] == sum(sid.partition(".")[0] == codes for sid in ids.values())
    assert len(short["examples"]) == 2
    assert "v007" not in {example["content_id"] for example in short["examples"]}
    json.dumps(facts)  # for machines as it is


def test_an_item_is_explained_by_its_media_facts_and_fingerprints(workspace):
    workspace.ingest([{"content_id": "a", "uri": workspace.picture("a.png", 1), "attributes": {"n": 1}}])
    facts = explain(workspace.uri(), "a")
    assert (facts["media"]["width"], facts["media"]["height"], facts["media"]["decoder"]) == (64, 48, "pillow")
    assert facts["attributes"] == {"n": 1}
    assert facts["vectors"].keys() == {"clip_image"}
    assert facts["fingerprints"]["clip_fp"] == workspace.rows()["a"]["clip_fp"]
    assert (facts["sid"], facts["ids"], facts["prefixes"]) == (None, [], [])


def test_a_rejected_item_is_explained_by_the_reason_and_its_former_ids(workspace):
    rows = [{"content_id": "a'b", "uri": workspace.picture("a.png", 1)}, *workspace.captions(8)]
    workspace.ingest(rows)
    workspace.fit()
    sid = workspace.ids()["a'b"]
    (workspace.media / "a.png").write_bytes(b"no picture any more")
    workspace.ingest(rows)
    facts = explain(workspace.uri(), "a'b")
    assert facts["state"] == "rejected"
    assert facts["rejected"]["error_class"] == "Unrecognised"
    assert [entry["sid"] for entry in facts["ids"]] == [sid]


def test_an_id_that_the_shell_types_as_bytes_is_found_as_the_store_keeps_it(bare, cluster):
    bare.ingest_vectors({"caf\\udce9.jpg": cluster(1)["v000"]})
    assert explain(bare.uri(), "caf\udce9.jpg")["content_id"] == "caf\\udce9.jpg"


@pytest.mark.parametrize("name", ["nobody", "' OR '1'='1", ""])
def test_an_unknown_item_is_named(fitted, name):
    with pytest.raises(NotReady, match=r"no item .* in [^ ]*$") as caught:
        explain(fitted.uri(), name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["V007", "v0077"])
def test_ids_like_an_unknown_one_are_proposed(fitted, name):
    with pytest.raises(NotReady, match=r"did you mean .*'v007'"):
        explain(fitted.uri(), name)


def test_a_removed_item_is_explained_by_what_the_ledger_knows(fitted, cluster):
    sid, before = fitted.ids()["v007"], datetime.now(UTC)
    run = remove(fitted.uri(), ["v007"], fitted.settings())
    fitted.ingest_vectors(cluster(3, seed=5, prefix="w"))
    facts = explain(fitted.uri(), "v007")
    assert (facts["state"], facts["sid"]) == ("removed", sid)
    assert (facts["removed"]["run_id"], facts["removed"]["job"]) == (run.run_id, "remove")
    assert before <= datetime.fromisoformat(facts["removed"]["at"]) + timedelta(seconds=1)
    assert datetime.fromisoformat(facts["removed"]["at"]) <= datetime.now(UTC)
    assert "no other item gets its IDs" in facts["reserved"]
    (entry,) = facts["ids"]
    assert (entry["sid"], entry["champion"], entry["tokenizer_id"]) == (sid, True, fitted.store().setting("champion"))
    assert datetime.fromisoformat(entry["given_at"]) <= before
    json.dumps(facts)
    # What is kept reserved for it is what it has again.
    fitted.ingest_vectors({"v007": cluster(60)["v007"]})
    assert fitted.ids()["v007"] == sid
    assert explain(fitted.uri(), "v007")["state"] == "in contents"


def test_of_an_item_that_was_removed_long_ago_the_oldest_version_that_lacks_it_is_told(fitted):
    remove(fitted.uri(), ["v007"], fitted.settings())
    maintain(fitted.store(), keep_versions=timedelta(0))
    removed = explain(fitted.uri(), "v007")["removed"]
    assert (removed["at"], removed["run_id"]) == (None, None)
    assert datetime.fromisoformat(removed["before"]) <= datetime.now(UTC)


def test_why_an_item_has_no_id_yet(bare, cluster):
    bare.ingest_vectors(cluster(40))
    assert "fuseid fit" in explain(bare.uri(), "v000")["without_id"]
    bare.fit()
    assert explain(bare.uri(), "v000")["without_id"] is None
    bare.ingest_vectors(cluster(2, prefix="other"), name="audio")
    assert "no vector of external" in explain(bare.uri(), "other000")["without_id"]
    bare.store().update("contents", {"sid": "NULL"}, "content_id = 'v001'")
    assert "newer than the last run that gave IDs" in explain(bare.uri(), "v001")["without_id"]


def test_there_must_be_a_database(tmp_path):
    with pytest.raises(StoreError, match="no database"):
        explain(tmp_path / "nowhere", "a")
