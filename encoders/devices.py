"""Which device a model runs on."""

from __future__ import annotations

import torch

from fuseid.core.errors import ConfigError


def pick_device(wanted: str) -> torch.device:
    """`auto` is the first CUDA device, else the CPU. Raises ConfigError for a device that is not here."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ConfigError(f"unknown device {wanted!r}; try auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {wanted} was asked for, but no CUDA device is here; use auto or cpu")
    return device
