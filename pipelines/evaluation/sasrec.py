"""SASRec (Kang and McAuley 2018), a recommender without IDs: each item has an embedding of its own, learned from the
events alone, and all items are ranked by their inner product with the state of the history."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout, relu, scaled_dot_product_attention

from fuseid.pipelines.evaluation.histories import TestHistories
from fuseid.pipelines.evaluation.settings import Setting
from fuseid.pipelines.evaluation.training import descend
from fuseid.pipelines.evaluation.trial import Data, Outcome, Ranks
from fuseid.pipelines.evaluation.windows import Windows
from fuseid.tokenizers.ranks import ndcg

SASREC = "sasrec"
# Of the first places of validation lists, by which the best weights are found: their loss is lowest long before.
_K = 10
_RANKED, _CANDIDATES = 256, 8192


@dataclass(frozen=True)
class ItemTrial:
    """A trial without IDs."""

    seed: int
    name: str = SASREC


def sasrec_setting(setting: Setting) -> Setting:
    """The size and the training of SASRec beside the recommender of a setting, with the same history and tests."""
    return replace(
        setting, d_model=128, heads=2, layers=2, dropout=0.3, batch=128, learning_rate=1e-2, warmup=30,
        steps=setting.steps // 2, check_every=50, patience=6,
    )  # fmt: skip


class Block(nn.Module):
    """Causal self-attention, then a point-wise network of the same width (3.2, 3.3)."""

    def __init__(self, width: int, heads: int, rate: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, rate
        self.before_attention, self.before_network = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projected, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, states_EHD: torch.Tensor) -> torch.Tensor:
        examples, history, width = states_EHD.shape
        split = self.projected(self.before_attention(states_EHD)).view(examples, history, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        seen = scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=True)
        states_EHD = states_EHD + dropout(self.joined(seen.transpose(1, 2).reshape(examples, history, width)), rate)
        inner = dropout(relu(self.inner(self.before_network(states_EHD))), rate)
        return states_EHD + dropout(self.outer(inner), rate)


class SASRec(nn.Module):
    """Has random weights from torch's global generator. Its histories have at most `2 * setting.history` items."""

    def __init__(self, items: int, setting: Setting) -> None:
        super().__init__()
        width = setting.d_model
        self.items, self.places = nn.Embedding(items, width), nn.Embedding(2 * setting.history, width)
        for embedding in (self.items, self.places):
            nn.init.normal_(embedding.weight, std=width**-0.5)
        self.blocks = nn.Sequential(*(Block(width, setting.heads, setting.dropout) for _ in range(setting.layers)))
        self.last, self.rate = nn.LayerNorm(width), setting.dropout

    def forward(self, items_EH: torch.Tensor) -> torch.Tensor:
        """int [E, H], -1 after the last item -> float [E, H, D], the state after each item: attention looks back, so
        that what follows has no influence."""
        states_EHD = self.items(items_EH.clamp(min=0)) + self.places.weight[: items_EH.shape[1]]
        found: torch.Tensor = self.last(self.blocks(dropout(states_EHD, self.rate, self.training)))
        return found

    def scores(self, history_EH: np.ndarray) -> torch.Tensor:
        """int [E, H] -> float [E, N], of each item as the next one."""
        items_EH = torch.from_numpy(history_EH).long()
        newest_E = (items_EH >= 0).sum(1) - 1
        return self(items_EH)[torch.arange(len(items_EH)), newest_E] @ self.items.weight.T

    def loss(self, windows: Windows) -> torch.Tensor:
        """The mean cross-entropy of a target, in nats: with it, SASRec is much stronger than with the paper's one
        negative item for each target (Klenitskiy and Vasilev 2023). Of more than 8,192 items, only so many random ones
        and the batch's targets are in it."""
        items_WH = torch.from_numpy(windows.items_WH).long()
        states_TD = self(items_WH[:, :-1])[torch.from_numpy(windows.targets_WH[:, 1:])]
        target_T = items_WH[torch.from_numpy(windows.targets_WH)]
        if len(self.items.weight) <= _CANDIDATES:
            return cross_entropy(states_TD @ self.items.weight.T, target_T)
        drawn = torch.randint(len(self.items.weight), (_CANDIDATES,))
        candidates = torch.cat([target_T, drawn]).unique()
        return cross_entropy(states_TD @ self.items(candidates).T, torch.searchsorted(candidates, target_T))


def run_sasrec(data: Data, trial: ItemTrial, advance: Callable[[int], None]) -> Outcome:
    """advance: called with the number of training steps done, those of `sasrec_setting` in all. Deterministic as
    `run_trial` is."""
    started = time.perf_counter()
    sequences, setting = data.sequences, sasrec_setting(data.setting)
    everything_N = np.ones_like(sequences.seen_N)
    left = setting.steps

    def step_done() -> None:
        nonlocal left
        left -= 1
        advance(1)

    def check() -> float:
        found = _ranks(model, sequences.valid, everything_N)
        return -float(ndcg(found.before_E, found.same_E, _K).mean())

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        model = SASRec(len(everything_N), setting)
        windows = Windows.of(sequences.train)
        checked = check if len(sequences.valid) else None
        trained = descend(model, windows, model.loss, checked, setting, trial.seed, step_done)
    advance(left)
    test, cold_N = sequences.test, ~sequences.seen_N
    ranks, cold_ranks = (
        _ranks(model, examples, among_N)
        for examples, among_N in ((test, everything_N), (test.rows(cold_N[test.target_E]), cold_N))
    )
    loss = _loss(model, sequences.valid) if len(sequences.valid) else None
    return Outcome(ranks, cold_ranks, (), None, None, trained.steps, loss, time.perf_counter() - started)


@torch.inference_mode()
def _ranks(model: SASRec, examples: TestHistories, among_N: np.ndarray) -> Ranks:
    """The places of the targets among some of the items; equal scores share a place."""
    model.eval()
    before, same = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for part in _parts(examples):
        scores_EN = model.scores(part.history_EH).numpy()
        own_E1 = scores_EN[np.arange(len(part)), part.target_E][:, None]
        before.append((scores_EN[:, among_N] > own_E1).sum(1))
        same.append((scores_EN[:, among_N] == own_E1).sum(1))
    return Ranks(np.concatenate(before), np.concatenate(same))


@torch.inference_mode()
def _loss(model: SASRec, examples: TestHistories) -> float:
    """The mean loss of a target among all items, in nats."""
    model.eval()
    total = 0.0
    for part in _parts(examples):
        targets_E = torch.from_numpy(part.target_E).long()
        total += float(cross_entropy(model.scores(part.history_EH), targets_E, reduction="sum"))
    return total / len(examples)


def _parts(examples: TestHistories) -> Iterator[TestHistories]:
    for first in range(0, len(examples), _RANKED):
        yield examples.rows(np.arange(first, min(first + _RANKED, len(examples))))
