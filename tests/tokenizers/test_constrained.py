"""Constrained decoding: generation never leaves the catalogue, and allows exactly what a plain set of IDs allows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from fuseid.core.errors import BadInput
from fuseid.tokenizers.constrained import ConstrainedLogits
from fuseid.tokenizers.trie import Trie
from fuseid.tokenizers.vocabulary import Vocabulary

quick = settings(deadline=None, derandomize=True, max_examples=150)
VOCABULARY = Vocabulary((8, 8, 8), suffixes=4)
ROWS = VOCABULARY.padded_size
PAD, EOS, BEGIN, END = range(4)
CODES = np.unique(np.random.default_rng(0).integers(0, (8, 8, 8, 2), (60, 4)), axis=0)
TRIE = Trie.build(CODES)
IDS = {tuple(row) for row in VOCABULARY.ids(CODES).tolist()}
FEW = Trie.build(CODES[[3, 4, 40]])


@pytest.fixture(scope="module")
def t5():
    torch.manual_seed(1)
    config = T5Config(
        vocab_size=ROWS, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=PAD,
        decoder_start_token_id=PAD, eos_token_id=EOS, initializer_factor=4.0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=ROWS, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        pad_token_id=PAD, bos_token_id=None, eos_token_id=EOS, initializer_range=0.5,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def prompts(rows: int = 3, length: int = 9) -> torch.Tensor:
    return torch.randint(4, 60, (rows, length), generator=torch.Generator().manual_seed(2))


def generate(model, processor, inputs=None, **how):
    torch.manual_seed(3)
    inputs = prompts() if inputs is None else inputs
    how = {"do_sample": False, "max_new_tokens": 5, "attention_mask": torch.ones_like(inputs), **how}
    with torch.inference_mode():
        return model.generate(inputs, logits_processor=[processor], **how)


def stripped(row: list[int]) -> tuple[int, ...]:
    while row and row[-1] in (PAD, EOS):
        row = row[:-1]
    return tuple(row)


# Generation

SAMPLING = [{}, {"top_k": 2}, {"top_p": 0.3}, {"temperature": 3.0}, {"top_k": 7, "top_p": 0.9, "temperature": 0.2}]


@pytest.mark.parametrize("how", SAMPLING, ids=str)
def test_sampling_never_leaves_the_catalogue(t5, how):
    made = generate(t5, ConstrainedLogits(TRIE, VOCABULARY), do_sample=True, num_return_sequences=40, **how)
    rows = [stripped(row) for row in made[:, 1:].tolist()]
    assert len(rows) == 120
    assert set(rows) <= IDS
    assert TRIE.has(VOCABULARY.codes(made[:, 1:5].numpy())).all()


@pytest.mark.parametrize("beams", [1, 2, 7, 40])
@pytest.mark.parametrize("tokens", [4, 5, 9])
def test_beams_never_leave_the_catalogue_and_are_different_ids(t5, beams, tokens):
    made = generate(
        t5, ConstrainedLogits(TRIE, VOCABULARY), num_beams=beams, num_return_sequences=beams, max_new_tokens=tokens
    )
    rows = [stripped(row) for row in made[:, 1:].tolist()]
    assert set(rows) <= IDS
    for start in range(0, len(rows), beams):
        assert len(set(rows[start : start + beams])) == beams


@pytest.mark.parametrize("tokens", [4, 5])
def test_with_more_beams_than_items_every_item_comes_first_and_nothing_else_is_an_id(t5, tokens):
    made = generate(
        t5, ConstrainedLogits(FEW, VOCABULARY), num_beams=8, num_return_sequences=8, max_new_tokens=tokens,
        output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    few = {tuple(row) for row in VOCABULARY.ids(FEW.rows()[0]).tolist()}
    rows = [stripped(row) for row in made.sequences[:, 1:].tolist()]
    # Entries that only fill the list have a score of -1e8 or lower: a repeated ID, or nothing.
    for start in range(0, len(rows), 8):
        assert set(rows[start : start + 3]) == few
        assert set(rows[start + 3 : start + 8]) <= few | {()}
        assert (made.sequences_scores[start : start + 3] > -1e4).all()
        assert (made.sequences_scores[start + 3 : start + 8] < -1e8).all()


def test_wide_beams_find_the_best_ids_of_all(t5):
    inputs = prompts()
    made = generate(
        t5, ConstrainedLogits(TRIE, VOCABULARY), inputs, num_beams=60, num_return_sequences=5, max_new_tokens=4,
        length_penalty=0.0,
    )  # fmt: skip
    ids = torch.from_numpy(VOCABULARY.ids(CODES))
    with torch.inference_mode():
        for row, prompt in enumerate(inputs):
            logits = t5(input_ids=prompt.expand(len(ids), -1), labels=ids).logits
            scores = logits.log_softmax(-1).gather(2, ids[..., None]).sum((1, 2))
            best = ids[scores.topk(5).indices]
            assert torch.equal(made[5 * row : 5 * row + 5, 1:], best)


def test_beams_with_sampling_stay_inside_wherever_their_score_is_finite(t5):
    for trie, beams in ((TRIE, 3), (FEW, 8)):
        made = generate(
            t5, ConstrainedLogits(trie, VOCABULARY), num_beams=beams, num_return_sequences=beams, do_sample=True,
            top_k=5, top_p=0.9, output_scores=True, return_dict_in_generate=True,
        )  # fmt: skip
        finite = made.sequences_scores > -1e8
        assert finite.any()
        assert {stripped(row) for row in made.sequences[finite, 1:].tolist()} <= IDS


@pytest.mark.parametrize("how", [{}, {"do_sample": True}, {"num_beams": 4, "num_return_sequences": 4}], ids=str)
def test_a_causal_model_answers_prompts_of_any_length_with_one_id(llama, how):
    for length in (1, 2, 3, 30):
        inputs = torch.cat([prompts(2, length - 1), torch.full((2, 1), BEGIN)], 1)
        made = generate(llama, ConstrainedLogits(TRIE, VOCABULARY, brackets=True), inputs, max_new_tokens=8, **how)
        for row in made[:, length:].tolist():
            row = stripped(row)
            assert row[-1] == END
            assert row[:-1] in IDS


def test_prompts_are_padded_on_the_left_and_may_stop_in_the_middle_of_an_id(llama):
    first = VOCABULARY.ids(CODES)[7].tolist()
    inputs = torch.tensor([[PAD, PAD, 20, BEGIN], [9, BEGIN, *first[:2]], [BEGIN, *first[:3]]])
    mask = (inputs != PAD).long()
    processor = ConstrainedLogits(TRIE, VOCABULARY, brackets=True)
    made = generate(llama, processor, inputs, attention_mask=mask, max_new_tokens=6).tolist()
    for row in made:
        found = stripped(row)
        assert found[-1] == END
        assert found[-5:-1] in IDS
    assert made[1][:4] == [9, BEGIN, *first[:2]]


@pytest.mark.parametrize("brackets", [False, True])
def test_several_ids_are_generated_in_a_row(llama, brackets):
    processor = ConstrainedLogits(TRIE, VOCABULARY, brackets=brackets, more=True)
    history = VOCABULARY.ids(CODES)[:2].reshape(1, -1)
    inputs = torch.from_numpy(np.append(history, [[END] * brackets], 1).astype(np.int64))
    size = 4 + 2 * brackets
    made = generate(llama, processor, inputs, do_sample=True, num_return_sequences=20, max_new_tokens=3 * size)
    lengths = set()
    for row in made[:, inputs.shape[1] :].tolist():
        row = stripped(row)
        lengths.add(len(row))
        for start in range(0, len(row), size):
            part = row[start : start + size]
            assert (part[1:-1] if brackets else part) in IDS
            assert not brackets or (part[0], part[-1]) == (BEGIN, END)
    assert 3 * size in lengths


def test_in_mixed_text_codes_occur_only_within_ids(llama):
    processor = ConstrainedLogits(TRIE, VOCABULARY, brackets=True, text=True)
    inputs = torch.tensor([[40, 50]])
    made = generate(
        llama, processor, inputs, do_sample=True, num_return_sequences=60, max_new_tokens=30, temperature=5.0
    )
    whole, text = 0, 0
    codes = set(range(4, len(VOCABULARY)))
    for row in made[:, 2:].tolist():
        inside: list[int] | None = None
        for token in row:
            if token == BEGIN:
                assert inside is None
                inside = []
            elif token == END:
                assert tuple(inside) in IDS
                inside, whole = None, whole + 1
            elif token in codes:
                inside.append(token)
            else:
                assert inside is None
                text += 1
    assert whole > 5
    assert text > 5


# One step


def allowed(processor, rows, columns: int = ROWS) -> list[set[int]]:
    scores = processor(torch.tensor(rows), torch.zeros(len(rows), columns))
    assert torch.isfinite(scores).any(1).all()
    return [set(np.flatnonzero(np.isfinite(row)).tolist()) for row in scores.numpy()]


SIZES = (2, 3)


@st.composite
def cases(draw):
    """IDs of one, two or three codes, the vocabulary, options, and rows of tokens, many of them parts of IDs."""
    levels = draw(st.integers(1, 3))
    vocabulary = Vocabulary(SIZES[:levels], 2 if levels > 1 else 0)
    row = st.tuples(*(st.integers(0, size - 1) for size in vocabulary.sizes[:levels]))
    codes = np.array(sorted(draw(st.sets(row, min_size=1, max_size=8))))
    how = {name: draw(st.booleans()) for name in ("brackets", "more", "text")}
    length = draw(st.integers(1, 8))
    tokens = st.integers(0, len(vocabulary) + 1)
    rows = draw(st.lists(st.lists(tokens, min_size=length, max_size=length), min_size=1, max_size=4))
    whole = [BEGIN, *vocabulary.ids(codes)[draw(st.integers(0, len(codes) - 1))].tolist()]
    rows += [([EOS] * 8 + whole[: cut + 1])[-length:] for cut in range(len(whole))]
    return vocabulary, codes, how, rows


@quick
@given(cases())
def test_the_allowed_tokens_equal_those_of_a_plain_set_of_ids(case):
    vocabulary, codes, how, rows = case
    size, ids = codes.shape[1], {tuple(row) for row in vocabulary.ids(codes).tolist()}
    by_level = [vocabulary.level_ids(level).tolist() for level in range(vocabulary.levels)]
    first = {row[0] for row in ids}
    start = {BEGIN} if how["brackets"] else first
    free = set(range(16)) - {BEGIN, END, *range(4, len(vocabulary))} if how["text"] else set()
    after = {EOS} | free | (start if how["more"] else set())
    close = {END} if how["brackets"] else after

    def expected(row: list[int]) -> set[int]:
        for level, tokens in enumerate(by_level):
            if row[-1] in tokens:
                prefix = tuple(row[-level - 1 :])
                longer = {one[level + 1] for one in ids if level + 1 < size and one[: level + 1] == prefix}
                return longer or close
        if how["brackets"] and row[-1] in (BEGIN, END):
            return first if row[-1] == BEGIN else after
        return {EOS} if row[-1] == EOS and len(row) > 1 else start | free

    assert allowed(ConstrainedLogits(Trie.build(codes), vocabulary, **how), rows, 16) == [expected(row) for row in rows]


def test_an_id_may_begin_without_a_token_before_it():
    scores = ConstrainedLogits(TRIE, VOCABULARY)(torch.empty((2, 0), dtype=torch.long), torch.zeros(2, ROWS))
    assert {int(token) for token in torch.isfinite(scores[1]).nonzero()} == {row[0] for row in IDS}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_where_other_processors_masked_everything_ids_stay_finite_and_the_rest_is_unchanged(dtype):
    processor = ConstrainedLogits(TRIE, VOCABULARY)
    logits = torch.randn((2, ROWS), generator=torch.Generator().manual_seed(0)).to(dtype)
    logits[0] = float("-inf")
    scores = processor(torch.zeros((2, 1), dtype=torch.long), logits)
    roots = sorted({row[0] for row in IDS})
    assert scores.dtype == dtype
    assert torch.isfinite(scores[:, roots]).all()
    assert torch.equal(scores[1, roots], logits[1, roots])
    assert int(torch.isfinite(scores).sum()) == 2 * len(roots)
    assert torch.isfinite(scores[0].float().softmax(-1)).all()


def test_a_filtered_trie_equals_a_trie_of_the_remaining_items(t5):
    keep = np.arange(0, len(CODES), 3)
    processor = ConstrainedLogits(TRIE, VOCABULARY)
    generate(t5, processor)
    ours, theirs = processor.filtered(keep), ConstrainedLogits(Trie.build(CODES[keep]), VOCABULARY)
    of_view = ConstrainedLogits(TRIE.filtered(keep), VOCABULARY)
    rows = [[PAD] * (4 - cut) + row[:cut] for row in VOCABULARY.ids(CODES).tolist() for cut in range(5)]
    assert allowed(ours, rows) == allowed(theirs, rows) == allowed(of_view, rows)
    how = {"num_beams": 4, "num_return_sequences": 4}
    assert torch.equal(generate(t5, ours, **how), generate(t5, theirs, **how))
    assert not torch.equal(generate(t5, ours, **how), generate(t5, processor, **how))


def test_a_trie_without_the_digit_gives_all_items_of_an_id(t5):
    trie = Trie.build(CODES[:, :3])
    made = generate(t5, ConstrainedLogits(trie, VOCABULARY), num_beams=5, num_return_sequences=5, max_new_tokens=4)
    for row in VOCABULARY.codes(made[:, 1:4].numpy()).tolist():
        found = trie.items(row)
        assert len(found) == (CODES[:, :3] == row).all(1).sum() > 0


def test_a_tokenizer_or_trie_that_does_not_match_is_refused():
    ids = np.array([[0, 0, 0, 3]])
    without_end = Vocabulary((8, 8, 8), 4, text_ids=np.arange(30, 60), pad_and_eos=(None, None))
    of_one = Vocabulary((8, 8, 8), 4, tokenizer_id="one")
    cases = [
        (lambda: ConstrainedLogits(TRIE.filtered(np.array([], int)), VOCABULARY), "the trie has no item"),
        (lambda: ConstrainedLogits(TRIE, VOCABULARY).filtered(np.array([], int)), "the filter leaves no item"),
        (lambda: ConstrainedLogits(Trie.build(ids), Vocabulary((8, 8, 8), 3)), "code 3 at level 4"),
        (lambda: ConstrainedLogits(Trie.build(ids[:, :2]), VOCABULARY), "IDs of 2 codes"),
        (
            lambda: ConstrainedLogits(Trie.build(ids, tokenizer_id="two"), of_one),
            "the trie is of two, the vocabulary of one",
        ),
        (lambda: ConstrainedLogits(TRIE, without_end), "nothing may follow an ID"),
        (
            lambda: allowed(ConstrainedLogits(TRIE, VOCABULARY), [[0]], 20),
            "logits of 20 tokens, the vocabulary needs 32",
        ),
    ]
    for call, named in cases:
        with pytest.raises(BadInput, match=named):
            call()
