"""The colour space that numbers name for the primary picture of a HEIF file (AVIF, HEIC; ISO/IEC 23008-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

Cicp = tuple[int, ...]


def primary_cicp(data: bytes) -> Cicp | None:
    """Primaries, transfer function, matrix and range, or None if there are none or the boxes are damaged. A file may
    hold other items with other colours: thumbnails, gain maps, versions in HDR."""
    try:
        meta = _body(memoryview(data), b"meta")[4:]
        item = _primary(_body(meta, b"pitm"))
        properties = list(_boxes(_body(meta, b"iprp", b"ipco")))
        of_item = _associations(_body(meta, b"iprp", b"ipma"))
        # The tiles of a grid have the colours of the grid.
        for number in (item, *_made_from(_body(meta, b"iref"), item)[:1]):
            for index in of_item.get(number, ()):
                name, body = properties[index - 1] if 0 < index <= len(properties) else (b"", memoryview(b""))
                if name == b"colr" and body[:4] == b"nclx":
                    return struct.unpack(">HHHB", body[4:11])
    except (struct.error, IndexError, ValueError):
        pass
    return None


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    place = 0
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        start = place + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if length == 0 else place + length
        if end < start:
            raise ValueError("a box shorter than its header")
        yield name, data[start:end]
        place = end


def _body(data: memoryview, *names: bytes) -> memoryview:
    """The body of the first box of that name, within those before it, or nothing."""
    for wanted in names:
        data = next((body for name, body in _boxes(data) if name == wanted), data[:0])
    return data


def _primary(pitm: memoryview) -> int:
    (number,) = struct.unpack_from(">I" if pitm[0] else ">H", pitm, 4)
    return int(number)


def _associations(ipma: memoryview) -> dict[int, list[int]]:
    """Item -> its properties, counted from 1."""
    version, wide = ipma[0], ipma[3] & 1
    (count,) = struct.unpack_from(">I", ipma, 4)
    place, found = 8, {}
    for _ in range(count):
        (number,) = struct.unpack_from(">I" if version else ">H", ipma, place)
        place += 4 if version else 2
        entries = ipma[place]
        place += 1
        indices = struct.unpack_from(f">{entries}{'H' if wide else 'B'}", ipma, place)
        place += entries * (2 if wide else 1)
        found[number] = [index & (0x7FFF if wide else 0x7F) for index in indices]
    return found


def _made_from(iref: memoryview, item: int) -> list[int]:
    """The items of which this one is put together."""
    if not iref:
        return []
    kind = "I" if iref[0] else "H"
    for name, body in _boxes(iref[4:]):
        number, count = struct.unpack_from(f">{kind}H", body)
        if name == b"dimg" and number == item:
            return list(struct.unpack_from(f">{count}{kind}", body, struct.calcsize(f">{kind}H")))
    return []
