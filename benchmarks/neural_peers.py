"""Quantizers of vector-quantize-pytorch inside a plain autoencoder, for `benchmarks/tokenizers.py`.

The usual recipe of RQ-VAE for semantic IDs: encoder D-512-64, decoder 64-512-D, ReLU, AdamW with a learning rate of
1e-3, batches of 1,024, commitment weight 0.25, 20 epochs, k-means as start of the codebooks; the error is divided by
the variance of the data, without which most codes die.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

_HIDDEN, _LATENT, _BATCH, _RATE = 512, 64, 1024, 1e-3
# Dimensions of finite scalar quantization for codebooks of these sizes.
_LEVELS = {16: [4, 4], 32: [8, 4], 64: [8, 8], 256: [8, 8, 4], 1024: [8, 8, 4, 4]}
Encode = Callable[[np.ndarray], np.ndarray]


class _Autoencoder(nn.Module):
    def __init__(self, dim: int, quantizer: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(dim, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _LATENT))
        self.decoder = nn.Sequential(nn.Linear(_LATENT, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, dim))
        self.quantizer = quantizer

    def forward(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[B, D] -> decoded [B, D], codes [B, L], commitment loss."""
        quantized, codes, *losses = self.quantizer(self.encoder(vectors)[None])
        return self.decoder(quantized[0]), codes[0], losses[0].sum() if losses else quantized.new_zeros(())


def quantizers(sizes: tuple[int, ...]) -> dict[str, Callable[[], nn.Module]]:
    """Systems by name; none for codebooks of different sizes, which the library's options here do not allow."""
    from vector_quantize_pytorch import ResidualFSQ, ResidualVQ

    if len(set(sizes)) > 1:
        return {}
    common = {"dim": _LATENT, "num_quantizers": len(sizes)}
    start = {"codebook_size": sizes[0], "kmeans_init": True, "kmeans_iters": 10, "threshold_ema_dead_code": 2}
    found: dict[str, Callable[[], nn.Module]] = {
        "vq-pytorch ResidualVQ": lambda: ResidualVQ(**common, **start, commitment_weight=0.25),
        "vq-pytorch DiVeQ": lambda: ResidualVQ(**common, **start, diveq=True),
    }
    if sizes[0] in _LEVELS:
        found["vq-pytorch ResidualFSQ"] = lambda: ResidualFSQ(**common, levels=_LEVELS[sizes[0]])
    return found


def fitted(
    make: Callable[[], nn.Module], vectors_ND: np.ndarray, seed: int, epochs: int = 20
) -> tuple[Encode, Encode, float]:
    """-> (encode [N, D] -> codes [N, L], decode [N, L] -> [N, D], seconds of the fit)."""
    torch.manual_seed(seed)
    started = time.perf_counter()
    model = _Autoencoder(vectors_ND.shape[1], make())
    vectors = torch.from_numpy(vectors_ND)
    variance = (vectors - vectors.mean(0)).square().sum(1).mean()
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE)
    for _ in range(epochs):
        for rows in torch.randperm(len(vectors)).split(_BATCH):
            decoded, _, commitment = model(vectors[rows])
            loss = (decoded - vectors[rows]).square().sum(1).mean() / variance + commitment
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    seconds = time.perf_counter() - started
    model.eval()

    @torch.inference_mode()
    def encode(rows_ND: np.ndarray) -> np.ndarray:
        return np.concatenate([model(part)[1].numpy() for part in _parts(rows_ND)])

    @torch.inference_mode()
    def decode(codes_NL: np.ndarray) -> np.ndarray:
        quantized = model.quantizer.get_output_from_indices(torch.from_numpy(codes_NL)[None])[0]
        return model.decoder(quantized).numpy()

    return encode, decode, seconds


def _parts(rows_ND: np.ndarray) -> Iterator[torch.Tensor]:
    return iter(torch.from_numpy(rows_ND).split(4 * _BATCH))
