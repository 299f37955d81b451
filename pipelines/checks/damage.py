"""One thing that is wrong with a database: what it costs, and what repairs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fuseid.core.surface import command

RESTORE = f"restore a backup: {command('restore', 'NEW_DB', from_='BACKUP')}"


@dataclass(frozen=True)
class Damage:
    """where: a table, an index, an artifact or a setting. repair: a repair that loses nothing, or None; then `remedy`
    says what to do. early: it has to be repaired before the lease can be taken."""

    where: str
    what: str
    cost: str
    remedy: str = RESTORE
    repair: Callable[[], object] | None = None
    early: bool = False

    def document(self, uri: str) -> dict[str, Any]:
        """uri: the database."""
        return {
            "where": self.where, "what": self.what, "cost": self.cost,
            "remedy": self.remedy if self.repair is None else command("check", uri, repair=True),
        }  # fmt: skip
