"""Explain: everything that the store knows about an item, whether good, rejected or removed."""

from __future__ import annotations

import json

import pytest

from fuseid.core.errors import NotReady, StoreError
from fuseid.pipelines.explain import explain


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
    with pytest.raises(NotReady, match="no item") as caught:
        explain(fitted.uri(), name)
    assert repr(name) in str(caught.value)


def test_there_must_be_a_database(tmp_path):
    with pytest.raises(StoreError, match="no database"):
        explain(tmp_path / "nowhere", "a")
