"""What a container says of a video track and PyAV does not: borders to cut off, and whether it is Dolby Vision."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.error
from av.video.stream import VideoStream

# Elements of Matroska (RFC 9559).
_SEGMENT, _TRACKS, _TRACK, _VIDEO, _MAPPING = 0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x41E4
_CROPS = {0x54CC: 0, 0x54BB: 1, 0x54DD: 2, 0x54AA: 3}
_MAPPING_TYPE, _MAPPING_DATA = 0x41E7, 0x41ED
_DOLBY_VISION = frozenset({b"dvcC", b"dvvC", b"dvwC"})


@dataclass(frozen=True, slots=True)
class SideData:
    """crop: pixels to cut off at the left, top, right and bottom of a stored frame. dolby_vision: its profile and the
    number of what a player without Dolby Vision sees (0: nothing usable), if it is that."""

    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    dolby_vision: tuple[int, int] | None = None


def side_data_of(stream: VideoStream) -> SideData:
    """FFmpeg reads both from every container (`clap` and `dvcC` of ISO-BMFF, elements of Matroska, descriptors of
    transport streams) and writes them into a header of Matroska; so one is written to memory, in 0.1 ms, and read."""
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="matroska") as output:
            output.add_stream_from_template(stream, opaque=True)
            output.start_encoding()
    except (av.error.FFmpegError, ValueError):  # Matroska does not take every codec
        return SideData()
    crop, dolby_vision = [0, 0, 0, 0], None
    for name, body in _elements(_descend(memoryview(file.getvalue()), _SEGMENT, _TRACKS, _TRACK)):
        if name == _VIDEO:
            for inner, value in _elements(body):
                if inner in _CROPS:
                    crop[_CROPS[inner]] = int.from_bytes(value, "big")
        elif name == _MAPPING:
            mapping = dict(_elements(body))
            data = bytes(mapping.get(_MAPPING_DATA, b""))
            if bytes(mapping.get(_MAPPING_TYPE, b"")) in _DOLBY_VISION and len(data) >= 5:
                dolby_vision = data[2] >> 1, data[4] >> 4
    return SideData((crop[0], crop[1], crop[2], crop[3]), dolby_vision)


def without_borders(frame: av.VideoFrame, crop: tuple[int, int, int, int]) -> av.VideoFrame:
    """The frame with its times and side data, not copied. Borders that leave nothing are not cut off."""
    left, top, right, bottom = crop
    width, height = frame.width - left - right, frame.height - top - bottom
    if crop == (0, 0, 0, 0) or width < 1 or height < 1:
        return frame
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("crop", f"{width}:{height}:{left}:{top}:exact=1"), graph.add("buffersink"))
    graph.configure()
    graph.vpush(frame)
    return graph.vpull()


def _descend(data: memoryview, *names: int) -> memoryview:
    for wanted in names:
        data = next((body for name, body in _elements(data) if name == wanted), data[:0])
    return data


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(name, body) of each element."""
    place = 0
    while place < len(data):
        length = 9 - data[place].bit_length()
        name = int.from_bytes(data[place : place + length], "big")
        place += length
        if place >= len(data):
            return
        length = 9 - data[place].bit_length()
        size = int.from_bytes(data[place : place + length], "big") & ((1 << 7 * length) - 1)
        place += length
        end = len(data) if size == (1 << 7 * length) - 1 else place + size
        yield name, data[place:end]
        place = end
