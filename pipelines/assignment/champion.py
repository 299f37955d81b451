"""The fusion and the tokenizers of a database, loaded and checked against each other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fuseid.core.artifacts import ADOPTED, encodes, kind_of, tokenizer_kind
from fuseid.core.errors import FingerprintMismatch, StoreError
from fuseid.core.protocols import Tokenizer
from fuseid.core.surface import command
from fuseid.pipelines.assignment.ledger import Ledger
from fuseid.pipelines.store.store import Store

if TYPE_CHECKING:
    from fuseid.encoders.fusion import Fusion


# The setting that holds every champion in order, each with the time from which on it was: [[id, time], ...].
CHAMPIONS = "champions"


def load_tokenizer(store: Store, name: str) -> Tokenizer:
    """A tokenizer by its id. Raises ArtifactError if it is missing, altered, or of a kind or version that this fuseid
    does not know."""
    # Imports torch, as fusion does: a database that has neither is filled without it.
    from fuseid.tokenizers.registry import class_of

    return store.get_artifact(class_of(tokenizer_kind(name)), name)


def load_fusion(store: Store) -> Fusion:
    """The fusion in force. Raises StoreError before the first fit, ArtifactError for a damaged artifact."""
    name = store.setting("fusion")
    if name is None:
        raise StoreError(f"{store.uri} has no fusion yet; {command('fit', store.uri)} makes one")
    from fuseid.encoders.fusion import Fusion

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


def load_to_assign(store: Store, name: str) -> tuple[Fusion | None, Tokenizer]:
    """A tokenizer by whose IDs items are to be shown, and the fusion in force, None if no fit or adoption made one.
    name: its id, or an unambiguous beginning of it.

    Raises what `load_tokenizer` and `check_fusion` raise, StoreError before the first fit and for adopted IDs of which
    the ledger has none.
    """
    name = store.tokenizer_named(name)
    tokenizer = load_tokenizer(store, name)
    if kind_of(name) == ADOPTED and Ledger(store, name).empty:
        raise StoreError(
            f"the adoption of {name} was not completed; run the same {command('adopt', store.uri, ids='IDS')} again"
        )
    if not encodes(tokenizer) and store.setting("fusion") is None:
        return None, tokenizer
    fusion = load_fusion(store)
    check_fusion(tokenizer, fusion)
    return fusion, tokenizer


def check_fusion(tokenizer: Tokenizer, fusion: Fusion) -> None:
    """Raises FingerprintMismatch, naming both, for a tokenizer that was fitted on another fusion's vectors. Adopted IDs
    without codebooks depend on no vectors."""
    if encodes(tokenizer) and tokenizer.meta["fusion"] != fusion.id:
        raise FingerprintMismatch(
            f"{tokenizer.id} was fitted on vectors of {tokenizer.meta['fusion']}, "
            f"this database holds vectors of {fusion.id}; "
            "fit a tokenizer here, or assign in the database it was fitted on"
        )


def make_champion(store: Store, name: str) -> str | None:
    """Sets the champion, and returns the one before it, which is kept in the settings, too."""
    settings = store.settings()
    before, history = settings.get("champion"), settings.get(CHAMPIONS) or []
    if before == name:
        # A run that was killed may have promoted it already: keep what was champion before that.
        before = settings.get("champion_before")
    else:
        history = [*history, [name, datetime.now(UTC).isoformat(timespec="seconds")]]
    store.put_settings({"champion": name, "champion_before": before, CHAMPIONS: history}, settings)
    return before
