"""Tags of exports: names in both tables for the versions of an export, which clean-up then does not remove."""

from __future__ import annotations

import re

from fuseid.core.errors import StoreError
from fuseid.core.names import id_named
from fuseid.core.reasons import reason
from fuseid.pipelines.store.pinned_tables import NAMES, PinnedTables
from fuseid.pipelines.store.store import Store

_TAG = re.compile(r"export-\d+-\d+-([\w.-]+)")


def tag_of(pinned: PinnedTables, tokenizer_id: str) -> str:
    return f"export-{pinned.contents.version}-{pinned.ledger.version}-{tokenizer_id}"


def put_tag(uri: str, pinned: PinnedTables, tag: str) -> None:
    """Tags both versions, unless they are tagged already. Raises StoreError if the database cannot be written to."""
    for dataset in (pinned.contents, pinned.ledger):
        try:
            if tag not in dataset.tags.list():
                dataset.tags.create(tag, dataset.version)
        except (OSError, ValueError) as error:
            # Another export of the same versions may have tagged it meanwhile.
            if "already exists" not in str(error):
                cause = reason(error)
                raise StoreError(f"cannot tag {tag} in {uri}: {cause}; an export writes a tag there") from None


def tags(uri: str) -> list[str]:
    """The tags of all exports whose versions a database still has, in the order of these versions."""
    store = Store.open(uri)
    if not store.has_contents():
        return []
    names = [set(store.dataset(name).tags.list()) for name in NAMES]
    found = filter(_TAG.fullmatch, names[0] & names[1])
    return sorted(found, key=lambda tag: (*map(int, tag.split("-")[1:3]), tag))


def tag_named(uri: str, text: str) -> str:
    """The tag of an export, by the tag or an unambiguous beginning of it. Raises BadInput, which names those that there
    are."""
    return id_named("tag", text, tags(uri), uri)


def tokenizer_of(tag: str) -> str:
    """The tokenizer whose IDs a tagged export has."""
    return tag.split("-", 3)[3]


def remove_tag(uri: str, tag: str) -> None:
    """Allows the next clean-up to remove both versions; the export cannot be reproduced then. Raises BadInput for an
    unknown tag."""
    store = Store.open(uri)
    tables = [store.dataset(name) for name in NAMES if _TAG.fullmatch(tag) and store.newest(name) is not None]
    # One of the tables may have lost it.
    tagged = [dataset for dataset in tables if tag in dataset.tags.list()]
    if not tagged:
        tag = tag_named(uri, tag)
        tagged = [store.dataset(name) for name in NAMES]
    for dataset in tagged:
        dataset.tags.delete(tag)
