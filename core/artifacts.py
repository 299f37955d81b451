"""Artifacts: a directory with one JSON and one safetensors file, named by the hash of its content; never pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from fuseid.core.errors import ArtifactError, UnknownArtifact
from fuseid.core.fingerprints import STEP_VERSIONS
from fuseid.core.reasons import reason

FORMAT = 1
FUSION = "fusion"
# The key of the meta of a learned fusion that has its settings.
LEARNED = "learned"
# The kind of tokenizers whose IDs came from outside; `tokenizer.kind` cannot name it, since it cannot be fitted.
ADOPTED, ADOPTED_VERSION = "adopted", 1
_META, _TENSORS = "artifact.json", "tensors.safetensors"


def artifact_id(kind: str, meta: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """`KIND-` and the hex of BLAKE2b-64 over everything except meta["metrics"]."""
    return f"{kind}-{_digest({k: v for k, v in meta.items() if k != 'metrics'}, save_tensors(tensors))}"


def write_artifact(directory: Path, kind: str, meta: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """Writes both files into `directory`, which is created; returns the id."""
    name = artifact_id(kind, meta, tensors)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _TENSORS).write_bytes(save_tensors(tensors))
    document = {"format": FORMAT, "kind": kind, "id": name, "meta": meta}
    (directory / _META).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return name


def read_artifact(directory: Path, kind: str) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """-> (id, meta, tensors). Raises ArtifactError if the artifact is missing, altered, or of another kind or
    format."""
    try:
        document = json.loads((directory / _META).read_text(encoding="utf-8"))
        blob = (directory / _TENSORS).read_bytes()
        tensors = load_tensors(blob)
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtifactError(f"cannot read the {kind} in {directory}: {reason(error)}") from None
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
    """Raises ArtifactError, which names the remedy, for an artifact of another version of its kind."""
    own = {FUSION: fusion_version(LEARNED in meta), ADOPTED: ADOPTED_VERSION}
    ours = own[kind] if kind in own else _sections()[kind].VERSION
    if meta.get("version") != ours:
        # The fusion of a database never changes; tokenizers can be added to it.
        remedies = {FUSION: "ingest into another database and fit there", ADOPTED: "adopt the IDs again"}
        remedy = remedies.get(kind, "fit again")
        raise ArtifactError(
            f"{name} is of version {meta.get('version')} of {kind}, this fuseid has version {ours}; {remedy}"
        )


def fusion_version(learned: bool) -> int | str:
    """A learned fusion has a version of another form, so that no earlier fuseid takes it for a linear one."""
    linear = STEP_VERSIONS[FUSION]
    return f"{linear}, {LEARNED} {STEP_VERSIONS['learned fusion']}" if learned else linear


def kind_of(name: str) -> str:
    """rq-kmeans-0123456789abcdef -> rq-kmeans"""
    return name.rpartition("-")[0]


def is_tokenizer(name: str) -> bool:
    """Whether an id belongs to a tokenizer of a known kind."""
    return kind_of(name) in (*_sections(), ADOPTED) and "/" not in name


def tokenizer_kind(name: str) -> str:
    """The kind of a tokenizer, by its id. Raises ArtifactError for an id that is not one of a known kind."""
    if not is_tokenizer(name):
        kinds = ", ".join([*_sections(), ADOPTED])
        raise UnknownArtifact(f"{name!r} is not a tokenizer's id; the kinds are {kinds}")
    return kind_of(name)


def _sections() -> dict[str, Any]:
    """The sections of the kinds of tokenizers; a look-up that needs none does not import the configuration."""
    from fuseid.core.config import TOKENIZER_SECTIONS

    return TOKENIZER_SECTIONS


class _HasMeta(Protocol):
    @property
    def meta(self) -> dict[str, Any]: ...


def encodes(tokenizer: _HasMeta) -> bool:
    """Whether a tokenizer, or the description of one, can encode and decode: all but adopted IDs without codebooks."""
    return tokenizer.meta.get("encodes", True)


def without_codebooks(name: str) -> str:
    """The beginning of a line about adopted IDs that came without codebooks."""
    return f"the adopted IDs of {name} came without codebooks"


@dataclass(frozen=True)
class ArtifactInfo:
    """The id and meta of an artifact, without its tensors: reading it does not import torch."""

    id: str
    meta: dict[str, Any]


def describe(directory: Path, kind: str) -> ArtifactInfo:
    """Raises ArtifactError for an artifact that is missing, altered, of another kind or of another version of it."""
    name, meta, _ = read_artifact(directory, kind)
    check_version(name, kind, meta)
    return ArtifactInfo(name, meta)


def _digest(meta: dict[str, Any], blob: bytes) -> str:
    digest = hashlib.blake2b(json.dumps(meta, sort_keys=True, separators=(",", ":")).encode(), digest_size=8)
    digest.update(blob)
    return digest.hexdigest()
