"""The tokenizer of a database, to encode vectors and decode IDs with."""

from __future__ import annotations

from pathlib import Path

from fuseid.api.renamed import renamed
from fuseid.core.errors import StoreError
from fuseid.core.protocols import Tokenizer
from fuseid.core.surface import command
from fuseid.pipelines.assignment.champion import load_tokenizer
from fuseid.pipelines.store.store import Store


@renamed(tokenizer_id="tokenizer")
def open_tokenizer(db: str | Path, tokenizer: str | None = None) -> Tokenizer:
    """The champion, or the tokenizer of that id, for which an unambiguous beginning suffices.

    Raises StoreError before the first fit, UnknownArtifact for an id that no tokenizer has, ArtifactError for a
    tokenizer that is lost or altered.
    """
    store = Store.open(db)
    name = tokenizer or store.setting("champion")
    if name is None:
        raise StoreError(f"{db} has no tokenizer yet; {command('fit', store.uri)} makes one")
    return load_tokenizer(store, store.tokenizer_named(name))
