"""WebDataset: tar shards in which the files of one key are one item, as img2dataset and video2dataset write them."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadShard, BadSidecar, FetchFailed, ItemError, NotAllowed
from fuseid.core.reasons import reason
from fuseid.core.text import storable
from fuseid.encoders.blocks import blocks
from fuseid.encoders.media_file import open_media
from fuseid.pipelines.files.access import AccessPolicy, Location, member_uri
from fuseid.pipelines.files.tar import Member, members
from fuseid.pipelines.sources.item import (
    IMAGE_SUFFIXES,
    MEDIA_SUFFIXES,
    SIDECAR_BYTES,
    VIDEO_SUFFIXES,
    SourceItem,
    attributes_field,
    json_object,
    text_field,
    without_surrogates,
)
from fuseid.pipelines.sources.passed_over import FOLDERS, PassedOver
from fuseid.pipelines.sources.sidecar import sidecar_attributes
from fuseid.pipelines.streams.prefetch import chained

# Everything up to the first dot of the last name is the key, the rest says what the file is.
_NAME = re.compile(r"(?P<key>(?:.*/)?[^/.]+)\.(?P<what>[^/]+)", re.DOTALL)
# If an item has several, the first of these kinds is used: the video wins over the image.
_MEDIA = [suffix[1:] for suffixes in (VIDEO_SUFFIXES, IMAGE_SUFFIXES) for suffix in sorted(suffixes)]
_TEXTS = ("txt", "json")
# What WebDataset's decoders read as labels, numbers and arrays: beside a caption alone, it is a text item all the same.
_LABELS = frozenset([
    "cls", "cls2", "class", "count", "index", "inx", "id", "npy", "npz", "pth", "pt", "pyd", "pickle", "pkl", "mp",
    "msg", "cbor", "ten", "tb", "yaml", "yml", "xml", "csv",
])  # fmt: skip
_SHARDS_AT_A_TIME = 4
# How many items pass from a shard's thread to the reader at a time, and how many such batches may wait for the reader.
_BATCH, _BATCHES_AHEAD = 256, 16
_NO_LIMIT = 1 << 62
# Keys of a shard that are remembered, to see whether one comes again.
_MOST_SEEN = 1 << 20


@dataclass
class _Group:
    """The files of one key that were read so far."""

    key: str
    media: dict[str, Member] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)  # of unknown kinds: what follows the key in their names
    problem: ItemError | None = None


class WebDataset:
    """The items of tar shards; content_id is the key, or SHARD/KEY.

    The caption is `KEY.txt`, or `caption` in `KEY.json`; the other fields of the json are attributes, except very large
    values. A shard that is damaged, or not a tar, becomes one rejected item itself; the items before the damage are
    kept (except the last, which may be incomplete), and so are all other shards. An iteration reads each shard once.

    A key has one medium, `KEY.jpg`. If it has only `KEY.left.jpg` or a member of an unknown kind, its caption would be
    that of something that is not read: the key is passed over.

    shards: uris, relative to `base` or whole. beside: names of other files in the folder of the shards.
    """

    def __init__(
        self, shards: Sequence[str], base: Path | str, config: SourceConfig, shown: str, beside: Sequence[str] = ()
    ) -> None:
        self.path = shown
        self.base = base
        self._beside = beside
        self._shards = list(shards)
        self._config = config
        self._policy = AccessPolicy(base, config)
        # By the number of the shard: several are read at a time.
        self._failed: dict[int, int] = {}
        self._passed: dict[int, PassedOver] = {}
        self._apart: dict[int, str] = {}
        self._damaged: set[int] = set()

    @property
    def notes(self) -> list[str]:
        failed = sum(self._failed.values())
        return [f"{failed} samples of the shards are left out: their download had failed"] if failed else []

    @property
    def incomplete(self) -> str | None:
        """After iteration: why items may be missing from the list; None if none are."""
        if not self._damaged:
            return None
        return f"{len(self._damaged)} shards cannot be read to their end, {self._shards[min(self._damaged)]} for one"

    @property
    def duplicate_remedy(self) -> str:
        """After iteration: what helps if a key occurs twice."""
        if not self._apart:
            return "set source.shard_in_id to true to name the members SHARD/KEY"
        number, key = min(self._apart.items())
        shard = shlex.quote(os.path.basename(self._shards[number]))
        return (
            f"in {self._shards[number]} the members of a key lie apart ({key!r} for one); pack it again, sorted: "
            f"mkdir NEW && tar -xf {shard} -C NEW && tar --sort=name -cf NEW.tar -C NEW ."
        )

    @property
    def passed_over(self) -> PassedOver:
        """After iteration."""
        total = PassedOver()
        for name in self._beside:
            total.add(name)
        for _, passed in sorted(self._passed.items()):
            total += passed
        return total

    def __iter__(self) -> Iterator[SourceItem]:
        self._failed, self._passed, self._apart, self._damaged = {}, {}, {}, set()
        with self._remote() as remote:
            shards = (blocks(self._items(number, remote), _BATCH) for number in range(len(self._shards)))
            with closing(chained(shards, _SHARDS_AT_A_TIME - 1, _BATCHES_AHEAD, "fuseid-shards")) as batches:
                yield from chain.from_iterable(batches)

    def _remote(self) -> Any:
        if not any("://" in shard for shard in self._shards):
            return nullcontext()
        from fuseid.pipelines.files.filesystems import Remote

        return Remote(self._config)

    def _items(self, number: int, remote: Any) -> Iterator[SourceItem]:
        shard = self._shards[number]
        group: _Group | None = None
        passed = self._passed[number] = PassedOver()
        seen: set[int] = set()
        try:
            with _opened(self._policy.locate(shard), remote) as (file, length):
                for member in members(file, length, partial(_skipped, passed)):
                    match = _NAME.fullmatch(member.name.removeprefix("./"))
                    if match is None:
                        passed.add(member.name)
                        continue
                    if group is not None and group.key != match["key"]:
                        yield from self._finished(number, group)
                        group = None
                    if group is None:
                        group = _Group(match["key"])
                        if hash(group.key) in seen:
                            self._apart.setdefault(number, storable(group.key))
                        elif len(seen) < _MOST_SEEN:
                            seen.add(hash(group.key))
                    _take(group, match["what"].lower(), member, file)
                # Not in a `finally`: an item that is cut off by damage may be incomplete.
                if group is not None:
                    yield from self._finished(number, group)
        except (ItemError, OSError) as error:
            self._damaged.add(number)
            problem = error if isinstance(error, ItemError) else BadShard(f"it cannot be read: {error.strerror}")
            yield SourceItem(storable(shard), shard, problem=problem)

    def _finished(self, number: int, group: _Group) -> Iterator[SourceItem]:
        shard = self._shards[number]
        name = group.key if not self._config.shard_in_id else f"{Path(shard).name.removesuffix('.tar')}/{group.key}"
        content_id = storable(name)
        medium = next((group.media[what] for what in _MEDIA if what in group.media), None)
        if self._passes_over(number, group, medium):
            return
        uri = kind = None
        if medium is not None:
            uri = member_uri(shard, storable(medium.name), medium.offset, medium.size)
            kind = "video" if f".{medium.name.rpartition('.')[2].lower()}" in VIDEO_SUFFIXES else "image"
        elif not group.texts and group.problem is None:
            return
        caption, attributes, problem = None, "{}", group.problem
        what = ".json"
        try:
            fields = json_object(group.texts.get("json", b"{}").decode("utf-8-sig"))
            if medium is None and fields.get("status", "success") != "success":
                self._failed[number] = self._failed.get(number, 0) + 1
                return
            text = None if "txt" in group.texts else text_field(fields, "caption")
            attributes = attributes_field(sidecar_attributes(fields))
            if "txt" in group.texts:
                what, text = ".txt", group.texts["txt"].decode("utf-8-sig")
            caption = without_surrogates(text)
        except (ValueError, TypeError, RecursionError) as error:
            problem = problem or BadSidecar(f"cannot use the {what} of {content_id}: {reason(error)}")
        if group.key.startswith("/") or ".." in group.key.split("/"):
            problem = problem or NotAllowed(f"the name {content_id!r} in {shard} leads out of its folder")
        yield SourceItem(content_id, uri, caption, kind, attributes, problem=problem)

    def _passes_over(self, number: int, group: _Group, medium: Member | None) -> bool:
        """Whether the key is no item, but what was not read of it; counts all that is passed over."""
        passed = self._passed[number]
        for what in group.others:
            is_medium = f".{what.rpartition('.')[2]}" in MEDIA_SUFFIXES
            passed.add(f"{group.key}.{what}", f".{what}" if is_medium else None)
        for what, other in group.media.items():
            if other is not medium:
                passed.add(f"{group.key}.{what}")
        if medium is not None or group.problem is not None or _LABELS.issuperset(group.others):
            return False
        for what in group.texts:
            passed.add(f"{group.key}.{what}")
        return True


def _skipped(passed: PassedOver, name: str, kind: str) -> None:
    if kind != "folders":
        passed.add(name, kind)
    elif os.path.splitext(name.rstrip("/"))[1].lower() in MEDIA_SUFFIXES:
        passed.add(name, FOLDERS)


def _take(group: _Group, what: str, member: Member, file: BinaryIO) -> None:
    if what in group.media or what in group.texts:
        group.problem = BadShard(f"two members are called {storable(member.name)!r}")
    elif what in _MEDIA:
        group.media[what] = member
    elif what in _TEXTS and member.size > SIDECAR_BYTES:
        group.problem = BadSidecar(f"{storable(member.name)!r} is larger than {SIDECAR_BYTES} bytes")
    elif what in _TEXTS:
        file.seek(member.offset)
        group.texts[what] = file.read(member.size)
        if len(group.texts[what]) < member.size:
            raise BadShard(f"it ends within {storable(member.name)!r}: it was cut off while it was read")
    else:
        group.others.append(what)


@contextmanager
def _opened(place: Location, remote: Any) -> Iterator[tuple[BinaryIO, int]]:
    """-> (the shard, its size in bytes)."""
    if isinstance(place.file, str):
        with open_media(place.file, _NO_LIMIT) as file:
            yield file, os.fstat(file.fileno()).st_size
        return
    with remote.open(place.file) as file:
        if file.size is None:
            raise FetchFailed(f"{place} does not say how long it is")
        yield file, file.size
