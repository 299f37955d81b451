"""Artifacts: a directory of one JSON and one safetensors file, named by the hash of what they hold; never pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from fuseid.core.errors import ArtifactError
from fuseid.core.fingerprints import STEP_VERSIONS

FORMAT = 1
FUSION, RQ_KMEANS = "fusion", "rq-kmeans"
_META, _TENSORS = "artifact.json", "tensors.safetensors"
# A database keeps one fusion for good; tokenizers can be added to it.
_MENDS = {FUSION: "ingest into another --db and fit there", RQ_KMEANS: "fit again"}


def artifact_id(kind: str, meta: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """`KIND-` and the hex of BLAKE2b-64 over everything but the figures in meta["metrics"]."""
    return f"{kind}-{_digest({k: v for k, v in meta.items() if k != 'metrics'}, save_tensors(tensors))}"


def write_artifact(directory: Path, kind: str, meta: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """Writes both files into `directory`, which is made; returns the id."""
    name = artifact_id(kind, meta, tensors)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _TENSORS).write_bytes(save_tensors(tensors))
    document = {"format": FORMAT, "kind": kind, "id": name, "meta": meta}
    (directory / _META).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return name


def read_artifact(directory: Path, kind: str) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """-> (id, meta, tensors). Raises ArtifactError if it is missing, of another kind or format, or was altered."""
    try:
        document = json.loads((directory / _META).read_text(encoding="utf-8"))
        blob = (directory / _TENSORS).read_bytes()
        tensors = load_tensors(blob)
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtifactError(f"cannot read the {kind} in {directory}: {error}") from None
    if not isinstance(document, dict) or document.get("kind") != kind or document.get("format") != FORMAT:
        raise ArtifactError(f"{directory} holds no {kind} of format {FORMAT}")
    if not isinstance(document.get("meta"), dict) or "id" not in document:
        raise ArtifactError(f"{directory / _META} lacks its meta or id; fit again")
    name = artifact_id(kind, document["meta"], tensors)
    if name != document["id"]:
        raise ArtifactError(
            f"{directory} was altered: it says {document['id']}, its content hashes to {name}; fit again"
        )
    return name, document["meta"], tensors


def check_version(name: str, kind: str, meta: dict[str, Any]) -> None:
    """Raises ArtifactError, which names the mend, for an artifact of another version's form."""
    if meta.get("version") != (ours := STEP_VERSIONS[kind]):
        raise ArtifactError(
            f"{name} is of version {meta.get('version')} of {kind}, this fuseid has version {ours}; {_MENDS[kind]}"
        )


@dataclass(frozen=True)
class Described:
    """What an artifact says of itself; without what it computes with, for which torch would be imported."""

    KIND: ClassVar[str]
    id: str
    meta: dict[str, Any]

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Raises ArtifactError for one that is missing, altered, or of another version's form."""
        name, meta, _ = read_artifact(directory, cls.KIND)
        check_version(name, cls.KIND, meta)
        return cls(name, meta)


class DescribedFusion(Described):
    KIND = FUSION


class DescribedTokenizer(Described):
    KIND = RQ_KMEANS


def _digest(meta: dict[str, Any], blob: bytes) -> str:
    digest = hashlib.blake2b(json.dumps(meta, sort_keys=True, separators=(",", ":")).encode(), digest_size=8)
    digest.update(blob)
    return digest.hexdigest()
