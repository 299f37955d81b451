"""The autoencoder of RQ-VAE: on either side a linear path beside an MLP whose output is zero at first, so that training
starts at principal components."""

from __future__ import annotations

import torch
from torch import nn

from fuseid.tokenizers.products import Products


class Half(nn.Module):
    """Encoder or decoder: rows [B, in] -> rows @ linear.T + second @ gelu(first @ rows) [B, out]."""

    def __init__(self, linear: torch.Tensor, hidden: int, generator: torch.Generator) -> None:
        """linear: float32 [out, in], the start of the linear path. hidden: units of the MLP."""
        super().__init__()
        out, width = linear.shape
        self.linear = nn.Parameter(linear.clone())
        self.first = nn.Parameter(torch.randn(hidden, width, generator=generator) / width**0.5)
        self.first_offset = nn.Parameter(torch.zeros(hidden))
        self.second = nn.Parameter(torch.zeros(out, hidden))
        self.second_offset = nn.Parameter(torch.zeros(out))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        inside = nn.functional.gelu(nn.functional.linear(rows, self.first, self.first_offset))
        return nn.functional.linear(rows, self.linear) + nn.functional.linear(inside, self.second, self.second_offset)


class PreparedHalf:
    """A half that does not change any more, for calls with a fixed number of rows: the result of a row does not depend
    on the other rows."""

    def __init__(self, half: Half, rows: int) -> None:
        self._out = len(half.linear)
        weights, offsets = torch.cat([half.linear, half.first]).detach(), half.first_offset.detach()
        self._first = Products(weights, torch.cat([offsets.new_zeros(self._out), offsets]), rows)
        self._second = Products(half.second.detach(), half.second_offset.detach(), rows)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """[B, in] -> [B, out]"""
        both = self._first(rows)
        inside = nn.functional.gelu(both[:, self._out :].contiguous())
        return self._second(inside).add_(both[:, : self._out])


class Autoencoder(nn.Module):
    """Encoder and decoder for standardised vectors: their mean is zero, their variance one on average."""

    def __init__(self, components: torch.Tensor, hidden: int, generator: torch.Generator) -> None:
        """components: float32 [latent_dim, D], orthonormal rows: the linear paths at first."""
        super().__init__()
        self.encoder = Half(components, hidden, generator)
        self.decoder = Half(components.T.contiguous(), hidden, generator)

    @classmethod
    def of(cls, tensors: dict[str, torch.Tensor]) -> Autoencoder:
        """From what `state_dict` gave."""
        encoder = tensors["encoder.linear"]
        found = cls(torch.zeros_like(encoder), len(tensors["encoder.first"]), torch.Generator())
        found.load_state_dict(tensors)
        return found


def passed(latents: torch.Tensor, quantized: torch.Tensor, estimator: str) -> torch.Tensor:
    """The quantized latents [B, d], from which gradients reach both codebooks and encoder.

    `ste`: the encoder gets the gradient of its quantized latent (van den Oord et al. 2017, 3.2). `rotation`: that
    gradient, rotated and scaled as the latent would have to be to become the quantized one (Fifty et al. 2024, 4).
    """
    if estimator == "ste":
        return quantized + (latents - latents.detach())
    fixed, target = latents.detach(), quantized.detach()
    lengths = [part.norm(dim=1, keepdim=True).clamp(min=1e-12) for part in (fixed, target)]
    start, end = fixed / lengths[0], target / lengths[1]
    middle = nn.functional.normalize(start + end, dim=1)
    rotated = latents - 2 * (latents * middle).sum(1, keepdim=True) * middle
    rotated = (rotated + 2 * (latents * start).sum(1, keepdim=True) * end) * (lengths[1] / lengths[0])
    return quantized + (rotated - rotated.detach())
