"""The training of a learned fusion: co-engaged items are drawn together, and each stays near its content.

The loss is InfoNCE (van den Oord et al. 2018, 2.3) of each pair in both directions, against all other items of the
batch but known partners, with a learned temperature (Radford et al. 2021, 2.3), plus a content term: how far an item is
from its linear fused vector, or how far its neighbours in the batch are from those by that vector (as in stochastic
neighbour embedding, Hinton and Roweis 2002). A batch is split into parts of fixed size, each on one thread, and their
gradients are added in order, so that the result has the same bits for any number of threads; the vectors of all parts
are computed before the loss of any (Gao et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from fuseid.core.ahead import map_ahead
from fuseid.core.errors import FitFailed
from fuseid.core.parallel_blocks import on_all_cores, on_one_core
from fuseid.core.surface import setting
from fuseid.encoders.fusion import Fusion
from fuseid.encoders.fusion_moments import present
from fuseid.encoders.learned_fusion_judging import Judge
from fuseid.encoders.learned_fusion_network import Inputs, Network
from fuseid.encoders.learned_fusion_pairs import PairSplit

# Rows that one thread learns from at a time.
_PART = 256
# Rows that are judged at a time.
_JUDGED = 4096
# The logarithm of the largest factor of cosines, as in Radford et al. 2021, 2.5.
_SHARPEST = math.log(100.0)
# Of the softmax over content neighbours: items whose cosine is lower by this much count a factor e less.
_NEIGHBOURHOOD = 0.1
# Where a cosine is to count for nothing.
_LEFT_OUT = -1e4


class Rows(Protocol):
    """The vectors of items. rows: how many items."""

    @property
    def rows(self) -> int: ...

    def take(self, numbers_B: np.ndarray) -> np.ndarray:
        """float32 [B, J]: the vectors of the modalities, joined in the order of fusion, NaN for an absent one."""


@dataclass(frozen=True)
class Settings:
    """The keys of `core.config.LearnedFusionConfig` that the training needs."""

    keep_content: float
    keep: str
    epochs: int
    patience: int
    batch_size: int
    epoch_pairs: int
    negatives: int
    learning_rate: float
    weight_decay: float
    temperature: float
    drop_modalities: float
    seed: int


@dataclass(frozen=True)
class Trained:
    """The network after the epoch with the highest hit rate on held-out pairs, and the figures of every epoch."""

    network: Network
    best_epoch: int
    history: list[dict[str, Any]]


@dataclass(frozen=True)
class Batch:
    """numbers: int64 [U], distinct rows, sorted. vectors: of these, per modality, in full and as they are learned from.
    changed: bool [U], those that lack a modality which they have. pairs: int64 [2 B, 2], places of anchors and
    partners, sorted. left_out: bool [U, U], for each anchor itself and its partners."""

    numbers: np.ndarray
    vectors: dict[str, np.ndarray]
    reduced: dict[str, np.ndarray]
    changed: np.ndarray
    pairs: torch.Tensor
    left_out: torch.Tensor


def trained(
    rows: Rows,
    linear: Fusion,
    network: Network,
    pairs: PairSplit,
    settings: Settings,
    device: torch.device,
    progress: Callable[[int], None],
) -> Trained:
    """progress is called with the epochs done. Raises FitFailed if the loss is not a number."""
    trainer = _Trainer(rows, linear, network, pairs, settings, device)
    judge = Judge(pairs, rows.rows, settings.seed)
    content = trainer.vectors(judge.numbers, of_network=False)

    def figures(epoch: int, loss: float | None) -> dict[str, Any]:
        vectors = trainer.vectors(judge.numbers)
        if not bool(torch.isfinite(vectors).all()):
            raise _diverged(epoch, math.nan)
        return {
            "epoch": epoch, "loss": loss, "hit@10": judge.hit_rate(vectors),
            "content_kept": judge.content_kept(vectors, content), "temperature": trainer.temperature,
        }  # fmt: skip

    best, best_epoch = deepcopy(trainer.network), 0
    history = [figures(0, None)]
    for epoch in range(1, settings.epochs + 1):
        loss = trainer.epoch(epoch)
        history.append(figures(epoch, loss))
        if history[-1]["hit@10"] > history[best_epoch]["hit@10"]:
            best, best_epoch = deepcopy(trainer.network), epoch
        progress(epoch)
        if epoch - best_epoch >= settings.patience:
            break
    return Trained(best.cpu(), best_epoch, history)


class _Trainer:
    def __init__(
        self, rows: Rows, linear: Fusion, network: Network, pairs: PairSplit, settings: Settings, device: torch.device
    ) -> None:
        self._rows, self._linear, self._pairs, self._settings, self._device = rows, linear, pairs, settings, device
        self.network = network.to(device)
        self._factor = torch.nn.Parameter(torch.tensor(-math.log(settings.temperature), device=device))
        self._parameters = list(self.network.parameters())
        groups = [
            {"params": self._parameters, "weight_decay": settings.weight_decay},
            {"params": [self._factor], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, settings.learning_rate)
        self._drawn = min(len(pairs.learned), max(settings.epoch_pairs, settings.batch_size))
        steps = settings.epochs * (self._drawn // settings.batch_size)
        self._rate = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: max(1 - step / steps, 0.0))

    @property
    def temperature(self) -> float:
        return math.exp(-float(self._factor.detach()))

    def vectors(self, numbers_N: np.ndarray, of_network: bool = True) -> torch.Tensor:
        """float32 [N, D], learned or linear, on the device."""

        def one(numbers: np.ndarray) -> torch.Tensor:
            inputs = Inputs.of(self._linear, split(self._rows.take(numbers), self._linear.dims)).to(self._device)
            with torch.no_grad():
                return self.network(inputs) if of_network else inputs.linear

        parts = (numbers_N[start : start + _PART] for start in range(0, len(numbers_N), _PART))
        return torch.cat(list(on_all_cores(one, parts)))

    def epoch(self, number: int) -> float:
        """-> the mean loss of its batches."""
        losses = [self._learn(batch, number) for batch in self._batches(number)]
        return sum(losses) / len(losses)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """The next one is read meanwhile."""
        rng = np.random.default_rng([self._settings.seed, epoch])
        drawn, size = self._pairs.drawn(self._drawn, rng), self._settings.batch_size
        chosen = [drawn[start : start + size] for start in range(0, len(drawn) - size + 1, size)]
        with ThreadPoolExecutor(1, thread_name_prefix="fuseid-read") as pool:
            yield from map_ahead(lambda pairs: pool.submit(self._batch, pairs, rng), chosen, 1)

    def _batch(self, pairs_B2: np.ndarray, rng: np.random.Generator) -> Batch:
        extra = rng.integers(0, self._rows.rows, self._settings.negatives)
        numbers = np.union1d(pairs_B2, extra)
        places = np.searchsorted(numbers, np.concatenate([pairs_B2, pairs_B2[:, ::-1]]))
        places = places[np.lexsort((places[:, 1], places[:, 0]))]
        left_out = torch.eye(len(numbers), dtype=torch.bool)
        left_out[self._pairs.partners.among(numbers, numbers)] = True
        vectors = split(self._rows.take(numbers), self._linear.dims)
        reduced, changed = self._reduced(vectors, rng)
        return Batch(numbers, vectors, reduced, changed, torch.from_numpy(places), left_out.to(self._device))

    def _reduced(
        self, vectors: dict[str, np.ndarray], rng: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Leaves out modalities at random, never the last one of an item."""
        has = np.stack([present(each) for each in vectors.values()], axis=1)
        # A modality with the highest of these numbers stays.
        luck = np.where(has, rng.random(has.shape), -1.0)
        gone = has & (luck < self._settings.drop_modalities) & (luck < luck.max(1, keepdims=True))
        if not gone.any():
            return vectors, gone.any(1)
        reduced = {m: np.where(gone[:, [at]], np.float32(np.nan), each) for at, (m, each) in enumerate(vectors.items())}
        return reduced, gone.any(1)

    def _learn(self, batch: Batch, epoch: int) -> float:
        size = _PART if self._device.type == "cpu" else len(batch.numbers)
        places = [slice(start, start + size) for start in range(0, len(batch.numbers), size)]
        found = list(on_all_cores(lambda at: self._forward(batch, at), places))
        vectors = torch.cat([each.detach() for each, _ in found])
        content = torch.cat([each for _, each in found])
        loss, factor, wanted = 0.0, torch.zeros_like(self._factor), torch.zeros_like(vectors)
        for part, of_factor, of_vectors in on_all_cores(lambda at: self._loss(batch, at, vectors, content), places):
            loss, factor, wanted = loss + part, factor + of_factor, wanted.add_(of_vectors)
        if not math.isfinite(loss):
            raise _diverged(epoch, loss)

        def backward(part: tuple[torch.Tensor, slice]) -> list[torch.Tensor]:
            return list(torch.autograd.grad(part[0], self._parameters, wanted[part[1]]))

        total: list[torch.Tensor] = []
        outputs = ((each, at) for (each, _), at in zip(found, places, strict=True))
        for gradients in on_all_cores(backward, outputs):
            total = [one + other for one, other in zip(total, gradients, strict=True)] if total else gradients
        for parameter, gradient in zip(self._parameters, total, strict=True):
            parameter.grad = gradient
        self._factor.grad = factor
        on_one_core(self._optimizer.step)
        self._rate.step()
        with torch.no_grad():
            self._factor.clamp_(max=_SHARPEST)
        return loss

    def _forward(self, batch: Batch, at: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """-> the vectors of some rows of a batch, with their graph, and the linear ones of the complete items."""
        content_ND = self._linear.transform({m: each[at] for m, each in batch.vectors.items()})
        linear_ND, changed = content_ND, batch.changed[at]
        reduced = {m: each[at] for m, each in batch.reduced.items()}
        if changed.any():
            linear_ND = content_ND.copy()
            linear_ND[changed] = self._linear.transform({m: each[changed] for m, each in reduced.items()})
        inputs = Inputs.of(self._linear, reduced, linear_ND).to(self._device)
        return self.network(inputs), torch.from_numpy(content_ND).to(self._device)

    def _loss(
        self, batch: Batch, at: slice, vectors: torch.Tensor, content: torch.Tensor
    ) -> tuple[float, torch.Tensor, torch.Tensor]:
        """What some anchors add to the loss of a batch, and its gradients for the factor and for all vectors."""
        rows, factor = vectors.clone().requires_grad_(), self._factor.detach().clone().requires_grad_()
        cosines = rows[at] @ rows.T
        scaled = cosines * factor.exp()
        others = scaled.masked_fill(batch.left_out[at], _LEFT_OUT).logsumexp(1)
        start, stop = torch.searchsorted(batch.pairs[:, 0].contiguous(), torch.tensor([at.start, at.stop])).tolist()
        anchors, partners = batch.pairs[start:stop].to(vectors.device).T
        anchors = anchors - at.start
        wanted = scaled[anchors, partners]
        loss = (torch.logaddexp(wanted, others[anchors]) - wanted).sum() / len(batch.pairs)
        if self._settings.keep_content:
            if self._settings.keep == "neighbours":
                away = _neighbours_lost(cosines, content, at)
            else:
                away = (1 - (rows[at] * content[at]).sum(1)).sum()
            loss = loss + self._settings.keep_content * away / len(vectors)
        of_factor, of_rows = torch.autograd.grad(loss, (factor, rows))
        return float(loss.detach()), of_factor, of_rows


def _neighbours_lost(cosines: torch.Tensor, content: torch.Tensor, at: slice) -> torch.Tensor:
    """How far the neighbours of some rows are from those of their content: the sum of the divergences, in nats, of the
    softmax over the cosines to all other rows from that over the cosines of content. cosines: [n, U]; content: [U, D].
    """
    itself = torch.arange(len(cosines), device=cosines.device)
    before, after = (
        each.div(_NEIGHBOURHOOD).index_put((itself, itself + at.start), cosines.new_tensor(_LEFT_OUT)).log_softmax(1)
        for each in (content[at] @ content.T, cosines)
    )
    return (before.exp() * (before - after)).sum()


def split(joined_ND: np.ndarray, dims: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Joined rows, per modality."""
    ends = np.cumsum(list(dims.values())).tolist()
    return {m: joined_ND[:, end - dim : end] for (m, dim), end in zip(dims.items(), ends, strict=True)}


def _diverged(epoch: int, loss: float) -> FitFailed:
    return FitFailed(
        f"the fit of the fusion diverged in epoch {epoch}: its loss is {loss}; set {setting('fusion.learning_rate')} "
        f"smaller or {setting('fusion.temperature')} larger"
    )
