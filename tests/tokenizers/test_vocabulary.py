"""The vocabulary: its tokens and ids, a text tokenizer and a model that take them in, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from fuseid.core.errors import BadInput
from fuseid.tokenizers.vocabulary import STYLES, Vocabulary, digits_for
from tokenizers import Tokenizer

quick = settings(deadline=None, derandomize=True, max_examples=50)
WORDS = ["<unk>", "<pad>", "</s>", "red", "dog", "on", "a", "hill"]
SMALL = Vocabulary((3, 2), suffixes=2)

vocabularies = st.builds(
    Vocabulary,
    st.lists(st.integers(1, 40), min_size=1, max_size=5).map(tuple),
    st.integers(0, 20),
    st.sampled_from(list(STYLES)),
)


# Tokens and ids


def test_each_style_has_its_documented_tokens():
    special = ["<pad>", "<eos>", "<|sid_begin|>", "<|sid_end|>"]
    codes = ["<a_0>", "<a_1>", "<a_2>", "<b_0>", "<b_1>"]
    assert Vocabulary((3, 2)).tokens == [*special, *codes]
    assert SMALL.tokens == [*special, *codes, "<c_0>", "<c_1>"]
    other = Vocabulary((1, 1), style="openonerec")
    assert other.tokens == [*special, "<s_a_0>", "<s_b_0>"]
    assert (SMALL.pad, SMALL.eos, SMALL.begin, SMALL.end, SMALL.largest_id) == (0, 1, 2, 3, 10)


@quick
@given(vocabularies, st.randoms(use_true_random=False))
def test_codes_come_back_from_their_ids_which_are_those_of_their_tokens(vocabulary, random):
    assert len(set(vocabulary.tokens)) == len(vocabulary.tokens) == len(vocabulary)
    codes = np.array([[random.randrange(size) for size in vocabulary.sizes] for _ in range(20)])
    ids = vocabulary.ids(codes)
    assert np.array_equal(vocabulary.codes(ids), codes)
    for row, tokens in zip(codes.tolist(), ids.tolist(), strict=True):
        for level, (code, token) in enumerate(zip(row, tokens, strict=True)):
            assert vocabulary.tokens[token] == vocabulary.token(level, code)
    levels = len(vocabulary.codebook_sizes)
    assert np.array_equal(vocabulary.ids(codes[:, :levels]), ids[:, :levels])


@quick
@given(vocabularies)
def test_the_padded_size_is_the_next_multiple_of_64(vocabulary):
    assert vocabulary.padded_size % 64 == 0
    assert 0 <= vocabulary.padded_size - len(vocabulary) < 64


def test_a_token_of_another_level_does_not_decode():
    ids = SMALL.ids(np.array([[2, 1, 0]]))
    assert SMALL.codes(ids[:, [1, 0, 2]]).tolist() == [[-1, -1, 0]]
    assert SMALL.codes(np.array([[0, 3, 999]])).tolist() == [[-1, -1, -1]]


@quick
@given(vocabularies, st.integers(1, 50))
def test_more_digits_only_add_tokens_at_the_end(vocabulary, more):
    grown = Vocabulary(vocabulary.codebook_sizes, vocabulary.suffixes + more, vocabulary.style)
    assert grown.tokens[: len(vocabulary)] == vocabulary.tokens


def test_there_is_room_for_twice_the_digits_in_use():
    for largest in range(300):
        digits = digits_for(largest)
        assert digits & (digits - 1) == 0
        assert 2 * (largest + 1) <= digits < max(17, 4 * (largest + 1) + 1)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: Vocabulary(()), "no vocabulary has"),
        (lambda: Vocabulary((3, 0)), "no vocabulary has"),
        (lambda: Vocabulary((3,), -1), "no vocabulary has"),
        (lambda: Vocabulary((3,), style="tiger"), "unknown style"),
        (lambda: Vocabulary((2,) * 26, 1), "at most 26 levels"),
        (lambda: SMALL.token(0, 3), "level 1 has no code 3"),
        (lambda: SMALL.ids(np.array([[3, 0, 0]])), r"codes 0 to 2, got 3$"),
        (lambda: SMALL.ids(np.array([[0, -1]])), r"codes 0 to 1, got -1$"),
        (lambda: SMALL.ids(np.array([[0, 0, 2]])), "one with more digits, which keeps all ids"),
        (lambda: SMALL.ids(np.array([[0]])), "rows of 2 codes and a digit"),
        (lambda: SMALL.codes(np.array([[0.0, 1.0]])), "integers"),
    ],
)
def test_codes_outside_the_vocabulary_are_refused(call, named):
    with pytest.raises(BadInput, match=named):
        call()


# The file


@quick
@given(vocabularies)
def test_a_saved_vocabulary_loads_as_it_was(tmp_path_factory, vocabulary):
    path = tmp_path_factory.mktemp("vocabulary") / "v.json"
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert json.loads(path.read_text())["tokens"] == vocabulary.tokens


def edited(**changes):
    return json.dumps({**SMALL.document(), **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        edited(tokens=SMALL.tokens[::-1]),
        edited(codebook_sizes=[10**15, 2]),
        edited(codebook_sizes=[2, 3]),
        edited(codebook_sizes="ab"),
        edited(padded_size=65),
        edited(style="tiger"),
        edited(format=2),
    ],
)
def test_an_invalid_or_altered_file_is_refused(tmp_path, text):
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(BadInput, match=r"v\.json|unknown style"):
        Vocabulary.load(tmp_path / "v.json")


# In a text tokenizer and a model


def text_tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", eos_token="</s>")


def language_model(rows: int = len(WORDS), tied: bool = True, size: int = 12) -> PreTrainedModel:
    """A T5, whose embeddings are always tied, or a Llama, whose are not."""
    torch.manual_seed(0)
    if not tied:
        config = LlamaConfig(
            vocab_size=rows, hidden_size=size, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
            pad_token_id=1, bos_token_id=None, eos_token_id=2, tie_word_embeddings=False,
        )  # fmt: skip
        return LlamaForCausalLM(config)
    config = T5Config(
        vocab_size=rows, d_model=size, d_kv=4, d_ff=8, num_layers=1, num_heads=2, pad_token_id=1,
        decoder_start_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return T5ForConditionalGeneration(config)


def matrices(model) -> list[torch.Tensor]:
    weights = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    return weights[:1] if weights[0].data_ptr() == weights[1].data_ptr() else weights


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rows", [len(WORDS), 32])
def test_new_rows_begin_at_the_mean_of_the_old_ones_which_stay(tied, rows):
    tokenizer, model = text_tokenizer(), language_model(rows, tied)
    before = [weight[: len(WORDS)].clone() for weight in matrices(model)]
    bound = SMALL.add_to_tokenizer(tokenizer, model)
    assert len(before) == (1 if tied else 2) == len(matrices(model))
    for old, weight in zip(before, matrices(model), strict=True):
        assert weight.shape == (64, 12)
        assert torch.equal(weight[: len(WORDS)], old)
        torch.testing.assert_close(weight[len(WORDS) :], old.mean(0).expand(64 - len(WORDS), -1))
    assert model.config.vocab_size == 64
    assert bound.ids(np.array([[2, 0, 1]])).tolist() == [tokenizer.convert_tokens_to_ids(["<a_2>", "<b_0>", "<c_1>"])]
    assert (bound.begin, bound.end, bound.pad, bound.eos) == (8, 9, 1, 2)
    text = "red dog<|sid_begin|><a_2><b_0><|sid_end|>a hill"
    decoded = tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True)
    assert decoded.replace(" ", "") == text.replace(" ", "")
    assert tokenizer(text).input_ids[2:6] == [bound.begin, *bound.ids(np.array([[2, 0]]))[0].tolist(), bound.end]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dim", [5, 40])
def test_codebook_rows_have_the_mean_and_spread_of_the_old_ones_and_the_geometry_of_the_codebook(tied, dim):
    sizes = (30, 20)
    generator = np.random.default_rng(0)
    books = [9 * generator.normal(size=(sizes[0], dim)), generator.normal(size=(sizes[1], dim))]
    tokenizer, model = text_tokenizer(), language_model(tied=tied, size=16)
    bound = Vocabulary(sizes, 4).add_to_tokenizer(tokenizer, model, "codebooks", books)
    for weight in matrices(model):
        old = weight[: len(WORDS)]
        spread = (old - old.mean(0)).square().sum(1).mean()
        for level, book in enumerate(books):
            rows = weight[torch.from_numpy(bound.level_ids(level))]
            torch.testing.assert_close(rows.mean(0), old.mean(0), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close((rows - rows.mean(0)).square().sum(1).mean(), spread)
            ours, theirs = torch.pdist(rows), torch.pdist(torch.from_numpy(book).float())
            if dim <= 16:
                torch.testing.assert_close(ours / ours.mean(), theirs / theirs.mean(), atol=1e-4, rtol=1e-3)
            else:
                assert torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > 0.3
        digits = weight[torch.from_numpy(bound.level_ids(2))]
        torch.testing.assert_close(digits, old.mean(0).expand(4, -1))


def test_existing_rows_stay_and_more_digits_keep_the_learned_ones():
    tokenizer, model = text_tokenizer(), language_model(tied=False)
    SMALL.add_to_tokenizer(tokenizer, model)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_()
    learned = model.get_input_embeddings().weight.clone()
    tokens = len(tokenizer)
    again = SMALL.add_to_tokenizer(tokenizer, model)
    assert (len(tokenizer), again.begin) == (tokens, 8)
    assert torch.equal(model.get_input_embeddings().weight, learned)
    grown = Vocabulary((3, 2), 60).add_to_tokenizer(tokenizer, model, "codebooks", [np.eye(3), np.eye(3)[:2]])
    weight = model.get_input_embeddings().weight
    assert len(weight) == 128
    assert torch.equal(weight[:tokens], learned[:tokens])
    assert np.array_equal(grown.level_ids(2)[:2], again.level_ids(2))
    torch.testing.assert_close(weight[tokens:], learned[:tokens].mean(0).expand(128 - tokens, -1))


def test_a_tokenizer_or_model_that_does_not_belong_to_it_is_refused_and_left_as_it_was():
    cases = [
        (lambda t, m: SMALL.bound_to(t), [], "lacks 9 of the 9 tokens"),
        (lambda t, m: SMALL.bound_to(t), ["<a_3>"], "has <a_3>, which this vocabulary lacks"),
        (SMALL.add_to_tokenizer, ["<c_2>"], "has <c_2>, which this vocabulary lacks"),
        (SMALL.add_to_tokenizer, ["<d_0>"], "has <d_0>, which this vocabulary lacks"),
        (SMALL.add_to_tokenizer, ["<b_0>"], "belongs to another one"),
        (SMALL.add_to_tokenizer, ["x", "y", "z"], "8 rows of embeddings and the text tokenizer 11"),
        (lambda t, m: SMALL.add_to_tokenizer(t, m, "zeros"), [], "begin at `mean` or `codebooks`"),
        (lambda t, m: SMALL.add_to_tokenizer(t, m, "codebooks"), [], r"takes the tokenizer's codebooks, of \[3, 2\]"),
        (lambda t, m: SMALL.add_to_tokenizer(t, m, "codebooks", [np.eye(3)]), [], "got"),
    ]
    for call, there, named in cases:
        tokenizer, model = text_tokenizer(), language_model()
        tokenizer.add_tokens(there)
        with pytest.raises(BadInput, match=named):
            call(tokenizer, model)
        assert len(tokenizer) == len(WORDS) + len(there)
        assert len(model.get_input_embeddings().weight) == len(WORDS)
