"""RQ-VAE: residual quantization of the latents of an autoencoder (Lee et al. 2022; Rajput et al. 2023, 3.1), which
starts as RQ-KMeans on principal components, so that training can only improve on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from fuseid.core.artifacts import artifact_id, check_version, read_artifact, write_artifact
from fuseid.core.config import RQVAEConfig
from fuseid.core.errors import BadInput
from fuseid.core.row_blocks import Block, Blocks, as_blocks, summed
from fuseid.tokenizers.code_pairs import Prices
from fuseid.tokenizers.fit_checks import checked_mean
from fuseid.tokenizers.held_out_rows import FittedBlocks
from fuseid.tokenizers.latent_quantizer import LatentQuantizer
from fuseid.tokenizers.residual_codebooks import checked_vectors
from fuseid.tokenizers.rq_vae_network import Autoencoder
from fuseid.tokenizers.rq_vae_start import start_of
from fuseid.tokenizers.rq_vae_training import Settings, trained

# Rows on the device at a time while encoding; a multiple of the block sizes.
_ROWS = 1 << 14
_DEFAULTS = RQVAEConfig()


class RQVAE:
    """meta has `fusion` (the id of the fusion whose vectors it was fitted on, or None), the settings and metrics; these
    have `history`, the figures of each epoch, and `best_epoch`, the one that was kept."""

    KIND: ClassVar[str] = "rq-vae"
    FITS_BLOCKS: ClassVar[bool] = True

    def __init__(self, meta: dict[str, Any], quantizer: LatentQuantizer) -> None:
        """quantizer: on the CPU."""
        self.meta, self._quantizer = meta, quantizer
        self.codebook_sizes = tuple(len(book) for book in quantizer.books)
        self.dim = len(quantizer.mean)
        self.beam = int(meta["beam"])
        self._on: dict[torch.device, LatentQuantizer] = {torch.device("cpu"): quantizer}
        self.id = artifact_id(self.KIND, meta, self.tensors())

    @classmethod
    def fit(
        cls,
        vectors: np.ndarray | Blocks,
        codebook_sizes: Sequence[int],
        *,
        latent_dim: int | None = _DEFAULTS.latent_dim,
        hidden: int = _DEFAULTS.hidden,
        iterations: int = _DEFAULTS.iterations,
        refinements: int = _DEFAULTS.refinements,
        beam: int = _DEFAULTS.beam,
        epochs: int = _DEFAULTS.epochs,
        patience: int = _DEFAULTS.patience,
        batch_size: int = _DEFAULTS.batch_size,
        learning_rate: float = _DEFAULTS.learning_rate,
        weight_decay: float = _DEFAULTS.weight_decay,
        estimator: str = _DEFAULTS.estimator,
        commitment: float = _DEFAULTS.commitment,
        balance: str = _DEFAULTS.balance,
        balance_codes: float = _DEFAULTS.balance_codes,
        balance_pairs: float = _DEFAULTS.balance_pairs,
        least_entropy: float = _DEFAULTS.least_entropy,
        seed: int = 0,
        fusion: str | None = None,
        device: torch.device | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> RQVAE:
        """vectors: float32 [N, D], finite; blocks are read in passes, and in training one after another. The other
        arguments: see `core.config.RQVAEConfig`. On one kind of CPU the result has the same bits for any number of
        threads and whoever holds the blocks. One vector in twenty is held out, by a hash of its content, from samples
        of 2,000 and more; smaller ones are judged by themselves.

        progress is called with (steps done, steps), first with 0 done. Raises BadInput for vectors that are not finite,
        NotReady for fewer distinct vectors than codes at a level, FitFailed for a fit that diverges or collapses.
        """
        blocks = as_blocks(vectors)
        mean_D = checked_mean(blocks, max(codebook_sizes))
        device = device or torch.device("cpu")
        strengths = (balance_codes, balance_pairs) if balance == "sinkhorn" else (0.0, 0.0)
        settings = Settings(
            beam, epochs, patience, batch_size, learning_rate, weight_decay, estimator, commitment, *strengths,
            least_entropy, seed,
        )  # fmt: skip
        first_steps = len(codebook_sizes) + refinements
        show = progress or (lambda done, steps: None)
        show(0, first_steps + epochs)
        fitted = FittedBlocks(blocks, seed)
        start, counts = start_of(
            fitted, mean_D, codebook_sizes, min(latent_dim or blocks.dim, blocks.dim), hidden, iterations, refinements,
            settings, device, lambda done: show(done, first_steps + epochs) if done else None,
        )  # fmt: skip
        judged = torch.from_numpy(fitted.held_out()).to(device)
        found = trained(
            fitted, start, counts, judged, settings, lambda done: show(first_steps + done, first_steps + epochs)
        )
        best = found.quantizer.to(torch.device("cpu"))
        meta = {
            "version": RQVAEConfig.VERSION,
            "codebook_sizes": [int(size) for size in codebook_sizes],
            "latent_dim": latent_dim,
            "hidden": hidden,
            "iterations": iterations,
            "refinements": refinements,
            "beam": beam,
            "epochs": epochs,
            "patience": patience,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "estimator": estimator,
            "commitment": commitment,
            "balance": balance,
            "balance_codes": balance_codes,
            "balance_pairs": balance_pairs,
            "least_entropy": least_entropy,
            "seed": seed,
            "fusion": fusion,
            "metrics": {
                "sample": blocks.rows,
                **_metrics(blocks, best, beam, mean_D),
                "best_epoch": found.best_epoch,
                "history": found.history,
            },
        }
        return cls(meta, best)

    def encode(self, vectors_ND: np.ndarray, beam: int | None = None, device: torch.device | None = None) -> np.ndarray:
        """float32 [N, D] -> int32 [N, L], with the tokenizer's own beam unless given; ties go to the lower code.

        Raises BadInput for another D or NaN.
        """
        vectors_ND = self._checked(vectors_ND)
        device = device or torch.device("cpu")
        if device not in self._on:
            self._on[device] = self._quantizer.to(device)
        out = np.empty((len(vectors_ND), len(self.codebook_sizes)), dtype=np.int32)
        for start in range(0, len(vectors_ND), _ROWS):
            rows = torch.from_numpy(vectors_ND[start : start + _ROWS]).to(device)
            out[start : start + len(rows)] = self._on[device].codes(rows, beam or self.beam).cpu().numpy()
        return out

    def decode(self, codes_NL: np.ndarray) -> np.ndarray:
        """int [N, L'] with L' <= L (a prefix gives its coarse vector) -> float32 [N, D]."""
        codes_NL = np.asarray(codes_NL, dtype=np.int64)
        out = np.empty((len(codes_NL), self.dim), np.float32)
        for start in range(0, len(codes_NL), _ROWS):
            out[start : start + _ROWS] = self._quantizer.decoded(
                torch.from_numpy(codes_NL[start : start + _ROWS])
            ).numpy()
        return out

    def candidates(self, vectors_ND: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 [N, D] -> (codes int32 [N, C, L], squared errors float32 [N, C]), smallest error first; C is `count`,
        or as many as there are: those that a search finds among the latents, by their errors in the space of the
        vectors.

        Raises BadInput for another D or NaN.
        """
        vectors_ND = self._checked(vectors_ND)
        latents = self._quantizer.latents(torch.from_numpy(vectors_ND))
        codes = self._quantizer.search.candidates(latents, max(self.beam, count), count).numpy()
        decoded = self.decode(codes.reshape(-1, codes.shape[2])).reshape(*codes.shape[:2], self.dim)
        errors = np.square(vectors_ND[:, None] - decoded).sum(2)
        order = errors.argsort(axis=1, kind="stable")
        codes = np.take_along_axis(codes, order[:, :, None], axis=1)
        return codes.astype(np.int32), np.take_along_axis(errors, order, axis=1)

    def permuted(self, numbers: Sequence[np.ndarray], aligned_to: dict[str, Any]) -> RQVAE:
        """See `core.protocols.AlignableTokenizer`."""
        places, old = [np.argsort(numbers_K) for numbers_K in numbers], self._quantizer
        books = [book[torch.from_numpy(place)] for book, place in zip(old.books, places, strict=True)]
        new = LatentQuantizer(old.mean, old.scale, old.network, books, old.prices.permuted(places))
        return RQVAE({**self.meta, "aligned_to": aligned_to}, new)

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of the artifact."""
        found = {"mean": self._quantizer.mean.numpy(), "scale": np.array([self._quantizer.scale])}
        found |= {name: part.detach().numpy() for name, part in self._quantizer.network.state_dict().items()}
        found |= {f"codebook.{level}": book.numpy() for level, book in enumerate(self._quantizer.books)}
        return found | self._quantizer.prices.tensors()

    def save(self, directory: Path) -> None:
        write_artifact(directory, self.KIND, self.meta, self.tensors())

    @classmethod
    def load(cls, directory: Path) -> RQVAE:
        """Raises ArtifactError for an artifact that is missing, altered, or of another version."""
        name, meta, tensors = read_artifact(directory, cls.KIND)
        check_version(name, cls.KIND, meta)
        sizes = meta["codebook_sizes"]
        halves = ("encoder.", "decoder.")
        network = Autoencoder.of({k: torch.from_numpy(part) for k, part in tensors.items() if k.startswith(halves)})
        books = [torch.from_numpy(tensors[f"codebook.{level}"]) for level in range(len(sizes))]
        mean, scale = torch.from_numpy(tensors["mean"]), float(tensors["scale"][0])
        return cls(meta, LatentQuantizer(mean, scale, network, books, Prices.read(tensors, sizes)))

    def _checked(self, vectors_ND: np.ndarray) -> np.ndarray:
        vectors_ND = checked_vectors(vectors_ND)
        if vectors_ND.shape[1] != self.dim:
            raise BadInput(f"{self.id} quantizes vectors of {self.dim} numbers, got {vectors_ND.shape[1]}")
        return vectors_ND


@dataclass(frozen=True)
class _BlockUse:
    """Squared errors after no level, after the first, and so on, float64 [1 + L], and the counts of each level."""

    quantizer: LatentQuantizer
    beam: int
    mean_D: np.ndarray

    def __call__(self, block: Block) -> list[np.ndarray]:
        levels = len(self.quantizer.books)
        errors, counts = np.zeros(1 + levels), [np.zeros(len(book), np.int64) for book in self.quantizer.books]
        for chunk in block.chunks():
            codes = self.quantizer.codes(chunk, self.beam)
            errors[0] += np.square(chunk.numpy() - self.mean_D).sum()
            for level in range(levels):
                left = chunk - self.quantizer.decoded(codes[:, : level + 1])
                errors[1 + level] += np.square(left.numpy().astype(np.float64)).sum()
                counts[level] += torch.bincount(codes[:, level], minlength=len(counts[level])).numpy()
        return [errors, *counts]


def _metrics(blocks: Blocks, quantizer: LatentQuantizer, beam: int, mean_D: np.ndarray) -> dict[str, Any]:
    """Of all vectors, those held out too: R^2 of each prefix, and the share of each level's codes in use."""
    (variance, *errors), *counts = summed(blocks.map(_BlockUse(quantizer, beam, mean_D)))
    r2 = [1.0 - float(error / variance) if variance > 0 else 1.0 for error in errors]
    return {"r2_per_level": r2, "utilisation_per_level": [float((count > 0).mean()) for count in counts]}
