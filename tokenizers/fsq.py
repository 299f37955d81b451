"""FSQ: an autoencoder whose rounded dimensions, in groups, are the codes (Mentzer et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from fuseid.core.artifacts import artifact_id, check_version, read_artifact, write_artifact
from fuseid.core.config import FSQConfig
from fuseid.core.errors import BadInput
from fuseid.core.row_blocks import Block, Blocks, as_blocks, summed
from fuseid.core.surface import setting
from fuseid.tokenizers.fit_checks import checked_mean
from fuseid.tokenizers.fsq_autoencoder import AutoencoderSettings, trained
from fuseid.tokenizers.fsq_coder import FSQCoder
from fuseid.tokenizers.fsq_grid import Grid
from fuseid.tokenizers.fsq_training import check_entropy
from fuseid.tokenizers.residual_codebooks import checked_vectors

# Vectors to learn from, at most.
_ROWS = 1 << 16
# The nearest cells on the grid among which candidates are looked for, per candidate asked for, and at least.
_CELLS, _LEAST_CELLS = 2, 64


class FSQ:
    """Each code is a cell of a grid of its own dimensions. Codes are not ordered from coarse to fine: all say equally
    much, and a prefix decodes to the vector whose other dimensions are at their mean. For IDs whose first codes are to
    group similar items, take `rq-kmeans`, with `last: fsq` against collisions.

    meta has `fusion` (the id of the fusion whose vectors it was fitted on, or None), the settings and metrics.
    """

    KIND: ClassVar[str] = "fsq"
    FITS_BLOCKS: ClassVar[bool] = True

    def __init__(self, meta: dict[str, Any], coder: FSQCoder) -> None:
        self.meta, self._coders = meta, {torch.device("cpu"): coder}
        self.codebook_sizes = tuple(grid.size for grid in coder.grids)
        self.dim = len(coder.decoder.output)
        self.id = artifact_id(self.KIND, meta, coder.tensors())

    @classmethod
    def fit(
        cls,
        vectors: np.ndarray | Blocks,
        codebook_sizes: Sequence[int],
        *,
        levels: Sequence[Sequence[int]] | None = None,
        hidden: int = 256,
        epochs: int = 20,
        learning_rate: float = 1e-3,
        seed: int = 0,
        fusion: str | None = None,
        device: torch.device | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> FSQ:
        """vectors: float32 [N, D], finite; it is learned from a sample of at most 65,536 of them, the same for
        everyone who works on the blocks. levels: of the dimensions of each code, by default two each. progress is
        called with (steps done, steps), first with 0 done. Raises BadInput for vectors that are not finite and for
        levels that do not fit, NotReady for fewer distinct vectors than codes at a level, and FitFailed if the
        training diverges or a level collapses.
        """
        if levels is not None and len(levels) != len(codebook_sizes):
            raise BadInput(
                f"{setting('tokenizer.levels')} are of {len(levels)} codes, "
                f"{setting('tokenizer.codebook_sizes')} of {len(codebook_sizes)}"
            )
        given = [None] * len(codebook_sizes) if levels is None else levels
        grids = tuple(Grid(size, each, "levels") for size, each in zip(codebook_sizes, given, strict=True))
        blocks = as_blocks(vectors)
        mean_D = checked_mean(blocks, max(codebook_sizes))
        show = progress or (lambda done, steps: None)
        show(0, epochs)
        sample = torch.from_numpy(np.array(blocks.sample(_ROWS))).to(device or torch.device("cpu"))
        settings = AutoencoderSettings(hidden, epochs, learning_rate, seed)
        coder = trained(sample, grids, settings, lambda done: show(done, epochs))
        (variance, *errors), *counts = summed(blocks.map(_BlockUse(coder, torch.from_numpy(mean_D.astype(np.float32)))))
        if variance > 0:
            for level, counts_K in enumerate(counts, 1):
                check_entropy(counts_K, level, ("epochs", "levels"))
        r2 = [float(1 - error / variance) if variance > 0 else 1.0 for error in errors]
        used = [float((counts_K > 0).mean()) for counts_K in counts]
        meta = {
            "version": FSQConfig.VERSION,
            "codebook_sizes": [grid.size for grid in grids],
            "levels": [list(grid.levels) for grid in grids],
            "hidden": hidden,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "seed": seed,
            "fusion": fusion,
            "metrics": {"sample": blocks.rows, "r2_per_level": r2, "utilisation_per_level": used},
        }
        return cls(meta, coder)

    def encode(self, vectors_ND: np.ndarray, device: torch.device | None = None) -> np.ndarray:
        """float32 [N, D] -> int32 [N, L]. Raises BadInput for another D or NaN."""
        coder, vectors = self._coder(device), self._checked(vectors_ND)
        return coder.codes(coder.bounded(vectors.to(coder.mean.device)))

    def decode(self, codes_NL: np.ndarray) -> np.ndarray:
        """int [N, L'] with L' <= L -> float32 [N, D]; dimensions of codes that a prefix lacks are at their mean."""
        return self._coder().decoded(codes_NL).numpy()

    def candidates(self, vectors_ND: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 [N, D] -> (codes int32 [N, C, L], squared errors float32 [N, C]), smallest error first; C is `count`,
        or as many as there are. They are the best of twice as many cells, at least 64, that are nearest on the grid;
        the first of those is the result of `encode`.

        Raises BadInput for another D or NaN.
        """
        coder, vectors = self._coder(), self._checked(vectors_ND)
        codes = coder.nearest_cells(coder.bounded(vectors), max(_CELLS * count, _LEAST_CELLS))
        decoded = self.decode(codes.reshape(-1, codes.shape[2])).reshape(*codes.shape[:2], self.dim)
        errors = np.square(vectors.numpy()[:, None] - decoded).sum(2)
        order = np.argsort(errors, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(codes, order[:, :, None], axis=1), np.take_along_axis(errors, order, axis=1)

    def save(self, directory: Path) -> None:
        write_artifact(directory, self.KIND, self.meta, self._coder().tensors())

    @classmethod
    def load(cls, directory: Path) -> FSQ:
        """Raises ArtifactError for an artifact that is missing, altered, or of another version."""
        name, meta, tensors = read_artifact(directory, cls.KIND)
        check_version(name, cls.KIND, meta)
        return cls(meta, FSQCoder.of_tensors(meta["codebook_sizes"], meta["levels"], tensors))

    def _checked(self, vectors_ND: np.ndarray) -> torch.Tensor:
        vectors_ND = checked_vectors(vectors_ND)
        if vectors_ND.shape[1] != self.dim:
            raise BadInput(f"{self.id} quantizes vectors of {self.dim} numbers, got {vectors_ND.shape[1]}")
        return torch.from_numpy(vectors_ND)

    def _coder(self, device: torch.device | None = None) -> FSQCoder:
        device = device or torch.device("cpu")
        if device not in self._coders:
            self._coders[device] = self._coders[torch.device("cpu")].to(device)
        return self._coders[device]


@dataclass(frozen=True)
class _BlockUse:
    """The squared distance of a block's vectors to the mean, and their squared error after each level, float64 [1 + L];
    and the members of each code, int64 [K_l]."""

    coder: FSQCoder
    mean_D: torch.Tensor

    def __call__(self, block: Block) -> list[np.ndarray]:
        grids = self.coder.grids
        sums = np.zeros(1 + len(grids))
        counts = [np.zeros(grid.size, np.int64) for grid in grids]
        for chunk in block.chunks():
            codes = self.coder.codes(self.coder.bounded(chunk))
            sums[0] += float((chunk - self.mean_D).square().sum(1).double().sum())
            for level in range(len(grids)):
                left = chunk - self.coder.decoded(codes[:, : level + 1])
                sums[level + 1] += float(left.square().sum(1).double().sum())
                counts[level] += np.bincount(codes[:, level], minlength=grids[level].size)
        return [sums, *counts]
