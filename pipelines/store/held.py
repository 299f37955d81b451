"""A database as it is when it is first read: what is read of it later is of the same versions."""

from __future__ import annotations

from pathlib import Path

import lance

from fuseid.core.errors import NoDatabase
from fuseid.pipelines.store.at_version import version_of
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.tables import GUARDED


class HeldStore(Store):
    """Its versions are not tagged, for that would write to the database: they are there for as long as clean-up keeps
    the versions of its tables, which is days."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._versions: dict[str, int | None] = {}

    @classmethod
    def open_or_none(cls, uri: str | Path) -> HeldStore | None:
        """None where `Store.create` would make a database. Raises what `Store.open` raises, also for a file."""
        if "://" not in str(uri):
            if not Path(uri).exists():
                return None
            if not Path(uri).is_dir():
                return cls.open(uri)
        try:
            return cls.open(uri)
        except NoDatabase:
            return None

    def newest(self, name: str, session: lance.Session | None = None) -> lance.LanceDataset | None:
        if name not in GUARDED:
            return super().newest(name, session)
        if name not in self._versions:
            found = super().newest(name, session)
            self._versions[name] = None if found is None else found.version
            return found
        version = self._versions[name]
        return None if version is None else version_of(self, name, version, session)
