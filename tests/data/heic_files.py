"""HEIC and AVIF files for the tests: pictures in the boxes that phones write (ISO/IEC 23008-12)."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import av
import numpy as np
from PIL import Image

from .hostile_bytes import box


def heic(
    frame: np.ndarray,
    *,
    turns: int = 0,
    mirror: int | None = None,
    profile: bytes | None = None,
    cicp: tuple[int, int, int] | None = None,
    exif: bytes = b"",
    pixels: str = "yuv444p",
) -> bytes:
    """frame: uint8 [H, W, 3]. turns: by 90 degrees counter-clockwise, then mirror: 0 top with bottom, 1 left with
    right. profile: ICC. exif: a TIFF directory."""
    height, width = frame.shape[:2]
    configuration, sample = _coded(frame, pixels)
    properties = [
        box(b"hvcC", configuration),
        box(b"ispe", struct.pack(">III", 0, width, height)),
    ]
    if profile is not None:
        properties.append(box(b"colr", b"prof", profile))
    if cicp is not None:
        properties.append(box(b"colr", b"nclx", struct.pack(">HHHB", *cicp, 0x80)))
    if turns:
        properties.append(box(b"irot", bytes([turns])))
    if mirror is not None:
        properties.append(box(b"imir", bytes([mirror])))
    indices = bytes([0x80 | 1, *range(2, len(properties) + 1)])
    entries = [(1, b"hvc1", sample)]
    references = b""
    if exif:
        entries.append((2, b"Exif", struct.pack(">I", 0) + exif))
        references = box(b"iref", struct.pack(">I", 0), box(b"cdsc", struct.pack(">HHH", 2, 1, 1)))

    def meta(start: int) -> bytes:
        infos, places = b"", b""
        for number, kind, data in entries:
            infos += box(b"infe", struct.pack(">IHH4sB", 2 << 24, number, 0, kind, 0))
            places += struct.pack(">HHHII", number, 0, 1, start, len(data))
            start += len(data)
        return box(
            b"meta",
            struct.pack(">I", 0),
            box(b"hdlr", struct.pack(">II4sIIIB", 0, 0, b"pict", 0, 0, 0, 0)),
            box(b"pitm", struct.pack(">IH", 0, 1)),
            box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, len(entries)), places),
            box(b"iinf", struct.pack(">IH", 0, len(entries)), infos),
            references,
            box(
                b"iprp",
                box(b"ipco", *properties),
                box(b"ipma", struct.pack(">IIHB", 0, 1, 1, len(indices)), indices),
            ),
        )

    head = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", *(data for _, _, data in entries))


@dataclass(frozen=True)
class Item:
    """kind: of four letters. properties: boxes. references: their kind, and the numbers of the items that are meant."""

    kind: bytes
    data: bytes
    properties: Sequence[bytes]
    references: Sequence[tuple[bytes, Sequence[int]]] = ()


def heif(brand: bytes, items: Mapping[int, Item], primary: int) -> bytes:
    """Items by number. Properties are listed in the order of the items."""
    listed = list(dict.fromkeys(each for item in items.values() for each in item.properties))
    of_items = b"".join(
        struct.pack(">HB", number, len(item.properties)) + bytes(0x80 | (1 + listed.index(p)) for p in item.properties)
        for number, item in sorted(items.items())
    )
    references = b"".join(
        box(kind, struct.pack(f">HH{len(others)}H", number, len(others), *others))
        for number, item in sorted(items.items())
        for kind, others in item.references
    )

    def meta(start: int) -> bytes:
        infos = places = b""
        for number, item in items.items():
            infos += box(b"infe", struct.pack(">IHH4sB", 2 << 24, number, 0, item.kind, 0))
            places += struct.pack(">HHHII", number, 0, 1, start, len(item.data))
            start += len(item.data)
        return box(
            b"meta",
            struct.pack(">I", 0),
            box(b"hdlr", struct.pack(">II4sIIIB", 0, 0, b"pict", 0, 0, 0, 0)),
            box(b"pitm", struct.pack(">IH", 0, primary)),
            box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, len(items)), places),
            box(b"iinf", struct.pack(">IH", 0, len(items)), infos),
            box(b"iref", struct.pack(">I", 0), references) if references else b"",
            box(b"iprp", box(b"ipco", *listed), box(b"ipma", struct.pack(">II", 0, len(items)), of_items)),
        )

    head = box(b"ftyp", brand, b"\0\0\0\0mif1", brand, b"miaf")
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", *(item.data for item in items.values()))


def size_box(width: int, height: int) -> bytes:
    return box(b"ispe", struct.pack(">III", 0, width, height))


def colour_box(primaries: int, transfer: int) -> bytes:
    return box(b"colr", b"nclx", struct.pack(">HHHB", primaries, transfer, 6, 0x80))


def coded_item(brand: bytes, frame: np.ndarray, *properties: bytes) -> Item:
    """A picture, uint8 [H, W, 3], coded as the brand `heic` or `avif` says, with its size and further properties."""
    height, width = frame.shape[:2]
    if brand == b"heic":
        configuration, sample = _coded(frame, "yuv420p")
        return Item(b"hvc1", sample, [box(b"hvcC", configuration), size_box(width, height), *properties])
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "AVIF", quality=97)
    data = file.getvalue()
    start, media = data.index(b"av1C") - 4, data.index(b"mdat") - 4
    configuration = data[start : start + int.from_bytes(data[start : start + 4], "big")]
    sample = data[media + 8 : media + int.from_bytes(data[media : media + 4], "big")]
    depths = box(b"pixi", struct.pack(">IB3B", 0, 3, 8, 8, 8))
    return Item(b"av01", sample, [configuration, size_box(width, height), depths, *properties])


def _coded(frame: np.ndarray, pixels: str) -> tuple[bytes, bytes]:
    """(the decoder's configuration, one key frame with lengths before its units)."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("libx265", rate=1, width=frame.shape[1], height=frame.shape[0], pix_fmt=pixels)
        stream.codec_context.color_range = 2
        stream.codec_context.colorspace = 5
        stream.options = {"preset": "ultrafast", "crf": "1", "x265-params": "log-level=none:pools=none:info=0"}
        given = av.VideoFrame.from_ndarray(frame, "rgb24").reformat(
            format=pixels, dst_colorspace="ITU601", dst_color_range="JPEG"
        )
        for packet in (*stream.encode(given), *stream.encode()):
            # The encoder now and then gives a single frame a time that a file cannot have.
            packet.pts = packet.dts = 0
            output.mux(packet)
    file.seek(0)
    with av.open(file) as container:
        configuration = container.streams.video[0].codec_context.extradata
        packet = next(packet for packet in container.demux(video=0) if packet.size)
        return bytes(configuration), bytes(packet)
