"""The file of a vocabulary: complete or absent, under any valid file name."""

from __future__ import annotations

import pytest

from fuseid.core.artifacts import ArtifactInfo
from fuseid.core.errors import BadInput
from fuseid.pipelines.exports.vocabularies import aligned, export_vocabulary
from fuseid.tokenizers.two_vocabularies import TwoVocabularies
from fuseid.tokenizers.vocabulary import Vocabulary

# A name has 255 bytes at most; these have three a letter.
LONG = "\u9805" * 85


def test_the_longest_file_name_is_written_and_a_longer_one_refused(fitted, tmp_path):
    folder = tmp_path / "out"
    manifest = export_vocabulary(fitted.uri(), folder / LONG)
    assert len(Vocabulary.load(folder / LONG).tokens) == manifest["size"]
    with pytest.raises(BadInput, match="cannot write"):
        export_vocabulary(fitted.uri(), folder / f"{LONG}a")
    with pytest.raises(BadInput, match="exists; choose another out="):
        export_vocabulary(fitted.uri(), folder / LONG)
    assert [path.name for path in folder.iterdir()] == [LONG]


def test_the_tokens_of_a_second_tokenizer_follow_those_of_the_first(fitted, tmp_path):
    champion = fitted.store().setting("champion")
    fitted.fit(tokenizer={"codebook_sizes": [2, 2]})
    candidate = fitted.candidate()
    alone = export_vocabulary(fitted.uri(), tmp_path / "alone.json")
    manifest = export_vocabulary(fitted.uri(), tmp_path / "both.json", with_id=candidate)
    both = TwoVocabularies.load(tmp_path / "both.json")
    assert (both.old.tokenizer_id, both.new.tokenizer_id, both.aligned) == (champion, candidate, True)
    assert both.old == Vocabulary.load(tmp_path / "alone.json")
    assert manifest["size"] == len(both) == alone["size"] + 2 + 2 + both.new.suffixes
    assert manifest["largest_suffix"] == alone["largest_suffix"]
    assert manifest["largest_new_suffix"] >= 60 // 4 - 1
    fitted.fit(cold=True, tokenizer={"codebook_sizes": [2, 2]})
    [cold] = set(fitted.store().tokenizers()) - {champion, candidate}
    assert not export_vocabulary(fitted.uri(), tmp_path / "cold.json", with_id=cold)["aligned"]
    with pytest.raises(BadInput, match=f"with_= names {champion}, the tokenizer whose IDs come first"):
        export_vocabulary(fitted.uri(), tmp_path / "new.json", with_id=champion)
    assert not (tmp_path / "new.json").exists()


def test_two_tokenizers_are_aligned_if_one_was_aligned_to_the_other():
    one, other = ArtifactInfo("a", {"aligned_to": {"tokenizer": "b"}}), ArtifactInfo("b", {})
    assert aligned(one, other)
    assert aligned(other, one)
    assert not aligned(other, ArtifactInfo("c", {}))
    assert not aligned(one, ArtifactInfo("c", {"aligned_to": {"tokenizer": "d"}}))
