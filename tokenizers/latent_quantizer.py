"""Vectors to codes and back through an autoencoder: codes are searched among its latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from fuseid.core.parallel_blocks import each_block
from fuseid.tokenizers.code_pairs import Prices
from fuseid.tokenizers.residual_search import ResidualSearch
from fuseid.tokenizers.rq_vae_network import Autoencoder, PreparedHalf

_BLOCK = 512


@dataclass(frozen=True)
class LatentQuantizer:
    """mean: float32 [D] and scale: vectors are standardised as (x - mean) * scale. books: float32 [K_l, d] of each
    level, in the space of the latents. All on the device that computes. It can be pickled, and does not change: the
    network is used as it is when a method is called first."""

    mean: torch.Tensor
    scale: float
    network: Autoencoder
    books: Sequence[torch.Tensor]
    prices: Prices

    def latents(self, vectors: torch.Tensor) -> torch.Tensor:
        """[N, D] -> [N, d]"""
        encoder = self._encoder
        out = vectors.new_empty(len(vectors), self.books[0].shape[1])

        def find(start: int, rows: torch.Tensor, count: int) -> None:
            out[start : start + count] = encoder((rows - self.mean) * self.scale)[:count]

        with torch.no_grad():
            each_block(vectors, _BLOCK, find)
        return out

    def codes(self, vectors: torch.Tensor, beam: int) -> torch.Tensor:
        """[N, D] -> int64 [N, L]"""
        return self.search.codes(self.latents(vectors), beam)

    def quantized(self, codes: torch.Tensor) -> torch.Tensor:
        """int64 [N, L'], of all levels or the first -> the sums of their codebook vectors, [N, d]."""
        parts = [book[codes[:, level]] for level, book in enumerate(self.books[: codes.shape[1]])]
        return torch.stack(parts).sum(0)

    def decoded(self, codes: torch.Tensor) -> torch.Tensor:
        """int64 [N, L'], of all levels or the first -> [N, D]"""
        decoder = self._decoder
        latents = self.quantized(codes)
        out = latents.new_empty(len(latents), len(self.mean))

        def find(start: int, rows: torch.Tensor, count: int) -> None:
            out[start : start + count] = (decoder(rows) / self.scale + self.mean)[:count]

        with torch.no_grad():
            each_block(latents, _BLOCK, find)
        return out

    @cached_property
    def search(self) -> ResidualSearch:
        return ResidualSearch(self.books, self.prices.codes, self.prices.pairs)

    @cached_property
    def _encoder(self) -> PreparedHalf:
        return PreparedHalf(self.network.encoder, _BLOCK)

    @cached_property
    def _decoder(self) -> PreparedHalf:
        return PreparedHalf(self.network.decoder, _BLOCK)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("search", "_encoder", "_decoder")}

    def to(self, device: torch.device) -> LatentQuantizer:
        """A copy on another device."""
        network = Autoencoder.of({name: part.detach().to(device) for name, part in self.network.state_dict().items()})
        prices = Prices(*([part.to(device) for part in parts] for parts in (self.prices.codes, self.prices.pairs)))
        books = [book.to(device) for book in self.books]
        return LatentQuantizer(self.mean.to(device), self.scale, network.to(device), books, prices)
