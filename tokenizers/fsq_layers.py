"""A linear path with a hidden layer beside it: the encoder and the decoder of FSQ."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch

from fuseid.core.parallel_blocks import each_block
from fuseid.tokenizers.products import Products

_BLOCK = 512


@dataclass(frozen=True)
class Layers:
    """x [I] -> y[:O] + output silu(y[O:]), y = inputs x + bias.

    inputs: float32 [O + H, I]. bias: float32 [O + H]. output: float32 [O, H].
    """

    inputs: torch.Tensor
    bias: torch.Tensor
    output: torch.Tensor

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """float32 [N, I] -> float32 [N, O], with gradients."""
        linear, hidden = torch.addmm(self.bias, rows, self.inputs.T).split(list(self.output.T.shape)[::-1], dim=1)
        return linear + torch.nn.functional.silu(hidden) @ self.output.T

    def on_rows(self, rows: torch.Tensor) -> torch.Tensor:
        """The same without gradients, in blocks: the result of a row does not depend on the other rows."""
        first = Products(self.inputs, self.bias, _BLOCK)
        second = Products(self.output, torch.zeros_like(self.output[:, 0]), _BLOCK)
        out = torch.empty(len(rows), len(self.output), device=rows.device)

        def fill(start: int, some: torch.Tensor, count: int) -> None:
            linear, hidden = first(some).split(list(self.output.T.shape)[::-1], dim=1)
            found = second(torch.nn.functional.silu(hidden.contiguous())).add_(linear)
            out[start : start + count] = found[:count]

        each_block(rows, _BLOCK, fill)
        return out

    def standardised(self, mean: torch.Tensor, deviation: torch.Tensor) -> Layers:
        """The same, less `mean`, over `deviation`, [O] each."""
        hidden = self.bias[len(self.output) :]
        rows = torch.cat([1 / deviation, torch.ones_like(hidden)])
        shift = torch.cat([mean / deviation, torch.zeros_like(hidden)])
        return Layers(self.inputs * rows[:, None], self.bias * rows - shift, self.output / deviation[:, None])

    def of_shifted(self, mean: torch.Tensor, scale: float) -> Layers:
        """The same of x that were not shifted by `mean` [I] and not divided by `scale`."""
        inputs = self.inputs / scale
        return Layers(inputs, self.bias - inputs @ mean, self.output)

    def to(self, device: torch.device) -> Layers:
        return Layers(*(getattr(self, each.name).to(device) for each in fields(self)))

    def tensors(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of the artifact, each named `name.`..."""
        return {f"{name}.{each.name}": getattr(self, each.name).contiguous().numpy() for each in fields(self)}

    @classmethod
    def of_tensors(cls, name: str, tensors: dict[str, np.ndarray]) -> Layers:
        return cls(*(torch.from_numpy(tensors[f"{name}.{each.name}"]) for each in fields(cls)))


def layers_around(linear: torch.Tensor, bias: torch.Tensor, hidden: int, generator: torch.Generator) -> Layers:
    """linear: float32 [O, I], bias: float32 [O] of the linear path; the hidden layer of `hidden` units adds nothing
    yet. generator: of the CPU."""
    bound = 1 / math.sqrt(linear.shape[1])
    inputs = ((torch.rand(hidden, linear.shape[1] + 1, generator=generator) * 2 - 1) * bound).to(linear.device)
    return Layers(
        torch.cat([linear, inputs[:, :-1]]),
        torch.cat([bias, inputs[:, -1]]),
        torch.zeros(len(linear), hidden, device=linear.device),
    )
