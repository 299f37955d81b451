"""Tries and vocabularies of a database: what the ledger says, at one version, and nothing half-written."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.compute as pc
import pytest

from fuseid.core.errors import BadInput, NotReady
from fuseid.pipelines.exports.folder import write_manifest
from fuseid.pipelines.exports.snapshot import Snapshot
from fuseid.pipelines.exports.tries import export_trie, open_trie
from fuseid.pipelines.exports.vocabularies import export_vocabulary
from fuseid.tokenizers.constrained import ConstrainedLogits
from fuseid.tokenizers.vocabulary import Vocabulary


def bytes_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def parts(sid: str) -> list[int]:
    codes, _, digit = sid.partition(".")
    return [*map(int, codes.split("-")), int(digit or 0)]


def test_the_trie_leads_from_every_id_to_its_item(fitted, tmp_path):
    manifest = export_trie(fitted.uri(), tmp_path / "trie")
    found = open_trie(tmp_path / "trie")
    ids = fitted.ledger()
    assert found.manifest == manifest
    assert (manifest["items"], manifest["ids"], manifest["levels"], manifest["digit"]) == (60, 60, 4, True)
    assert found.trie.tokenizer_id == manifest["tokenizer_id"] == fitted.store().setting("champion")
    assert found.items["content_id"].to_pylist() == sorted(ids)
    for content_id, sid in ids.items():
        assert found.content_ids(found.trie.items(parts(sid))) == [content_id]


def test_without_the_digit_an_id_has_all_items_of_its_codes(fitted, tmp_path):
    manifest = export_trie(fitted.uri(), tmp_path / "trie", digit=False)
    found = open_trie(tmp_path / "trie")
    by_codes: dict[tuple[int, ...], list[str]] = {}
    for content_id, sid in sorted(fitted.ledger().items()):
        by_codes.setdefault(tuple(parts(sid)[:-1]), []).append(content_id)
    assert (manifest["levels"], manifest["items"], manifest["ids"]) == (3, 60, len(by_codes))
    assert max(map(len, by_codes.values())) > 1
    for codes, content_ids in by_codes.items():
        assert found.content_ids(found.trie.items(codes)) == content_ids


def test_a_condition_and_a_mask_of_the_items_leave_the_same(fitted, tmp_path):
    export_trie(fitted.uri(), tmp_path / "all")
    export_trie(fitted.uri(), tmp_path / "some", where="content_id < 'v030'")
    whole, some = open_trie(tmp_path / "all"), open_trie(tmp_path / "some")
    assert some.manifest["where"] == "content_id < 'v030'"
    mask = pc.less(whole.items["content_id"], "v030").to_numpy()
    view = whole.trie.filtered(mask)
    assert view.item_count == some.trie.item_count == 30
    assert np.array_equal(view.rows()[0], some.trie.rows()[0])
    assert whole.content_ids(view.rows()[1]) == some.content_ids(some.trie.rows()[1])
    fresh = pc.greater_equal(whole.items["updated_at"], pc.min(whole.items["updated_at"]))
    assert whole.trie.filtered(fresh.to_numpy()).item_count == 60


def test_two_exports_of_a_version_have_the_same_bytes_and_a_tag(fitted, tmp_path):
    export_trie(fitted.uri(), tmp_path / "one")
    manifest = export_trie(fitted.uri(), tmp_path / "two")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert Snapshot.open(fitted.uri(), tag=manifest["tag"]).facts() == {
        key: manifest[key] for key in Snapshot.open(fitted.uri()).facts()
    }


def test_a_refused_trie_export_leaves_nothing_half_written(fitted, tmp_path):
    with pytest.raises(NotReady, match="no item with an ID where content_id = 'x'"):
        export_trie(fitted.uri(), tmp_path / "trie", where="content_id = 'x'")
    with pytest.raises(BadInput, match="nonsense = 1"):
        export_trie(fitted.uri(), tmp_path / "trie", where="nonsense = 1")
    assert not [path for path in tmp_path.iterdir() if "trie" in path.name]
    export_trie(fitted.uri(), tmp_path / "trie")
    with pytest.raises(BadInput, match="not an empty folder"):
        export_trie(fitted.uri(), tmp_path / "trie")
    items = tmp_path / "trie" / "trie" / "items.npy"
    items.write_bytes(items.read_bytes()[::-1])
    with pytest.raises(BadInput, match=r"items\.npy is not what its manifest says"):
        open_trie(tmp_path / "trie")
    (tmp_path / "other").mkdir()
    write_manifest(tmp_path / "other", {"format": "grid"})
    with pytest.raises(BadInput, match="holds no trie but an export of format 'grid'"):
        open_trie(tmp_path / "other")


def test_the_vocabulary_has_all_codes_and_room_for_more_digits(fitted, tmp_path):
    manifest = export_vocabulary(fitted.uri(), tmp_path / "new" / "v.json")
    vocabulary = Vocabulary.load(tmp_path / "new" / "v.json")
    largest = max(parts(sid)[-1] for sid in fitted.ledger().values())
    assert (manifest["largest_suffix"], manifest["size"]) == (largest, len(vocabulary))
    assert vocabulary.codebook_sizes == (4, 3, 2)
    assert vocabulary.suffixes >= 2 * (largest + 1)
    assert vocabulary.tokenizer_id == fitted.store().setting("champion")
    assert "tokens" not in manifest
    assert (tmp_path / "new" / "v.json").stat().st_mode & 0o777 == 0o644
    other = export_vocabulary(fitted.uri(), tmp_path / "o.json", style="openonerec")
    assert json.loads((tmp_path / "o.json").read_text())["tokens"][4] == "<s_a_0>"
    assert other["style"] == "openonerec"
    export_trie(fitted.uri(), tmp_path / "trie")
    ConstrainedLogits(open_trie(tmp_path / "trie").trie, vocabulary)


def test_a_vocabulary_of_another_tokenizer_does_not_fit(fitted, tmp_path):
    export_trie(fitted.uri(), tmp_path / "trie")
    fitted.fit(tokenizer={"codebook_sizes": [4, 3, 2], "seed": 5})
    candidate = fitted.candidate()
    export_vocabulary(fitted.uri(), tmp_path / "v.json", candidate)
    with pytest.raises(BadInput, match=f"the vocabulary of {candidate}"):
        ConstrainedLogits(open_trie(tmp_path / "trie").trie, Vocabulary.load(tmp_path / "v.json"))


def test_a_vocabulary_that_cannot_be_written_is_refused(fitted, tmp_path):
    (tmp_path / "v.json").write_text("mine")
    with pytest.raises(BadInput, match="exists"):
        export_vocabulary(fitted.uri(), tmp_path / "v.json")
    with pytest.raises(BadInput, match="unknown style"):
        export_vocabulary(fitted.uri(), tmp_path / "w.json", style="tiger")
    with pytest.raises(BadInput, match="cannot write"):
        export_vocabulary(fitted.uri(), tmp_path / "v.json" / "w.json")
    assert (tmp_path / "v.json").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
