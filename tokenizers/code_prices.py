"""Prices of codes, under which codes are used about equally often."""

from __future__ import annotations

import numpy as np
import torch

from fuseid.core.parallel_blocks import on_all_cores

_ROWS, _SINKHORN_ROUNDS = 2048, 20


def balancing_prices(rows: torch.Tensor, book: torch.Tensor, prices: torch.Tensor, softness: float) -> torch.Tensor:
    """Prices under which all codes get equally many rows [N, D]: the column potentials of Sinkhorn's iterations (Cuturi
    2013), with an entropy term of `softness` times the mean distortion. In memory: N x K."""
    offsets = book.square().sum(1) / 2

    def cost(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        costs = torch.addmm(offsets, part, book.T, alpha=-1)
        return costs, (costs.min(1).values + part.square().sum(1) / 2).double().sum()

    costs, distortions = zip(*on_all_cores(cost, rows.split(_ROWS)), strict=True)
    softness *= max(float(sum(distortions)) / len(rows), 1e-12)

    def shares(part: torch.Tensor) -> torch.Tensor:
        return torch.softmax((part + prices).mul_(-1 / softness), dim=1).sum(0).double()

    for _ in range(_SINKHORN_ROUNDS):
        share = (sum(on_all_cores(shares, costs), book.new_zeros(())) / len(rows)).float()
        prices = prices + softness * (share * len(book)).clamp(min=1e-6).log()
    return _centred(prices)


def raised_prices(prices: torch.Tensor, counts: torch.Tensor, step: float) -> torch.Tensor:
    """One step of the same ascent with hard counts: the prices of codes used more than their share rise. step: in
    squared units of the vectors."""
    share = counts.clamp(min=0.5) * (len(prices) / counts.sum())
    prices = prices + step * share.log().clamp(-2, 2)
    return _centred(prices)


def _centred(prices: torch.Tensor) -> torch.Tensor:
    return prices - float(prices.cpu().numpy().mean(dtype=np.float64))
