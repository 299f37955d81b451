"""The start of an RQ-VAE, its epoch 0: principal components as encoder and decoder, codebooks of RQ-KMeans, and prices
that even out the use of codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fuseid.core.parallel_blocks import on_one_core
from fuseid.core.row_blocks import Block, Blocks, summed
from fuseid.tokenizers.block_codes import BeamCodes
from fuseid.tokenizers.code_counts import CodeCounts
from fuseid.tokenizers.code_pairs import Prices, energies
from fuseid.tokenizers.kmeans import SAMPLE_ROWS_PER_CODE
from fuseid.tokenizers.latent_quantizer import LatentQuantizer
from fuseid.tokenizers.least_squares import refined
from fuseid.tokenizers.rq_kmeans import RQKMeans
from fuseid.tokenizers.rq_vae_network import Autoencoder
from fuseid.tokenizers.rq_vae_training import Settings


@dataclass(frozen=True)
class _Spread:
    """The sum of the rows' products with each other, less their mean: float64 [D, D]; and their number."""

    mean_D: np.ndarray

    def __call__(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        mean_D = torch.from_numpy(self.mean_D)
        products = torch.zeros(len(mean_D), len(mean_D), dtype=torch.float64)
        rows = 0
        for chunk in block.chunks():
            centred = chunk.double() - mean_D
            products += centred.T @ centred
            rows += len(chunk)
        return products.numpy(), np.array(rows)


def start_of(
    blocks: Blocks,
    mean_D: np.ndarray,
    sizes: Sequence[int],
    latent_dim: int,
    hidden: int,
    iterations: int,
    refinements: int,
    settings: Settings,
    device: torch.device,
    progress: Callable[[int], None],
) -> tuple[LatentQuantizer, CodeCounts]:
    """mean_D: float64, of all vectors. progress is called with the steps done: one per level, then one per refinement.

    The codebooks are fitted to the vectors and then turned into the space of the latents, which loses nothing if
    latents have as many numbers. Each refinement fits all codebooks together and moves the prices.
    """
    products, rows = summed(blocks.map(_Spread(mean_D)))
    variance = max(float(np.trace(products)) / int(rows), 1e-12)
    components = on_one_core(lambda: torch.linalg.eigh(torch.from_numpy(products)).eigenvectors)
    components_dD = components.flip(1).T[:latent_dim].float().contiguous()
    first = RQKMeans.fit(
        blocks, sizes, iterations=iterations, beam=settings.beam, refinements=0, seed=settings.seed, device=device,
        progress=lambda done, of: progress(min(done, len(sizes))),
    )  # fmt: skip
    books, prices = [book.to(device) for book in first.codebooks], Prices.none(sizes, device)
    sample = torch.from_numpy(blocks.sample(SAMPLE_ROWS_PER_CODE * max(sizes))).to(device)
    for done in range(refinements + 1):
        codes = BeamCodes(tuple(books), tuple(prices.codes), settings.beam, tuple(prices.pairs))
        books, counts = refined(blocks, codes, books)
        if done == refinements:
            break
        if settings.balance_pairs:
            found = energies(books, counts, variance)
            prices = prices.moved_pairs(counts, found, settings.balance_pairs)
        if settings.balance_codes:
            prices = prices.settled(sample, books, settings.beam, settings.balance_codes, variance)
        progress(len(sizes) + done + 1)
    scale = (len(mean_D) / variance) ** 0.5
    mean = torch.from_numpy(mean_D.astype(np.float32)).to(device)
    books[0] = books[0] - mean
    turned = [((book * scale) @ components_dD.T.to(device)).contiguous() for book in books]
    network = Autoencoder(components_dD, hidden, torch.Generator().manual_seed(settings.seed)).to(device)
    return LatentQuantizer(mean, scale, network, turned, prices.scaled(scale**2)), counts
