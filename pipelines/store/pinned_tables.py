"""`contents` and the ledger, each at one version: what is read from them does not change while jobs write."""

from __future__ import annotations

from dataclasses import dataclass

import lance

from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.table_files import commit_id

NAMES = ("contents", "assignments")


@dataclass(frozen=True)
class PinnedTables:
    """Both tables; the ledger is the table `assignments`."""

    contents: lance.LanceDataset
    ledger: lance.LanceDataset

    @classmethod
    def newest(cls, store: Store) -> PinnedTables:
        # The ledger is opened after `contents`, so it has every ID that `contents` shows.
        contents, ledger = (store.dataset(name) for name in NAMES)
        return cls(contents, ledger)

    def tagged(self, tag: str) -> PinnedTables:
        """Both tables at the versions that have a tag."""
        return PinnedTables(self.contents.checkout_version(tag), self.ledger.checkout_version(tag))

    @property
    def versions(self) -> dict[str, int]:
        return {"contents": self.contents.version, "assignments": self.ledger.version}

    @property
    def commits(self) -> dict[str, str | None]:
        """The ids of the commits that made these versions, by table."""
        return {"contents": commit_id(self.contents), "assignments": commit_id(self.ledger)}
