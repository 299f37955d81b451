"""Fusion: the vectors of the modalities that an item has, joined into one content embedding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuseid.core.artifacts import read_artifact, write_artifact
from fuseid.core.errors import BadInput, FingerprintMismatch
from fuseid.core.fingerprints import STEP_VERSIONS
from fuseid.core.records import MODALITIES
from fuseid.encoders.blocks import in_blocks, unit_rows

_BLOCK = 256


class Fusion:
    """Normalise, centre, weight and join the modalities that are there, then reduce by principal components.

    For modality m with unit vector v_m, mean mu_m over the sample and weight w_m, the joint vector holds
    s * w_m * (v_m - mu_m), zeros where m is absent, with s = sqrt(sum_all w^2 / sum_present w^2), so that an item
    with few modalities is not shorter than one with many. The fused vector is the unit-norm projection of the joint
    vector on the first D principal components of the sample (Pearson 1901).
    """

    KIND = "fusion"

    def __init__(self, meta: dict[str, Any], tensors: dict[str, np.ndarray], name: str = "") -> None:
        self.id = name
        self.meta = meta
        self.tensors = tensors
        self.dims: dict[str, int] = meta["dims"]
        self.dim: int = meta["dim"]
        self.encoders: dict[str, str | None] = meta["encoders"]

    @classmethod
    def fit(
        cls,
        vectors: Mapping[str, np.ndarray],
        weights: Mapping[str, float],
        dim: int,
        encoders: Mapping[str, str | None],
        pairs: np.ndarray | None = None,
    ) -> Fusion:
        """Learns means and components on a sample.

        vectors: per modality float32 [N, D_m], a row of NaN where the item lacks it. encoders: the fingerprint that
        made each modality's vectors. pairs: int [P, 2] rows of co-engaged items, for learned fusions; not used here.
        Raises BadInput when no modality has a positive weight and at least one vector.
        """
        used = [m for m in MODALITIES if m in vectors and weights.get(m, 0) > 0 and present(vectors[m]).any()]
        if not used:
            raise BadInput(
                f"nothing to fuse: no item has a vector of a modality with a weight above 0 ({dict(weights)})"
            )
        tensors = {f"mean.{m}": unit_rows(vectors[m][present(vectors[m])]).mean(0, dtype=np.float64).astype(np.float32)
                   for m in used}  # fmt: skip
        meta: dict[str, Any] = {
            "version": STEP_VERSIONS["fusion"],
            "dims": {m: int(vectors[m].shape[1]) for m in used},
            "weights": {m: float(weights[m]) for m in used},
            "encoders": {m: encoders.get(m) for m in used},
        }
        joint_dim = sum(vectors[m].shape[1] for m in used)
        meta["dim"] = min(dim, joint_dim)
        fusion = cls(meta, tensors)
        joint = fusion._join(vectors)
        mean = joint.mean(0, dtype=np.float64)
        covariance = np.zeros((joint_dim, joint_dim))
        for start in range(0, len(joint), 8192):
            centred = joint[start : start + 8192].astype(np.float64) - mean
            covariance += centred.T @ centred
        values, components = np.linalg.eigh(covariance)
        order = np.argsort(values)[::-1][: meta["dim"]]
        components = components[:, order]
        # Eigenvectors have no sign of their own: fix it, so that the same sample gives the same artifact.
        components *= np.where(components[np.abs(components).argmax(0), np.arange(components.shape[1])] < 0, -1.0, 1.0)
        tensors["mean"] = mean.astype(np.float32)
        tensors["components"] = np.ascontiguousarray(components.astype(np.float32))
        total = float(values.clip(min=0).sum())
        meta["metrics"] = {
            "sample": len(joint),
            "variance_kept": float(values[order].clip(min=0).sum()) / total if total > 0 else 1.0,
        }
        return fusion

    def transform(self, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
        """vectors as in `fit` -> float32 [N, dim], unit norm; a row of NaN for an item with none of the modalities."""
        fused = in_blocks(self._project, self._join(vectors), _BLOCK)
        fused[~self._any_present(vectors)] = np.nan
        return fused

    def check_encoders(self, encoders: Mapping[str, str | None]) -> None:
        """Raises FingerprintMismatch, naming both, when vectors come from other encoders than the fit's own."""
        for modality, theirs in self.encoders.items():
            ours = encoders.get(modality)
            if ours is not None and theirs is not None and ours != theirs:
                raise FingerprintMismatch(
                    f"{self.id} was fitted on {modality} vectors of encoder {theirs}, these are of {ours}; "
                    "set the model back to the one it was fitted on, or ingest into another --db and fit there"
                )

    def save(self, directory: Path) -> None:
        self.id = write_artifact(directory, self.KIND, self.meta, self.tensors)

    @classmethod
    def load(cls, directory: Path) -> Fusion:
        name, meta, tensors = read_artifact(directory, cls.KIND)
        return cls(meta, tensors, name)

    def _any_present(self, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.any([present(vectors[m]) for m in self.dims if m in vectors], axis=0)

    def _join(self, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
        rows = len(next(iter(vectors.values())))
        weights = self.meta["weights"]
        joint = np.zeros((rows, sum(self.dims.values())), dtype=np.float32)
        energy = np.zeros(rows)
        start = 0
        for modality, size in self.dims.items():
            if modality in vectors:
                there = present(vectors[modality])
                centred = unit_rows(vectors[modality][there]) - self.tensors[f"mean.{modality}"]
                joint[there, start : start + size] = weights[modality] * centred
                energy[there] += weights[modality] ** 2
            start += size
        scale = np.sqrt(sum(w**2 for w in weights.values()) / np.where(energy > 0, energy, 1.0))
        return joint * scale[:, None].astype(np.float32)

    def _project(self, joint: np.ndarray) -> np.ndarray:
        # torch's product, not numpy's: OpenBLAS gives a row other bits at another place in the block.
        centred = torch.from_numpy(joint - self.tensors["mean"])
        return unit_rows((centred @ torch.from_numpy(self.tensors["components"])).numpy())


def present(vectors_ND: np.ndarray) -> np.ndarray:
    """bool [N]: which rows hold a vector, absent ones being NaN."""
    return ~np.isnan(vectors_ND[:, 0])
