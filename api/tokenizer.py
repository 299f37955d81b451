"""The tokenizer of a database, to encode vectors and decode IDs with."""

from __future__ import annotations

from pathlib import Path

from fuseid.core.errors import StoreError
from fuseid.pipelines.store.messages import command
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.rq_kmeans import RQKMeans


def open_tokenizer(db: str | Path, tokenizer_id: str | None = None) -> RQKMeans:
    """The champion, or the tokenizer that is named.

    Raises StoreError before the first fit, ArtifactError for one that is not here or was altered.
    """
    store = Store.open(db)
    name = tokenizer_id or store.setting("champion")
    if name is None:
        raise StoreError(f"{db} has no tokenizer yet; {command('fit', store.uri)} makes one")
    return store.get_artifact(RQKMeans, name)
