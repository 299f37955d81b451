"""What is known about the files of listed items before any is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fuseid.core.errors import ItemError
from fuseid.pipelines.files.access import AccessPolicy, Location
from fuseid.pipelines.files.fetcher import Fetcher
from fuseid.pipelines.sources.item import SourceItem


@dataclass(slots=True)
class Look:
    """What is known about an item's file without opening it; see `FileStat`. stat: None if it cannot be reached."""

    location: Location | None = None
    stat: str | None = None
    size: int | None = None
    problem: ItemError | None = None


class Looker:
    def __init__(self, policy: AccessPolicy, fetcher: Fetcher) -> None:
        self._policy, self._fetcher = policy, fetcher

    def looks(self, items: Sequence[SourceItem]) -> list[Look]:
        """Where each item's file is, and a stat that changes when the file does; see `Fetcher.stats`."""
        looks: list[Look] = []
        for item in items:
            look = Look()
            try:
                if item.problem is not None:
                    raise item.problem
                if item.uri is not None:
                    look.location = self._policy.locate(item.uri)
            except ItemError as error:
                look.problem = error
            looks.append(look)
        located = [look for look in looks if look.location is not None]
        stats = self._fetcher.stats([look.location for look in located if look.location is not None])
        for look, stat in zip(located, stats, strict=True):
            look.stat, look.size = stat
        return looks

    def look_again(self, looks: Sequence[Look], otherwise: str | None = None) -> None:
        """Asks for located files by GET, without reading their bodies. otherwise: the stat of a file that cannot be
        reached."""
        stats = self._fetcher.stats([look.location for look in looks if look.location is not None], by_get=True)
        for look, stat in zip(looks, stats, strict=True):
            look.stat, look.size = stat.text or otherwise, stat.size
