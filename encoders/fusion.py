"""Fusion: joins the vectors of an item's modalities into one content embedding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from fuseid.core.artifacts import FUSION, artifact_id, check_version, read_artifact, write_artifact
from fuseid.core.errors import BadInput, FingerprintMismatch, NotReady
from fuseid.core.fingerprints import STEP_VERSIONS
from fuseid.core.modalities import modalities
from fuseid.core.parallel_blocks import each_block
from fuseid.encoders.blocks import unit_rows
from fuseid.encoders.fusion_fill import Pattern, learn_fill, learned_patterns, patterns

_BLOCK = 256
Fill = Literal["linear", "renormalise", "mean", "zero"]
# In place of a `fill`: the one modality of this fusion passes through unchanged.
IDENTITY = "identity"


class Fusion:
    """Normalises, centres, weights and joins the modalities, fills in absent ones, reduces by principal components.

    For modality m with unit vector v_m, mean mu_m over the sample and weight w_m, the joint vector x holds
    w_m * (v_m - mu_m); the fused vector is the unit-norm projection of x on the first D principal components of the
    sample (Pearson 1901). An item that lacks modalities is filled, by `fill`:

    - `linear`: with the linear prediction from those it has (`fusion_fill`), close to where the complete item would be;
    - `mean`: with mu_m; `zero`: with the zero vector; `renormalise`: with mu_m, and x is scaled by
      sqrt(sum_all w^2 / sum_present w^2), so that x is not shorter for an item with few modalities.

    Each is affine, so the artifact holds one matrix per pattern of present modalities, from their vectors to the fused
    space. With more than four modalities only patterns that occur are learned, and those of one modality; an item of
    another pattern is fused by the learned part of it that weighs most.
    """

    KIND = FUSION

    def __init__(self, meta: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        self.id = artifact_id(self.KIND, meta, tensors)
        self.meta = meta
        self.tensors = tensors
        # A loaded document has its keys in another order; patterns are named in the order of fusion.
        self.dims: dict[str, int] = {each.name: meta["dims"][each.name] for each in modalities(meta["dims"])}
        self.dim: int = meta["dim"]
        self.encoders: dict[str, str | None] = meta["encoders"]

    @classmethod
    def fit(
        cls,
        vectors: Mapping[str, np.ndarray],
        weights: Mapping[str, float] | None,
        dim: int,
        encoders: Mapping[str, str | None],
        pairs: np.ndarray | None = None,
        fill: Fill = "linear",
    ) -> Fusion:
        """Learns means, predictions and components on a sample.

        vectors: per modality float32 [N, D_m], a row of NaN where the item lacks it. weights: None computes them from
        the data: the inverse of each modality's largest singular value, so that no modality dominates the first
        component (multiple factor analysis, Escofier and Pagès 1994). encoders: the encoder fingerprint of each
        modality's vectors. pairs: int [P, 2] rows of co-engaged items, for learned fusions; not used here.
        Raises NotReady when no modality with a positive weight has a vector, BadInput when no weight is positive.
        """
        order = (modality.name for modality in modalities(vectors))
        has = {m: present(vectors[m]) for m in order if weights is None or weights.get(m, 0)}
        has = {m: rows for m, rows in has.items() if rows.any()}
        if not has:
            chosen = "" if weights is None else f" ({dict(weights)})"
            kind = NotReady if weights is None or any(weights.values()) else BadInput
            raise kind(f"nothing to fuse: no item has a vector of a modality with a weight above 0{chosen}")
        has_any = np.any(list(has.values()), axis=0)
        has = {m: rows[has_any] for m, rows in has.items()}
        unit = {m: unit_rows(vectors[m][has_any][rows]) for m, rows in has.items()}
        means = {m: rows.mean(0, dtype=np.float64).astype(np.float32) for m, rows in unit.items()}
        used = {m: 1.0 / _largest_singular_value(unit[m] - means[m]) for m in has} if weights is None else weights
        top = max(used[m] for m in has) if weights is None else 1.0
        meta: dict[str, Any] = {
            "version": STEP_VERSIONS[cls.KIND],
            "dims": {m: int(vectors[m].shape[1]) for m in has},
            "weights": {m: float(used[m] / top) for m in has},
            "encoders": {m: encoders.get(m) for m in has},
            "fill": fill,
        }
        centred = {}
        for m, rows in has.items():
            centred[m] = np.zeros((len(rows), unit[m].shape[1]), dtype=np.float32)
            centred[m][rows] = meta["weights"][m] * (unit[m] - means[m])
        offsets = {m: -meta["weights"][m] * means[m].astype(np.float64) for m in has}
        fills, explained = {}, {}
        for pattern in learned_patterns(has):
            fills[pattern], explained[pattern] = _fill(fill, pattern, centred, has, offsets, meta["weights"])
        joint_dim = sum(meta["dims"].values())
        meta["dim"] = min(dim, joint_dim)
        mean, components, kept = _principal_components(_completed(centred, has, fills), meta["dim"])
        tensors = {f"mean.{m}": means[m] for m in has}
        tensors["components"] = np.ascontiguousarray(components.astype(np.float32))
        for pattern, (scale, maps, fixed) in fills.items():
            blocks = dict(zip(has, np.split(components, np.cumsum(list(meta["dims"].values()))[:-1]), strict=True))
            matrix = np.concatenate([blocks[m] for m in pattern]) * scale
            matrix = matrix + sum(maps[m] @ blocks[m] for m in maps)
            shift = sum((fixed[m] @ blocks[m] for m in fixed), -mean @ components)
            tensors[f"map.{'+'.join(pattern)}"] = np.ascontiguousarray(matrix.astype(np.float32))
            tensors[f"shift.{'+'.join(pattern)}"] = shift.astype(np.float32)
        meta["metrics"] = {
            "sample": len(has_any),
            "complete": int(np.all(list(has.values()), axis=0).sum()),
            "variance_kept": kept,
            "fill_explains": {"+".join(pattern): shares for pattern, shares in explained.items() if shares},
        }
        return cls(meta, tensors)

    @classmethod
    def identity(cls, modality: str, dim: int, encoder: str | None) -> Fusion:
        """The vectors of one modality as they are stored, neither normalised nor centred: the space of codebooks that
        another system learned on them. encoder: the fingerprint of the encoder of these vectors."""
        meta = {
            "version": STEP_VERSIONS[cls.KIND],
            "dims": {modality: dim},
            "weights": {modality: 1.0},
            "encoders": {modality: encoder},
            "fill": IDENTITY,
            "dim": dim,
            "metrics": {},
        }
        return cls(meta, {})

    def transform(self, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
        """vectors as in `fit` -> float32 [N, dim], unit norm unless this is an identity; a row of NaN for an item with
        none of the modalities."""
        if self.meta["fill"] == IDENTITY:
            (modality,) = self.dims
            return np.array(vectors[modality], dtype=np.float32)
        rows = len(next(iter(vectors.values())))
        has = {m: present(vectors[m]) if m in vectors else np.zeros(rows, dtype=bool) for m in self.dims}
        fused = np.full((rows, self.dim), np.nan, dtype=np.float32)
        for pattern in patterns(tuple(self.dims)):
            which = np.all([has[m] == (m in pattern) for m in self.dims], axis=0)
            if which.any():
                used = self._learned(pattern)
                fused[which] = self._of_pattern(used, {m: vectors[m][which] for m in used})
        return fused

    def _learned(self, pattern: Pattern) -> Pattern:
        """The pattern itself if it was learned, else the learned part of it that weighs most."""
        weights = self.meta["weights"]
        learned = (part for part in patterns(pattern) if f"map.{'+'.join(part)}" in self.tensors)
        return max(learned, key=lambda part: sum(weights[m] ** 2 for m in part))

    def _of_pattern(self, pattern: Pattern, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
        weights, name = self.meta["weights"], "+".join(pattern)
        centred = [weights[m] * (unit_rows(vectors[m]) - self.tensors[f"mean.{m}"]) for m in pattern]
        matrix, shift = torch.from_numpy(self.tensors[f"map.{name}"]), torch.from_numpy(self.tensors[f"shift.{name}"])

        joined = torch.from_numpy(np.concatenate(centred, axis=1).astype(np.float32))
        fused_ND = np.empty((len(joined), self.dim), np.float32)

        def project(start: int, block: torch.Tensor, count: int) -> None:
            # torch's product, not numpy's: with OpenBLAS the last bits of a row depend on its position in the block.
            fused_ND[start : start + count] = (block @ matrix + shift)[:count].numpy()

        each_block(joined, _BLOCK, project)
        return unit_rows(fused_ND)

    def check_encoders(self, encoders: Mapping[str, str | None]) -> None:
        """Raises FingerprintMismatch, which names both, if vectors come from other encoders than those of the fit."""
        for modality, theirs in self.encoders.items():
            ours = encoders.get(modality)
            if ours is not None and theirs is not None and ours != theirs:
                raise FingerprintMismatch(
                    f"{self.id} was fitted on {modality} vectors of encoder {theirs}, these are of {ours}; "
                    f"set the model back to the one it was fitted on, or ingest into another database and fit "
                    "there"
                )

    def save(self, directory: Path) -> None:
        write_artifact(directory, self.KIND, self.meta, self.tensors)

    @classmethod
    def load(cls, directory: Path) -> Fusion:
        """Raises ArtifactError for an artifact that is missing, altered, or of another version."""
        name, meta, tensors = read_artifact(directory, cls.KIND)
        check_version(name, cls.KIND, meta)
        return cls(meta, tensors)


Filled = tuple[float, dict[str, np.ndarray], dict[str, np.ndarray]]
"""How a pattern is completed: the scale of present vectors; maps to absent ones; fixed values of absent ones."""


def _fill(
    fill: Fill,
    pattern: Pattern,
    centred: Mapping[str, np.ndarray],
    has: Mapping[str, np.ndarray],
    offsets: Mapping[str, np.ndarray],
    weights: Mapping[str, float],
) -> tuple[Filled, dict[str, float]]:
    absent = [m for m in centred if m not in pattern]
    if fill == "linear":
        maps, explained = learn_fill(centred, has, pattern)
        return (1.0, maps, {}), explained
    scale = 1.0
    if fill == "renormalise":
        scale = float(np.sqrt(sum(w**2 for w in weights.values()) / sum(weights[m] ** 2 for m in pattern)))
    return (scale, {}, {m: offsets[m] for m in absent} if fill == "zero" else {}), {}


def _completed(
    centred: Mapping[str, np.ndarray], has: Mapping[str, np.ndarray], fills: Mapping[Pattern, Filled]
) -> np.ndarray:
    """float32 [N, sum of D_m]: the joint vectors of the sample, absent modalities filled in."""
    ends = np.cumsum([0, *(values.shape[1] for values in centred.values())])
    joint = np.concatenate(list(centred.values()), axis=1)
    for pattern, (scale, maps, fixed) in fills.items():
        which = np.flatnonzero(np.all([has[m] == (m in pattern) for m in centred], axis=0))
        known = np.concatenate([centred[m][which] for m in pattern], axis=1)
        joint[which] *= np.float32(scale)
        for start, end, modality in zip(ends, ends[1:], centred, strict=False):
            if modality in maps:
                joint[which, start:end] = known @ maps[modality].astype(np.float32)
            elif modality in fixed:
                joint[which, start:end] = fixed[modality]
    return joint


def _principal_components(joint: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray, float]:
    """-> (mean [J], components [J, dim], the share of the variance that they explain), float64."""
    mean = joint.mean(0, dtype=np.float64)
    values, components = np.linalg.eigh(_scatter(joint, mean))
    order = np.argsort(values)[::-1][:dim]
    components = components[:, order]
    # The sign of an eigenvector is arbitrary: fix it, so that the same sample gives the same artifact.
    components = components * np.where(components[np.abs(components).argmax(0), np.arange(dim)] < 0, -1.0, 1.0)
    total = float(values.clip(min=0).sum())
    return mean, components, float(values[order].clip(min=0).sum()) / total if total > 0 else 1.0


def _largest_singular_value(centred: np.ndarray) -> float:
    """Of the centred vectors, divided by the square root of their number; 1 if they do not vary."""
    largest = float(np.linalg.eigvalsh(_scatter(centred, np.zeros(centred.shape[1])))[-1])
    return float(np.sqrt(largest / len(centred))) if largest > 0 else 1.0


def _scatter(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Sum of outer products of rows - mean, float64, block by block: avoids a float64 copy of the whole sample."""
    scatter = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), 8192):
        centred = rows[start : start + 8192].astype(np.float64) - mean
        scatter += centred.T @ centred
    return scatter


def present(vectors_ND: np.ndarray) -> np.ndarray:
    """bool [N]: which rows hold a vector; an absent one is NaN."""
    return ~np.isnan(vectors_ND[:, 0])
