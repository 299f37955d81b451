"""Two vocabularies in one: ids, the file, and a model that is enlarged for the new tokens and reduced to them."""

from __future__ import annotations

import json
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import T5Config, T5ForConditionalGeneration

from fuseid.core.errors import BadInput
from fuseid.tokenizers.constrained import ConstrainedLogits
from fuseid.tokenizers.trie import Trie
from fuseid.tokenizers.two_vocabularies import TwoVocabularies
from fuseid.tokenizers.vocabulary import STYLES, Vocabulary, same_tokens

sizes = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)
vocabularies = st.builds(Vocabulary, sizes, st.integers(0, 5))
SMALL = TwoVocabularies.of(Vocabulary((3, 2), 2, tokenizer_id="a"), Vocabulary((2, 4), 3, tokenizer_id="b"), True)


@given(vocabularies, vocabularies, st.booleans())
def test_old_tokens_keep_their_ids_and_new_ones_follow(old, new, aligned):
    both = TwoVocabularies.of(old, new, aligned)
    assert both.tokens[: len(old)] == old.tokens
    assert len(set(both.tokens)) == len(both.tokens) == len(both)
    assert list(chain.from_iterable(map(both.new.level_ids, range(new.levels)))) == list(range(len(old), len(both)))
    codes = np.array([[size - 1 for size in new.sizes], [0] * new.levels])
    ids = both.new.ids(codes)
    assert np.array_equal(both.new.codes(ids), codes)
    for row, tokens in zip(codes.tolist(), ids.tolist(), strict=True):
        assert [both.tokens[token] for token in tokens] == [both.new.token(*place) for place in enumerate(row)]
    assert both.rows_of_new[new.ids(codes)].tolist() == ids.tolist()
    assert (both.new.begin, both.new.end, both.new.pad, both.new.eos) == (2, 3, 0, 1)


@given(vocabularies, vocabularies)
def test_a_new_token_knows_the_old_token_of_its_level_and_code(old, new):
    same = same_tokens(old, new)
    assert same[:4].tolist() == [0, 1, 2, 3]
    names = dict(zip(old.tokens, range(len(old)), strict=True))
    digits = {f"<{chr(97 + new.levels - 1)}_{n}>": f"<{chr(97 + old.levels - 1)}_{n}>" for n in range(new.suffixes)}
    for token, found in zip(new.tokens[4:], same[4:].tolist(), strict=True):
        if token in digits:
            wanted = names.get(digits[token], -1) if old.suffixes else -1
        else:
            wanted = names.get(token, -1) if ord(token[1]) - 97 < len(old.codebook_sizes) else -1
        assert found == wanted
    assert (TwoVocabularies.of(old, new, True).old_of_new == same[4:]).all()
    assert (TwoVocabularies.of(old, new, False).old_of_new == -1).all()


@pytest.mark.parametrize("aligned", [True, False])
def test_the_file_says_where_each_level_starts_and_is_loaded_back(tmp_path, aligned):
    both = TwoVocabularies.of(SMALL.old, Vocabulary((2, 4), 3, tokenizer_id="b"), aligned)
    both.save(tmp_path / "v.json")
    assert TwoVocabularies.load(tmp_path / "v.json") == both
    document = json.loads((tmp_path / "v.json").read_text())
    assert document["tokens"] == both.tokens
    assert (document["old"]["level_starts"], document["new"]["level_starts"]) == ([4, 7, 9], [11, 13, 17])
    assert document["tokens"][13:17] == ["<e_0>", "<e_1>", "<e_2>", "<e_3>"]
    assert document["old_of_new"] == ([4, 5, 7, 8, -1, -1, 9, 10, -1] if aligned else None)


def edited(**changes):
    return json.dumps({**SMALL.document(), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read the vocabulary"),
        ("[]", "cannot read the vocabulary"),
        (json.dumps(SMALL.old.document()), "cannot read the vocabulary"),
        (edited(kind="three"), "unknown kind of vocabulary 'three'"),
        (edited(tokens=SMALL.tokens[::-1]), "was altered"),
        (edited(old_of_new=None), "was altered"),
        (edited(new={**SMALL.document()["new"], "codebook_sizes": [10**15, 2]}), "its sizes are not those"),
    ],
)
def test_another_or_altered_file_is_refused(tmp_path, text, message):
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(BadInput, match=message):
        TwoVocabularies.load(tmp_path / "v.json")


def test_what_cannot_be_one_vocabulary_is_refused():
    with pytest.raises(BadInput, match="one style of tokens"):
        TwoVocabularies.of(Vocabulary((2,)), Vocabulary((2,), style=list(STYLES)[1]), False)
    with pytest.raises(BadInput, match="at most 26 levels, got 14 with the digit after 13 of another tokenizer"):
        TwoVocabularies.of(Vocabulary((2,) * 12, 1), Vocabulary((2,) * 13, 1), False)


# A model


def model_of(rows: int, tied: bool = True) -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=rows, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, tie_word_embeddings=tied,
            pad_token_id=0, eos_token_id=None, decoder_start_token_id=0,
        )
    )  # fmt: skip


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_begin_as_the_old_rows_of_their_codes_or_as_the_mean(tied):
    model = model_of(SMALL.old.padded_size, tied)
    matrices = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    old = [weight.detach().clone()[: len(SMALL.old)] for weight in matrices]
    SMALL.enlarge(model)
    for weight, before in zip(
        [model.get_input_embeddings().weight, model.get_output_embeddings().weight], old, strict=True
    ):
        assert len(weight) == SMALL.padded_size
        assert torch.equal(weight[: len(before)], before)
        for new, same in enumerate(SMALL.old_of_new.tolist(), len(before)):
            assert torch.allclose(weight[new], before[same] if same >= 0 else before.mean(0))


def test_the_reduced_model_gives_the_scores_of_the_enlarged_one():
    model = model_of(SMALL.old.padded_size).eval()
    SMALL.enlarge(model)
    codes = np.array([[1, 3, 2], [0, 2, 0]])
    new = Vocabulary((2, 4), 3, tokenizer_id="b")
    with torch.inference_mode():
        ids = torch.from_numpy(SMALL.new.ids(codes))
        before = model(input_ids=ids, labels=ids).logits[..., SMALL.rows_of_new]
    SMALL.keep_new(model)
    assert model.config.vocab_size == new.padded_size
    with torch.inference_mode():
        ids = torch.from_numpy(new.ids(codes))
        assert torch.allclose(model(input_ids=ids, labels=ids).logits[..., : len(new)], before, atol=1e-6)


def test_an_enlarged_model_generates_only_new_ids():
    model = model_of(SMALL.old.padded_size).eval()
    SMALL.enlarge(model)
    codes = np.array([[0, 1, 0], [1, 3, 0], [1, 3, 1]])
    only = ConstrainedLogits(Trie.build(codes), SMALL.new)
    made = model.generate(
        input_ids=torch.from_numpy(SMALL.old.ids(codes[:1])), logits_processor=[only], num_beams=3,
        num_return_sequences=3, max_new_tokens=3,
    )  # fmt: skip
    assert sorted(map(tuple, SMALL.new.codes(made[:, 1:].numpy()).tolist())) == sorted(map(tuple, codes.tolist()))


def test_a_model_with_too_few_rows_is_refused():
    with pytest.raises(BadInput, match="the model has 5 rows of embeddings and the old vocabulary 11 tokens"):
        SMALL.enlarge(model_of(5))
