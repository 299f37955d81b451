"""Loads a fusion of either kind: its meta says which one it is."""

from __future__ import annotations

from pathlib import Path

from fuseid.core.artifacts import FUSION, LEARNED, check_version, read_artifact
from fuseid.encoders.fusion import Fusion
from fuseid.encoders.learned_fusion import LearnedFusion


class Fusions:
    """What `Store.get_artifact` takes."""

    KIND = FUSION

    @staticmethod
    def load(directory: Path) -> Fusion:
        """Raises ArtifactError for an artifact that is missing, altered, or of another version."""
        name, meta, tensors = read_artifact(directory, FUSION)
        check_version(name, FUSION, meta)
        return (LearnedFusion if LEARNED in meta else Fusion)(meta, tensors)
