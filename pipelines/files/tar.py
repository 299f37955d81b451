"""The members of a tar file, read header by header: nothing is extracted, and a false size in a header cannot make the
reader hold or skip more bytes than the file has."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from fuseid.core.errors import BadShard, MissingFile

BLOCK = 512
# Headers that extend the next one: by a long name (GNU L and K), or by records `LENGTH key=value` (pax x and g). No
# ordinary writer makes a longer one.
_MAX_EXTENSION_BYTES = 1 << 20
_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip
# Writers pad a tar with zeros, usually to a multiple of 10 KiB.
_MOST_PADDING_BYTES = 1 << 20
# A shard of more members comes from a server whose answer never ends.
_MOST_MEMBERS = 10_000_000
# Kinds that hold no data, whatever their size field says.
_WITHOUT_DATA = (
    tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar: `size` bytes from `offset` on."""

    name: str
    offset: int
    size: int


def members(
    file: BinaryIO, length: int, skipped: Callable[[str, str], None] = lambda name, kind: None
) -> Iterator[Member]:
    """The regular files of a tar of `length` bytes, in their order. The caller may seek in `file` between members.
    Raises BadShard if the tar is damaged or lacks the mark at its end: it may have been cut off between two members.

    skipped: called with the name and the kind of every other member: "folders", "links" and so on.

    POSIX ustar and pax, and GNU's long names, as `man 5 tar` describes them.
    """
    at = count = 0
    extended: dict[str, str] = {}
    usable = True
    while at < length:
        count += 1
        if count > _MOST_MEMBERS:
            raise BadShard(f"it has more than {_MOST_MEMBERS} members")
        block = _read(file, at, BLOCK)
        if block == bytes(BLOCK):
            _check_end(file, at, length)
            return
        header = _header(block, at)
        start = at + BLOCK
        if header.type == tarfile.GNUTYPE_SPARSE:
            usable = False
            more = block[482]
            while more:  # further blocks of a map of holes
                more = _read(file, start, BLOCK)[504]
                start += BLOCK
        size = header.size
        if header.type not in _EXTENSIONS and "size" in extended:
            size = _number(extended["size"], at)
        if header.type in _WITHOUT_DATA:
            size = 0
        if start + size > length:
            raise BadShard(f"it ends within the member at byte {at}, {header.name!r}, of {size} bytes")
        following = start + -(-size // BLOCK) * BLOCK
        if header.type in _EXTENSIONS:
            if size > _MAX_EXTENSION_BYTES:
                usable = False  # it is not read, so the name of its member is unknown
            else:
                extended |= _extension(header.type, _read(file, start, size))
        else:
            sparse = any(key.startswith("GNU.sparse") for key in extended)
            name = extended.get("path", header.name)
            if header.isreg() and header.type != tarfile.GNUTYPE_SPARSE and usable and not sparse:
                yield Member(name, start, size)
            else:
                skipped(name, _kind(header, sparse))
            extended, usable = {}, True
        at = following
    raise BadShard(
        f"it ends at byte {length} without the mark that ends a tar: it was cut off, or is still being written"
    )


def _kind(header: tarfile.TarInfo, sparse: bool) -> str:
    if header.isdir():
        return "folders"
    if header.issym() or header.islnk():
        return "links"
    if header.isdev():
        return "devices"
    is_sparse = sparse or header.type == tarfile.GNUTYPE_SPARSE
    return "sparse files" if is_sparse else "of an unknown kind" if not header.isreg() else "with a name too long"


def _check_end(file: BinaryIO, at: int, length: int) -> None:
    """Raises BadShard unless the block of zeros at byte `at` ends the tar: zeros may also replace a lost part of it."""
    left = length - at
    if left < 2 * BLOCK:
        raise BadShard(f"it ends at byte {length}, within the two blocks of zeros that end a tar: it was cut off")
    if left > _MOST_PADDING_BYTES or _read(file, at, left).strip(b"\0"):
        raise BadShard(f"the mark that ends a tar lies at byte {at}, and {left} bytes follow")


def check_header(block: bytes, size: int, shown: str) -> None:
    """block: the header before a member's bytes. Raises MissingFile unless it is that of a file of `size` bytes."""
    try:
        header = _header(block, 0)
    except BadShard:
        header = None
    # A size that is too large for the field is in a pax header, and the field is zero.
    expected = size if size < 8**11 else 0
    if header is None or not header.isreg() or header.size not in (size, expected):
        raise MissingFile(f"no member of {size} bytes lies at '{shown}'; the shard has changed since it was listed")


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    data = file.read(count)
    if len(data) != count:
        raise BadShard(f"it ends at byte {at + len(data)}, within a header")
    return data


def _header(block: bytes, at: int) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise BadShard(f"there is no tar header at byte {at}: {error}") from None
    if header.size < 0:
        raise BadShard(f"the member at byte {at} has a negative size")
    return header


def _extension(kind: bytes, data: bytes) -> dict[str, str]:
    """The real name and size of the member that follows, by their pax keys."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")}
    if kind not in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
        return {}
    found = {}
    while data:
        length, space, _ = data[:20].partition(b" ")
        if not space or not length.isdigit() or not len(length) + 2 < int(length) <= len(data):
            break
        record, data = data[len(length) + 1 : int(length)], data[int(length) :]
        key, _, value = record.removesuffix(b"\n").partition(b"=")
        found[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
    return found


def _number(text: str, at: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadShard(f"the member at byte {at} has the size {text[:40]!r}")
    return int(text)
