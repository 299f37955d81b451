"""Predicts where the pictures of a text are: a map from the sentence encoder's vectors into the image side's final
space.

Mapping texts into the pictures' space, and not pictures into the texts' space, avoids hubs: seen words that would be
nearest to most unseen pictures (Shigeto et al., "Ridge Regression, Hubness, and Zero-Shot Learning", 2015).
"""

from __future__ import annotations

import torch
from augment import plain_views
from batches import Sampler
from clip_model import SIDE, normalise_pixels
from data import PictureSet
from torch import Tensor, nn
from torch.nn import functional as F

NEARNESS, RIDGE = 3.0, 0.3  # inverse width of the kernel on unit vectors; weight of the penalty


@torch.inference_mode()
def picture_vectors(tower: nn.Module, data: PictureSet, rows: list[int], device: str) -> Tensor:
    """The tower's unit vectors [N, E] of plain views of some pictures."""
    tower.to(device).eval()
    found = []
    for start in range(0, len(rows), 256):
        part = torch.from_numpy(data.pictures[rows[start : start + 256]])
        pixels = normalise_pixels(plain_views(part, SIDE)).to(device, memory_format=torch.channels_last)
        found.append(F.normalize(tower(pixels), dim=-1).cpu())
    return torch.cat(found).clone()


def concept_middles(tower: nn.Module, data: PictureSet, sampler: Sampler, device: str) -> Tensor:
    """Unit vectors [concepts in training, E]: the mean of each concept's training pictures."""
    rows = sampler.rows[: sampler.concept_count]
    vectors = picture_vectors(tower, data, [row for same in rows for row in same], device)
    return F.normalize(torch.stack([part.mean(0) for part in vectors.split([len(same) for same in rows])]), dim=-1)


class IntoPictures:
    """Kernel ridge regression from target vectors of labels [C, D] to the means of their pictures [C, E]."""

    def __init__(self, labels: Tensor, middles: Tensor) -> None:
        self.centre, self.offset = labels.mean(0), middles.mean(0)
        self.known = F.normalize(labels - self.centre, dim=-1)
        kernel = self._kernel(self.known)
        self.weight = torch.linalg.solve(kernel + RIDGE * torch.eye(len(kernel)), middles - self.offset)

    def _kernel(self, centred: Tensor) -> Tensor:
        return torch.exp(NEARNESS * (centred @ self.known.T - 1))

    def __call__(self, vectors: Tensor) -> Tensor:
        """Unit vectors [N, E], in the pictures' space, of target vectors [N, D]."""
        parts = [self._kernel(F.normalize(part - self.centre, dim=-1)) @ self.weight for part in vectors.split(4096)]
        return F.normalize(torch.cat(parts) + self.offset, dim=-1)
