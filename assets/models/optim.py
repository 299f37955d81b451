"""Training helpers that both models share: averaged weights, a schedule in minutes, and the optimizer."""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn


class Average:
    """Moving average of a module's weights and batch statistics; `module` is what is evaluated and saved."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay, self.steps = copy.deepcopy(module).eval().requires_grad_(False), decay, 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for mine, theirs in zip(self.module.state_dict().values(), module.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)


class Schedule:
    """Learning rate as a function of the used share of the time budget: short warm-up, then a cosine to zero."""

    def __init__(self, optimizer: torch.optim.Optimizer, peak: float, minutes: float) -> None:
        self.optimizer, self.peak, self.seconds, self.start = optimizer, peak, minutes * 60, time.monotonic()

    def step(self) -> float:
        """Set the rate for the next step; returns the spent share, at least 1 when the time is over."""
        spent = (time.monotonic() - self.start) / self.seconds
        rate = self.peak * min(1.0, spent / 0.03 + 0.02) * 0.5 * (1 + math.cos(math.pi * min(spent, 1.0)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        return spent


def new_optimizer(groups: list[tuple[nn.Module, float]]) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only; each module's learning rate is multiplied by its factor."""
    params = []
    for module, factor in groups:
        own = list(module.parameters())
        params.append({"params": [p for p in own if p.ndim >= 2], "weight_decay": 0.05, "factor": factor})
        params.append({"params": [p for p in own if p.ndim < 2], "weight_decay": 0.0, "factor": factor})
    return torch.optim.AdamW(params, lr=0.0, betas=(0.9, 0.98), fused=True)


def save_weights(module: nn.Module, path: Path) -> None:
    """Writes the module's state to a safetensors file, as contiguous copies: it refuses channels-last weights."""
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, path)
