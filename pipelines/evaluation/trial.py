"""One trial: a model trained on one kind of IDs with one seed, and the lists of items that it generates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from fuseid.pipelines.evaluation.cold_places import ColdPlaces, with_cold
from fuseid.pipelines.evaluation.controls import Ids
from fuseid.pipelines.evaluation.generation import Generated, generate
from fuseid.pipelines.evaluation.histories import Sequences, TestHistories
from fuseid.pipelines.evaluation.model import Tokens, new_model
from fuseid.pipelines.evaluation.ranking import IdIndex, places
from fuseid.pipelines.evaluation.settings import Setting
from fuseid.pipelines.evaluation.training import train
from fuseid.tokenizers.trie import Trie

# How many IDs of each list are checked for IDs of no item.
INVALID_OF = 10


@dataclass(frozen=True)
class Trial:
    ids: Ids
    seed: int

    @property
    def name(self) -> str:
        return self.ids.name


@dataclass(frozen=True)
class Data:
    """What all trials of an evaluation share. cold_places: in which ways cold items get places in the lists."""

    sequences: Sequences
    setting: Setting
    cold_places: tuple[ColdPlaces, ...] = ()


@dataclass(frozen=True)
class Ranks:
    """The place of each target: items before it, items that share its place (0: not generated); int64 [E] each."""

    before_E: np.ndarray
    same_E: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """ranks: of the test examples, among all items. cold_ranks: of those whose target is cold, among cold items alone.
    invalid_held, invalid_free: the share of the first generated IDs that are no item's ID, with the trie and without it
    (for the first `free_examples`). with_cold: like `ranks`, for each of `Data.cold_places`. A model without IDs has
    none of these three. steps: after which the model had its weights. loss: of the validation examples, in nats per
    item; None if there are none."""

    ranks: Ranks
    cold_ranks: Ranks
    with_cold: tuple[Ranks, ...]
    invalid_free: float | None
    invalid_held: float | None
    steps: int
    loss: float | None
    seconds: float


def run_trial(data: Data, trial: Trial, advance: Callable[[int], None]) -> Outcome:
    """advance: called with the number of training steps done, `setting.steps` in all. The same seed gives the same
    outcome on one kind of CPU, provided that torch has one thread."""
    started = time.perf_counter()
    sequences, setting, codes_NM = data.sequences, data.setting, trial.ids.codes_NM
    tokens = Tokens(trial.ids)
    left = setting.steps

    def step_done() -> None:
        nonlocal left
        left -= 1
        advance(1)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        model = new_model(setting, tokens)
        trained = train(model, tokens, sequences.train, sequences.valid, setting, trial.seed, step_done)
    advance(left)
    trie = Trie.build(codes_NM)
    test, cold_N = sequences.test, ~sequences.seen_N

    def found(examples: TestHistories, index: IdIndex, held_to: Trie | None) -> tuple[np.ndarray, float]:
        made = generate(model, tokens, examples.history_EH, setting.beams, held_to, lambda: advance(0))
        found_EB = index.find(made.codes_EBM)
        return found_EB, invalid_rate(found_EB, made)

    everything, cold = IdIndex(codes_NM), IdIndex(codes_NM[cold_N])
    target_E, is_cold_E = everything.of_N[test.target_E], cold_N[test.target_E]
    some = test.rows(np.arange(min(len(test), setting.free_examples)))
    found_EB, invalid_held = found(test, everything, trie)
    _, invalid_free = found(some, everything, None)
    cold_EB, _ = found(test.rows(is_cold_E), cold, trie.filtered(cold_N))
    cold_target_E = cold.of_N[np.cumsum(cold_N)[test.target_E[is_cold_E]] - 1]
    lists = [found_EB, *with_cold(found_EB, everything, codes_NM, cold_N, test, data.cold_places)]
    ranks, *others = [Ranks(*places(list_EB, target_E, everything.sizes_G)) for list_EB in lists]
    return Outcome(
        ranks, Ranks(*places(cold_EB, cold_target_E, cold.sizes_G)), tuple(others), invalid_free, invalid_held,
        trained.steps, trained.loss, time.perf_counter() - started,
    )  # fmt: skip


def invalid_rate(found_EB: np.ndarray, made: Generated) -> float:
    """The share of the first `INVALID_OF` IDs of each list that are no item's ID; places that the search did not fill
    do not count."""
    there_EB = made.there_EB[:, :INVALID_OF]
    return float((there_EB & (found_EB[:, :INVALID_OF] < 0)).sum() / max(1, there_EB.sum()))
