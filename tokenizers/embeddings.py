"""Adds rows for new tokens to a transformers model's embeddings, initialised from the learned rows."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import torch

from fuseid.core.errors import BadInput

# Rows per block when squares are summed.
_ROWS = 1 << 14


def rows_of(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[0])


def points(
    init: str, codebooks: Sequence[np.ndarray] | None, codebook_sizes: Sequence[int], model: Any, seed: int
) -> list[torch.Tensor]:
    """Offsets of each level's codes from the mean of the learned rows: float32 [K, E] per level; empty for `mean`.

    init: `mean`, every new row is the mean of the learned rows (Hewitt 2021); or `codebooks`, the offset of a code is
    its codebook vector minus the level's mean, moved into the embedding space by a random rotation and scaled so that
    the mean squared length per level is 1. Distances within a level keep their ratios if the space has at least as many
    dimensions as the codebooks, and nearly so if it has fewer (Johnson and Lindenstrauss 1984). Raises BadInput for
    codebooks of other sizes.
    """
    if init == "mean":
        return []
    if init != "codebooks":
        raise BadInput(f"new embeddings begin at `mean` or `codebooks`, got {init!r}")
    if codebooks is None or [len(book) for book in codebooks] != list(codebook_sizes):
        got = None if codebooks is None else [len(book) for book in codebooks]
        raise BadInput(f"init `codebooks` takes the tokenizer's codebooks, of {list(codebook_sizes)} codes, got {got}")
    size, dim = model.get_input_embeddings().weight.shape[1], codebooks[0].shape[1]
    drawn = torch.randn(max(size, dim), min(size, dim), generator=torch.Generator().manual_seed(seed))
    rotation = torch.linalg.qr(drawn)[0]
    if dim > size:
        rotation = rotation.T
    placed = []
    for book in codebooks:
        vectors = torch.from_numpy(np.array(book, np.float32)) @ rotation.T
        vectors = vectors - vectors.mean(0)
        length = float(vectors.square().sum(1).mean())
        placed.append(vectors / sqrt(length) if length > 0 else vectors)
    return placed


@torch.no_grad()
def extend(model: Any, learned: int, rows: int, codes: Sequence[tuple[np.ndarray, torch.Tensor]]) -> None:
    """Resizes input and output embeddings to `rows`; each row from `learned` on becomes the mean of the learned rows,
    plus its offset in `codes` times their spread (the root of their mean squared distance from the mean).

    codes: per level, the rows int64 [K] and their offsets float32 [K, E] from `points`. Tied embeddings stay tied. New
    values of an output bias become the mean of its learned values.
    """
    if rows > rows_of(model):
        model.resize_token_embeddings(rows, mean_resizing=False)
    output = model.get_output_embeddings()
    for weight in _matrices(model):
        mean, spread = _mean_and_spread(weight[:learned])
        weight[learned:] = mean.to(weight.dtype)
        for ids, part in codes:
            new = ids >= learned
            placed = mean + spread * part[new].to(mean.device)
            weight[torch.from_numpy(ids[new]).to(weight.device)] = placed.to(weight.dtype)
    if output is not None and getattr(output, "bias", None) is not None:
        output.bias[learned:] = output.bias[:learned].mean()


@torch.no_grad()
def copy_rows(model: Any, rows: np.ndarray, onto: np.ndarray) -> None:
    """Copies rows of the input and output embeddings, and values of an output bias, onto others, all at once. rows,
    onto: int64 [N]."""
    output = model.get_output_embeddings()
    bias = None if output is None else getattr(output, "bias", None)
    for weight in [*_matrices(model), *([] if bias is None else [bias])]:
        weight[torch.from_numpy(onto).to(weight.device)] = weight[torch.from_numpy(rows).to(weight.device)]


def _matrices(model: Any) -> list[torch.Tensor]:
    """The input embeddings, and the output embeddings if they are not the same tensor."""
    output = model.get_output_embeddings()
    matrices = [model.get_input_embeddings().weight]
    if output is not None and output.weight.data_ptr() != matrices[0].data_ptr():
        matrices.append(output.weight)
    return matrices


def _mean_and_spread(weight: torch.Tensor) -> tuple[torch.Tensor, float]:
    mean = weight.mean(0, dtype=torch.float32)
    squares = sum(float((part.float() - mean).square().sum()) for part in weight.split(_ROWS))
    return mean, sqrt(squares / len(weight))
