"""The list of a source, read once and kept on disk: every item in order, and the set of all keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa

from fuseid.core import errors
from fuseid.core.errors import BadInput
from fuseid.pipelines.sources.item import Source, SourceItem
from fuseid.pipelines.sources.key_set import KeySet, digest

_BATCH = 4096
_TEXTS = ("content_id", "uri", "caption", "kind", "attributes", "problem")
_SCHEMA = pa.schema([*((name, pa.string()) for name in _TEXTS), ("deleted", pa.bool_())])


class Listing:
    """The items of a source. Each iteration gives the same items, even if the source changes meanwhile, without those
    that the source withdraws; `withdrawn` gives these. `keys` has both.

    Ready-made vectors are not copied: a source that has them is read again in each iteration.
    """

    def __init__(self, source: Source, scratch: Path, partitions: int = 64, expect_rows: int | None = None) -> None:
        """Raises BadInput for a source that cannot be read, that lists no items or not as many as expected, or one
        content_id twice."""
        shown = getattr(source, "path", source)
        self.base = source.base
        self.keys = KeySet(scratch, partitions)
        self._file = scratch / "listing.arrow"
        self._source: Source | None = None
        self.deleted = 0
        twice = self.keys.gather(item.content_id for item in self._spooled(source))
        if self.keys.count == 0:
            raise BadInput(f"{shown} lists no items")
        if expect_rows not in (None, self.keys.count):
            raise BadInput(
                f"{shown} lists {self.keys.count} items, not the {expect_rows} that source.expect_rows "
                "(--expect-rows) asks for; nothing was changed"
            )
        if twice is not None:
            name = next(item.content_id for item in self._all() if digest(item.content_id) == twice)
            remedy = getattr(source, "duplicate_remedy", "ids must be unique")
            raise BadInput(f"content_id {name!r} occurs more than once in {shown}; {remedy}")

    def __iter__(self) -> Iterator[SourceItem]:
        return (item for item in self._all() if not item.deleted)

    def withdrawn(self) -> Iterator[str]:
        """The ids of the items that the source withdraws."""
        return (item.content_id for item in self._all() if item.deleted) if self.deleted else iter(())

    def _all(self) -> Iterator[SourceItem]:
        if self._source is not None:
            yield from self._source
            return
        with pa.OSFile(str(self._file)) as file, pa.ipc.open_stream(file) as stream:
            for batch in stream:
                yield from map(_item, *(column.to_pylist() for column in batch.columns))

    def _spooled(self, source: Source) -> Iterator[SourceItem]:
        items = iter(source)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(self._file), "wb") as file, pa.ipc.new_stream(file, _SCHEMA, options=options) as stream:
            while chunk := list(islice(items, _BATCH)):
                if self._source is None and any(item.vectors is not None for item in chunk):
                    self._source = source
                if self._source is None:
                    stream.write_batch(_batch(chunk))
                self.deleted += sum(item.deleted for item in chunk)
                yield from chunk


def _batch(items: Sequence[SourceItem]) -> pa.RecordBatch:
    plain: list[Iterable[str | None]] = [[getattr(item, name) for item in items] for name in _TEXTS[:-1]]
    problems = [
        None if item.problem is None else json.dumps([type(item.problem).__name__, str(item.problem)]) for item in items
    ]
    texts = [pa.array(column, pa.string()) for column in [*plain, problems]]
    return pa.record_batch([*texts, pa.array([item.deleted for item in items])], schema=_SCHEMA)


def _item(
    content_id: str, uri: str | None, caption: str | None, kind: str | None, attributes: str, problem: str | None,
    deleted: bool,
) -> SourceItem:  # fmt: skip
    error = None
    if problem is not None:
        name, message = json.loads(problem)
        error = getattr(errors, name)(message)
    return SourceItem(content_id, uri, caption, kind, attributes, problem=error, deleted=deleted)
