"""The fusion and the tokenizers of a database, loaded and checked against each other."""

from __future__ import annotations

from fuseid.core.artifacts import tokenizer_kind
from fuseid.core.errors import FingerprintMismatch, StoreError
from fuseid.core.protocols import Tokenizer
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.store.messages import command
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.registry import TOKENIZERS


def load_tokenizer(store: Store, name: str) -> Tokenizer:
    """A tokenizer by its id. Raises ArtifactError if it is missing, altered, or of a kind or version that this fuseid
    does not know."""
    return store.get_artifact(TOKENIZERS[tokenizer_kind(name)], name)


def load_fusion(store: Store) -> Fusion:
    """The fusion in force. Raises StoreError before the first fit, ArtifactError for a damaged artifact."""
    name = store.setting("fusion")
    if name is None:
        raise StoreError(f"{store.uri} has no fusion yet; {command('fit', store.uri)} makes one")
    return store.get_artifact(Fusion, name)


def load_champion(store: Store) -> tuple[Fusion | None, Tokenizer | None]:
    """The fusion and the tokenizer in force, None before the first fit.

    Raises ArtifactError for a damaged artifact, FingerprintMismatch if the two do not belong together.
    """
    champion = store.setting("champion")
    fusion = load_fusion(store) if store.setting("fusion") else None
    tokenizer = load_tokenizer(store, champion) if champion else None
    if fusion is not None and tokenizer is not None:
        check_fusion(tokenizer, fusion)
    return fusion, tokenizer


def check_fusion(tokenizer: Tokenizer, fusion: Fusion) -> None:
    """Raises FingerprintMismatch, naming both, for a tokenizer that was fitted on another fusion's vectors."""
    if tokenizer.meta["fusion"] != fusion.id:
        raise FingerprintMismatch(
            f"{tokenizer.id} was fitted on vectors of {tokenizer.meta['fusion']}, "
            f"this database holds vectors of {fusion.id}; "
            "fit a tokenizer here, or assign in the database it was fitted on"
        )
