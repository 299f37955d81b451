"""Fusion: joins the vectors of an item's modalities into one content embedding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuseid.core.artifacts import FUSION, artifact_id, check_version, read_artifact, write_artifact
from fuseid.core.errors import BadInput, FingerprintMismatch, NotReady
from fuseid.core.fingerprints import STEP_VERSIONS
from fuseid.core.modalities import modalities
from fuseid.core.parallel_blocks import each_block, on_all_cores
from fuseid.core.row_blocks import ArrayBlocks, Blocks
from fuseid.encoders.blocks import unit_rows
from fuseid.encoders.fusion_components import Components
from fuseid.encoders.fusion_fill import Fill, filled, learned_patterns
from fuseid.encoders.fusion_moments import HELD_OUT, LEARNING, Pattern, SampleMoments, patterns, present

_BLOCK = 256
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
        vectors: Mapping[str, np.ndarray] | Blocks,
        weights: Mapping[str, float] | None,
        dim: int,
        encoders: Mapping[str, str | None],
        fill: Fill = "linear",
        dims: Mapping[str, int] | None = None,
    ) -> Fusion:
        """Learns means, predictions and components on a sample.

        vectors: per modality float32 [N, D_m], a row of NaN where the item lacks it; or blocks of such rows, those of
        all modalities of `dims` joined in the order of fusion. The same rows in the same blocks give the same artifact,
        wherever they are kept and however many threads there are.
        weights: None computes them from the data: the inverse of each modality's largest singular value, so that no
        modality dominates the first component (multiple factor analysis, Escofier and Pagès 1994). encoders: the
        encoder fingerprint of each modality's vectors. dims: D_m of each modality, for blocks.
        Raises NotReady when no modality with a positive weight has a vector, BadInput when no weight is positive.
        """
        if isinstance(vectors, Mapping):
            dims = {m: values.shape[1] for m, values in vectors.items()}
            order = [modality.name for modality in modalities(dims)]
            vectors = ArrayBlocks(np.concatenate([np.asarray(vectors[m], np.float32) for m in order], axis=1))
        if dims is None:
            raise TypeError("blocks of joined rows need dims, the size of each modality")
        dims = {modality.name: dims[modality.name] for modality in modalities(dims)}
        moments = SampleMoments.of(vectors, dims, [m for m in dims if weights is None or weights.get(m, 0)])
        if not moments.dims:
            chosen = "" if weights is None else f" ({dict(weights)})"
            kind = NotReady if weights is None or any(weights.values()) else BadInput
            raise kind(f"nothing to fuse: no item has a vector of a modality with a weight above 0{chosen}")
        used = _balancing(moments) if weights is None else {m: float(weights[m]) for m in moments.dims}
        moments.scale(used)
        to_fill = learned_patterns(moments)
        found = on_all_cores(lambda pattern: filled(fill, pattern, moments, used), to_fill)
        fills = dict(zip(to_fill, found, strict=True))
        meta: dict[str, Any] = {
            "version": STEP_VERSIONS[cls.KIND],
            "dims": moments.dims,
            "weights": used,
            "encoders": {m: encoders.get(m) for m in moments.dims},
            "fill": fill,
            "dim": min(dim, sum(moments.dims.values())),
        }

        def learned(dim: int) -> tuple[Components, dict[str, torch.Tensor]]:
            """On one thread: the bits of an eigendecomposition depend on their number."""
            components = Components.of(moments, fills, dim)
            tensors = {"components": components.axes}
            for pattern, how in fills.items():
                name = "+".join(pattern)
                tensors[f"map.{name}"], tensors[f"shift.{name}"] = components.affine(pattern, how)
            return components, tensors

        ((components, tensors),) = on_all_cores(learned, [meta["dim"]])
        meta["metrics"] = {
            "sample": vectors.rows,
            "complete": moments.rows(tuple(moments.dims)),
            "variance_kept": components.kept,
            "fill_explains": {"+".join(pattern): how.explained for pattern, how in fills.items() if how.explained},
        }
        means = {f"mean.{m}": mean for m, mean in moments.means.items()}
        return cls(meta, means | {name: values.float().contiguous().numpy() for name, values in tensors.items()})

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


def _balancing(moments: SampleMoments) -> dict[str, float]:
    """Weights in inverse proportion to each modality's largest singular value, the largest of them 1."""

    def standard_deviation(m: str) -> float:
        """Along the first principal axis of the modality; 1 if it does not vary."""
        learning, held_out = (moments.having((m,), fold).products for fold in (LEARNING, HELD_OUT))
        largest = float(torch.linalg.eigvalsh(learning + held_out)[-1])
        return math.sqrt(largest / moments.counts[m]) if largest > 0 else 1.0

    found = dict(zip(moments.dims, on_all_cores(standard_deviation, moments.dims), strict=True))
    return {m: min(found.values()) / each for m, each in found.items()}
