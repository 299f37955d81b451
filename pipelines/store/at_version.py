"""A database as it was at an earlier version of `contents`, with the settings of that time, to be read only."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import cast

import lance

from fuseid.core.errors import BadInput, StoreError
from fuseid.core.names import id_named
from fuseid.core.reasons import reason
from fuseid.core.surface import option
from fuseid.pipelines.store.pins import is_pin
from fuseid.pipelines.store.store import Store


class StoreAt(Store):
    """versions: of tables that are read at a version, not at their newest."""

    def __init__(self, uri: str, versions: dict[str, int]) -> None:
        super().__init__(uri)
        self._versions = versions

    @classmethod
    def at(cls, uri: str | Path, at: str | int | date) -> StoreAt:
        """at: a tag, or an unambiguous beginning of it; a version of `contents`; or a time, also as text in ISO 8601,
        without a zone in UTC: the newest version of that time, which is the beginning of a date.

        Raises BadInput, which names what there is, for what there is not; StoreError as `Store.open`.
        """
        if isinstance(at, bool) or not isinstance(at, str | int | date):
            raise BadInput(f"{option('at', at)} is no version, time or tag")
        store = Store.open(uri)
        contents, settings = store.dataset("contents"), store.dataset("assignments")
        moment = _moment(at)
        if moment is not None:
            versions = {"contents": _version_at(store, contents, moment), "assignments": _settings_at(settings, moment)}
        elif isinstance(at, int) or str(at).isdecimal():
            versions = _of_version(store, contents, settings, int(str(at)))
        else:
            versions = _of_tag(store, contents, settings, str(at))
        found = cls(store.uri, versions)
        found.check_readable()
        return found

    def empty(self) -> StoreError:
        return StoreError(f"version {self._versions['contents']} of {self.uri} has no item; leave {option('at')} out")

    def newest(self, name: str, session: lance.Session | None = None) -> lance.LanceDataset | None:
        version = self._versions.get(name)
        return super().newest(name, session) if version is None else version_of(self, name, version, session)


def version_of(store: Store, name: str, version: int, session: lance.Session | None = None) -> lance.LanceDataset:
    """A version of a table. Raises BadInput, which names those that there are, if it is gone."""
    try:
        return lance.dataset(store.path(name), version=version, session=session)
    except (OSError, ValueError) as error:
        if "not found" not in str(error):
            raise StoreError(f"cannot open version {version} of {store.uri}: {reason(error)}") from None
        raise BadInput(_no_version(store, store.dataset(name), version)) from None


def _moment(at: str | int | date) -> datetime | None:
    if isinstance(at, date) and not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day)
    moment = at if isinstance(at, datetime) else None
    if isinstance(at, str) and not at.isdecimal():
        with suppress(ValueError):
            moment = datetime.fromisoformat(at)
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _times(dataset: lance.LanceDataset) -> list[tuple[int, datetime]]:
    """The versions that there are, in order, and when each was made."""
    return sorted((one["version"], cast(datetime, one["timestamp"]).astimezone(UTC)) for one in dataset.versions())


def _of_version(
    store: Store, contents: lance.LanceDataset, settings: lance.LanceDataset, version: int
) -> dict[str, int]:
    times = dict(_times(contents))
    if version not in times:
        raise BadInput(_no_version(store, contents, version))
    if version == contents.version:
        return {"contents": version, "assignments": settings.version}
    # A change of settings may follow the commit that it belongs to; it comes before the next one.
    end = times.get(version + 1, times[version])
    return {"contents": version, "assignments": _settings_at(settings, end)}


def _of_tag(store: Store, contents: lance.LanceDataset, settings: lance.LanceDataset, text: str) -> dict[str, int]:
    tags = [tag for tag in contents.tags.list() if not is_pin(tag)]
    if not tags:
        raise BadInput(
            f"{text!r} is no version, time or tag of {store.uri}, which has no tags; it has {_listed(contents)}"
        )
    tag = id_named("tag", text, tags, store.uri)
    found = {"contents": contents.tags.get_version(tag)}
    if tag in settings.tags.list():
        return {**found, "assignments": settings.tags.get_version(tag)}
    return _of_version(store, contents, settings, found["contents"])


def _version_at(store: Store, contents: lance.LanceDataset, moment: datetime) -> int:
    times = _times(contents)
    before = [version for version, time in times if time <= moment]
    if not before:
        raise BadInput(
            f"{store.uri} has no version of {_text(moment)}: the oldest that it still has is {times[0][0]} of "
            f"{_text(times[0][1])}"
        )
    return before[-1]


def _settings_at(settings: lance.LanceDataset, moment: datetime) -> int:
    """The oldest version that there is, if all are later."""
    times = _times(settings)
    return max((version for version, time in times if time <= moment), default=times[0][0])


def _no_version(store: Store, contents: lance.LanceDataset, version: int) -> str:
    return f"{store.uri} has no version {version} any more or yet; it has {_listed(contents)}"


def _listed(contents: lance.LanceDataset) -> str:
    """The versions that there are, such as: the versions 3, 12 to 40."""
    runs: list[list[int]] = []
    for version, _ in _times(contents):
        if runs and version == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], version]
        else:
            runs.append([version])
    return f"the versions {', '.join(' to '.join(map(str, run)) for run in runs)}"


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
