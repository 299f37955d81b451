"""HEIC files for the tests: one HEVC frame of x265 in the boxes that phones write (ISO/IEC 23008-12)."""

from __future__ import annotations

import io
import struct

import av
import numpy as np

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
        output.mux(stream.encode(given))
        output.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        configuration = container.streams.video[0].codec_context.extradata
        packet = next(packet for packet in container.demux(video=0) if packet.size)
        return bytes(configuration), bytes(packet)
