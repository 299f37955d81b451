"""Learned fusion: a small network beside the linear fusion, trained so that items that the same people use are near."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from fuseid.core.artifacts import LEARNED, fusion_version
from fuseid.core.config import LearnedFusionConfig
from fuseid.core.errors import BadInput
from fuseid.core.parallel_blocks import each_block
from fuseid.core.surface import setting
from fuseid.encoders.fusion import Fusion
from fuseid.encoders.learned_fusion_network import Inputs, Network
from fuseid.encoders.learned_fusion_pairs import PairSplit
from fuseid.encoders.learned_fusion_training import Rows, Settings, trained

_BLOCK = 256
_DEFAULTS = LearnedFusionConfig()
_NETWORK = "network."
HELD_UP_TO = "held_out_up_to"


class LearnedFusion(Fusion):
    """The linear fused vector plus what a network of the modalities' vectors adds to it, of unit norm; see
    `learned_fusion_network`. Its artifact has the linear fusion's meta and tensors. meta has `learned`, the settings,
    and `pairs`, where the pairs came from; its metrics have `history`, the figures of each epoch, the linear fusion's
    as epoch 0, and `best_epoch`, the one that was kept; and `HELD_UP_TO`, the highest hash of the pairs that were held
    out, in digits, so that they can be known again."""

    def __init__(self, meta: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        super().__init__(meta, tensors)
        self._network = Network.of(
            self.dims, {k.removeprefix(_NETWORK): part for k, part in tensors.items() if k.startswith(_NETWORK)}
        ).requires_grad_(False)

    @classmethod
    def fit(  # type: ignore[override]
        cls,
        linear: Fusion,
        vectors: Mapping[str, np.ndarray] | Rows,
        pairs: np.ndarray,
        weights: np.ndarray | None = None,
        *,
        hashes: np.ndarray | None = None,
        source: Mapping[str, Any] | None = None,
        hidden: int = _DEFAULTS.hidden,
        keep_content: float = _DEFAULTS.keep_content,
        keep: str = _DEFAULTS.keep,
        epochs: int = _DEFAULTS.epochs,
        patience: int = _DEFAULTS.patience,
        batch_size: int = _DEFAULTS.batch_size,
        epoch_pairs: int = _DEFAULTS.epoch_pairs,
        negatives: int = _DEFAULTS.negatives,
        learning_rate: float = _DEFAULTS.learning_rate,
        weight_decay: float = _DEFAULTS.weight_decay,
        temperature: float = _DEFAULTS.temperature,
        drop_modalities: float = _DEFAULTS.drop_modalities,
        seed: int = _DEFAULTS.seed,
        device: torch.device | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> LearnedFusion:
        """linear: where it starts. vectors: per modality of `linear` float32 [N, D_m], a row of NaN where the item
        lacks it; or `Rows`. Each item has at least one modality. pairs: int [P, 2], rows of co-engaged items; one pair
        in ten, at most 20,000, is held out to choose the epoch by. weights: [P], above 0, how often a pair is drawn;
        those of equal pairs are added. hashes: uint64 [P], equal for equal pairs: the lowest are held out; by default
        of the row numbers. source: of the pairs, for meta. The other arguments: see
        `core.config.LearnedFusionConfig`. On one kind of CPU the result has the same bits for any number of threads.

        progress is called with (epochs done, epochs), first with 0 done. Raises BadInput for pairs of other rows, of a
        row with itself, with weights that are not above 0, or fewer of them than `batch_size`; FitFailed for a fit that
        diverges.
        """
        rows = _ArrayRows(vectors, linear) if isinstance(vectors, Mapping) else vectors
        parts = PairSplit.of(pairs, weights, hashes, rows.rows)
        if len(parts.learned) < batch_size:
            raise BadInput(
                f"{len(parts.learned) + len(parts.held)} pairs, of which {len(parts.held)} are held out, are fewer than"
                f" a batch needs; {setting('fusion.batch_size')} is {batch_size}"
            )
        settings = Settings(
            keep_content, keep, epochs, patience, batch_size, epoch_pairs, negatives, learning_rate, weight_decay,
            temperature, drop_modalities, seed,
        )  # fmt: skip
        show = progress or (lambda done, steps: None)
        show(0, epochs)
        network = Network(linear.dims, linear.dim, hidden, torch.Generator().manual_seed(seed))
        found = trained(
            rows, linear, network, parts, settings, device or torch.device("cpu"), lambda done: show(done, epochs)
        )
        on = {} if device is None or device.type == "cpu" else {"device": device.type}
        meta = linear.meta | {
            "version": fusion_version(learned=True),
            LEARNED: {"hidden": hidden, **asdict(settings), **on},
            "pairs": {"count": len(parts.learned) + len(parts.held), **(source or {})},
        }
        meta["metrics"] = linear.meta["metrics"] | {
            "linear": linear.id, "held_out_pairs": len(parts.held), HELD_UP_TO: str(parts.highest),
            "best_epoch": found.best_epoch, "history": found.history,
        }  # fmt: skip
        learned = {_NETWORK + name: part for name, part in found.network.arrays().items()}
        return cls(meta, linear.tensors | learned)

    def linear(self, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
        """The same of the linear fusion with which it began."""
        return super().transform(vectors)

    def transform(self, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Fusion.transform`."""
        fused_ND = self.linear(vectors)
        there = ~np.isnan(fused_ND[:, 0])
        inputs = Inputs.of(self, {m: each[there] for m, each in vectors.items() if m in self.dims}, fused_ND[there])
        out_ND = np.empty((len(inputs.linear), self.dim), np.float32)
        ends = np.cumsum([inputs.standard.shape[1], inputs.has.shape[1]]).tolist()
        joined = torch.cat([inputs.standard, inputs.has.float(), inputs.linear], dim=1)

        def pass_on(start: int, block: torch.Tensor, count: int) -> None:
            standard, has, linear = (part.contiguous() for part in block.tensor_split(ends, dim=1))
            # The rows that fill a block have no modality: a softmax over nothing is not a number.
            has[count:] = 1.0
            out_ND[start : start + count] = self._network(Inputs(standard, has.bool(), linear))[:count].numpy()

        each_block(joined, _BLOCK, pass_on)
        fused_ND[there] = out_ND
        return fused_ND


class _ArrayRows:
    def __init__(self, vectors: Mapping[str, np.ndarray], linear: Fusion) -> None:
        """Raises BadInput for an item without a modality."""
        rows = len(next(iter(vectors.values())))
        absent = {m: np.full((rows, dim), np.nan, np.float32) for m, dim in linear.dims.items() if m not in vectors}
        parts = [vectors[m] if m in vectors else absent[m] for m in linear.dims]
        self._joined_NJ = np.concatenate([np.asarray(each, np.float32) for each in parts], axis=1)
        self.rows = rows
        nothing = np.flatnonzero(np.isnan(self._joined_NJ).all(1))
        if len(nothing):
            raise BadInput(f"row {nothing[0]} has no vector of {', '.join(linear.dims)}; leave it out")

    def take(self, numbers_B: np.ndarray) -> np.ndarray:
        return self._joined_NJ[numbers_B]
