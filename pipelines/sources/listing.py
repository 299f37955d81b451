"""The list of a source, read once and kept on disk: every item in order, and the set of all keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core import errors
from fuseid.core.errors import BadInput, NotReady
from fuseid.core.surface import setting
from fuseid.pipelines.sources.item import Source, SourceItem
from fuseid.pipelines.sources.key_set import KeySet
from fuseid.pipelines.sources.passed_over import passed_over_by

_BATCH = 4096
# So many ids that occur more than once are named, with so many of their rows.
_NAMED, _NAMED_ROWS = 5, 3
_TEXTS = ("content_id", "uri", "caption", "kind", "attributes", "problem")
_SCHEMA = pa.schema([*((name, pa.string()) for name in _TEXTS), ("deleted", pa.bool_())])


class Listing:
    """The items of a source. Each iteration gives the same items, even if the source changes meanwhile, without those
    that the source withdraws; `withdrawn` gives these, and `deleted` is their number. `keys` has both."""

    def __init__(
        self, source: Source, scratch: Path, expect_rows: int | None = None,
        listed: Callable[[int], None] = lambda items: None,
    ) -> None:  # fmt: skip
        """listed: called from time to time with the number of items listed since.

        Raises BadInput for a source that cannot be read, that lists no items or not as many as expected, or one
        content_id twice.
        """
        shown = getattr(source, "path", source)
        self.base = source.base
        self.deleted = 0
        self._has_places = False
        self._file = scratch / "listing.arrow"
        self.keys = unique_keys(
            counted(self._spooled(source), listed), self._ids, scratch, shown, expect_rows,
            lambda: getattr(source, "duplicate_remedy", "ids must be unique"), lambda: str(passed_over_by(source)),
            lambda rows: self._places(source, rows),
        )  # fmt: skip

    def __iter__(self) -> Iterator[SourceItem]:
        for batch in self._batches():
            listed = batch.filter(pc.invert(batch["deleted"]))
            yield from map(_item, *(column.to_pylist() for column in listed.columns[:-1]))

    def withdrawn(self) -> Iterator[str]:
        """The ids of the items that the source withdraws."""
        for batch in self._batches():
            yield from batch.filter(batch["deleted"])["content_id"].to_pylist()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with pa.OSFile(str(self._file)) as file, pa.ipc.open_stream(file) as stream:
            yield from stream

    def _ids(self) -> Iterable[pa.Array]:
        return (batch["content_id"] for batch in self._batches())

    def _places(self, source: Source, rows: Collection[int]) -> dict[int, str]:
        """How a message names rows, counted from 0: as the source does, else by their uris."""
        if self._has_places:
            prefix = f"{getattr(source, 'path', source)}, "
            items = enumerate(source)
            return {number: str(item.place).removeprefix(prefix) for number, item in items if number in rows}
        uris = (uri for batch in self._batches() for uri in batch["uri"].to_pylist())
        return {number: uri for number, uri in enumerate(uris) if number in rows and uri is not None}

    def _spooled(self, source: Source) -> Iterator[pa.Array]:
        """Writes the items into the file -> their content_ids."""
        items = iter(source)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(self._file), "wb") as file, pa.ipc.new_stream(file, _SCHEMA, options=options) as stream:
            while chunk := list(islice(items, _BATCH)):
                batch = _batch(chunk)
                self._has_places = chunk[0].place is not None
                self.deleted += batch["deleted"].true_count
                stream.write_batch(batch)
                yield batch["content_id"]


def counted(ids: Iterable[pa.Array], listed: Callable[[int], None]) -> Iterator[pa.Array]:
    """The same arrays; `listed` is called with the length of each."""
    for some in ids:
        listed(len(some))
        yield some


def unique_keys(
    ids: Iterable[pa.Array], again: Callable[[], Iterable[pa.Array]], scratch: Path, shown: object,
    expect_rows: int | None = None, remedy: Callable[[], str] = lambda: "ids must be unique",
    passed: Callable[[], str] = str, places: Callable[[Collection[int]], Mapping[int, str]] = lambda rows: {},
) -> KeySet:  # fmt: skip
    """The set of the content_ids of a source. again: lists them once more, to name those that occur more than once.
    passed: what to add to a message about their number. places: how a message names rows, counted from 0.

    Raises BadInput for no ids and for ids that occur more than once, NotReady for another number than expected.
    """
    keys = KeySet(scratch)
    repeated = keys.gather(ids)
    if keys.count == 0:
        raise BadInput(f"{shown} lists no items{passed()}")
    if expect_rows not in (None, keys.count):
        raise NotReady(
            f"{shown} lists {keys.count} items, not the {expect_rows} that {setting('source.expect_rows')} asks "
            f"for; nothing was changed{passed()}"
        )
    if repeated:
        rows = keys.repeated(again(), _NAMED, _NAMED_ROWS)
        place_of = places({number for numbers in rows.values() for number in numbers})
        named = [
            f"{content_id!r} in {' and '.join(place_of.get(number, f'row {number + 1}') for number in numbers)}"
            for content_id, numbers in rows.items()
        ]
        what = "content_id occurs" if repeated == 1 else "content_ids occur"
        first = "" if repeated <= _NAMED else f", the first {_NAMED}"
        raise BadInput(f"{repeated} {what} more than once in {shown}{first}: {'; '.join(named)}; {remedy()}")
    return keys


def _batch(items: Sequence[SourceItem]) -> pa.RecordBatch:
    plain: list[Iterable[str | None]] = [[getattr(item, name) for item in items] for name in _TEXTS[:-1]]
    problems = [
        None if item.problem is None else json.dumps([type(item.problem).__name__, str(item.problem)]) for item in items
    ]
    texts = [pa.array(column, pa.string()) for column in [*plain, problems]]
    return pa.record_batch([*texts, pa.array([item.deleted for item in items])], schema=_SCHEMA)


def _item(
    content_id: str, uri: str | None, caption: str | None, kind: str | None, attributes: str, problem: str | None
) -> SourceItem:
    error = None
    if problem is not None:
        name, message = json.loads(problem)
        error = getattr(errors, name)(message)
    return SourceItem(content_id, uri, caption, kind, attributes, problem=error)
