"""Pruning: deletes items from `contents` and `rejected` that the source no longer lists; the ledger keeps their IDs.

The source counts as the whole catalogue: items from other sources are unlisted too. Nothing is deleted if the list may
be incomplete, and no large share of the items unless `run.max_prune` allows it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fuseid.core.config import allowed
from fuseid.core.errors import BadInput, NotReady
from fuseid.core.surface import option, setting
from fuseid.pipelines.ingestion.removal import TABLES, Removal
from fuseid.pipelines.sources.key_set import KeySet
from fuseid.pipelines.store.rows import ids_in
from fuseid.pipelines.store.store import Store

_BATCH = 16_384


class Unlisted:
    """The items of a store that a source does not list. `counts`: how many there are in each table."""

    def __init__(
        self,
        store: Store,
        keys: KeySet,
        scratch: Path,
        max_prune: str,
        line_within_text: Callable[[str], str | None] | None = None,
    ) -> None:
        """line_within_text: finds the line of the source that names an item within the text of another item.

        Raises BadInput if there is such a line, and if `contents` would lose more than `max_prune` allows.
        """
        self._store = store
        self._line_within_text = line_within_text or (lambda _: None)
        self._removal = Removal(store, scratch, "unlisted")
        for table in TABLES:
            self._find(table, keys)
        self.counts = self._removal.rows
        items = store.dataset("contents").count_rows() if store.has_contents() else 0
        if self.counts["contents"] > allowed(max_prune, items):
            raise NotReady(
                f"{option('prune')} would remove {self.counts['contents']} of the {items} items in {store.uri}, more "
                "than "
                f"run.max_prune allows ({max_prune}); nothing was changed. Is the source the whole catalogue? "
                f"If this is meant, allow it with {setting('run.max_prune', '100%')}"
            )

    def remove(self) -> int:
        """Deletes the rows. Returns their number."""
        self._removal.remove()
        return sum(self.counts.values())

    def _find(self, table: str, keys: KeySet) -> None:
        if self._store.newest(table) is None:
            return
        for batch in self._store.dataset(table).to_batches(columns=["content_id"], batch_size=_BATCH):
            unlisted = keys.missing(batch["content_id"].to_pylist())
            for content_id in unlisted:
                if line := self._line_within_text(content_id):
                    raise BadInput(
                        f"{option('prune')} would remove {content_id!r}, which {line} names within text "
                        "of another item: a quote before it is out of place; nothing was changed. If that line is "
                        f"text, give the number of items with {setting('source.expect_rows')}"
                    )
            if table == "rejected" and unlisted and self._store.has_contents():
                # Of a run that was killed between its two commits, an item may be in both tables.
                both = set(ids_in(self._store.dataset("contents"), unlisted))
                unlisted = [content_id for content_id in unlisted if content_id not in both]
            self._removal.add(table, unlisted)
