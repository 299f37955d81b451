"""One video opened with PyAV: checks its limits, and seeks in it by time stamp."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import BinaryIO

import av
import av.error

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia, TooLarge
from fuseid.core.reasons import reason

# Packets read after a seek to find a key frame; transport streams have no index, so a seek can land anywhere.
_KEY_SEARCH_PACKETS = 5000

# What PyAV raises for damaged or hostile bytes. This includes its MemoryError, which is raised again.
_DAMAGE = (av.error.FFmpegError, OSError, ValueError, EOFError, OverflowError)


@dataclass(frozen=True, slots=True)
class Key:
    """A key frame: its time, the seek that leads to it, and its packet (None if not found). Times in ticks."""

    at: int
    seek: int
    packet: av.Packet | None


class VideoSource:
    """The first video stream of a file. All times are integers in units of `tick` seconds, the stream's own time base:
    rounded seconds would seek to one key frame too early.

    start: time of the first frame. duration_seconds: according to the container. expected_frames: an estimate, only to
    predict the cost of reading all frames. Opening raises CorruptMedia or TooLarge.
    """

    def __init__(self, file: BinaryIO, path: str, demuxer: str, config: DecodeConfig) -> None:
        self._path, self._config = path, config
        try:
            # The demuxer is fixed, the bytes come from our own file object, and nothing else may be opened: a hostile
            # file cannot make FFmpeg read another file or address.
            self._container = av.open(
                file, "r", format=demuxer, io_open=_refuse_to_open, metadata_errors="replace", buffer_size=1 << 16
            )
        except _DAMAGE as error:
            _raise_memory_error(error)
            raise CorruptMedia(f"{path!r} cannot be opened as {demuxer}: {reason(error)}") from None
        try:
            self._open_stream()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _open_stream(self) -> None:
        cover_picture = av.stream.Disposition.attached_pic
        streams = [stream for stream in self._container.streams.video if not stream.disposition & cover_picture]
        if not streams:
            raise CorruptMedia(f"{self._path!r} has no video stream (sound only?)")
        self._stream = stream = streams[0]
        context = stream.codec_context
        if context is None:
            raise CorruptMedia(f"{self._path!r} holds video of a codec that FFmpeg does not know")
        context.thread_count = 1
        self.width, self.height = context.width, context.height
        self._check_size(self.width, self.height)
        self.tick = stream.time_base or Fraction(1, av.time_base)
        self.start = stream.start_time or 0
        if stream.start_time is None:
            first = next(self._all_packets()[1], None)
            self.start = (_time(first) if first else None) or 0
        self.pixel_aspect = stream.sample_aspect_ratio
        self.duration_seconds = self._find_duration()
        self.expected_frames = stream.frames or round(self.duration_seconds * float(stream.average_rate or 0))
        most = self._config.max_duration_seconds
        if self.duration_seconds > most:
            limit = f"the limit decode.max_duration_seconds is {most:g}"
            raise TooLarge(f"{self._path!r} lasts {self.duration_seconds:.0f} seconds, {limit}")

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._config.max_pixels:
            limit = f"the limit decode.max_pixels is {self._config.max_pixels}"
            raise TooLarge(f"{self._path!r} is {width}x{height} pixels, {limit}")

    def _find_duration(self) -> float:
        stated = float((self._stream.duration or 0) * self.tick) or (self._container.duration or 0) / av.time_base
        if stated > 0 and self.start == 0:
            return stated
        # Streamed files have no duration, and if time does not start at 0, some writers count from 0 and some from the
        # first frame: the last packets decide.
        packets = self._packets(self.start + round(stated / self.tick)) if stated > 0 else self._all_packets()[1]
        ends = (at + (packet.duration or 0) for packet in packets if (at := _time(packet)) is not None)
        measured = self.seconds(max(ends, default=self.start))
        return min(stated, measured) if stated > 0 and measured > 0 else max(stated, measured, 0.0)

    def seconds(self, at: int) -> float:
        """Seconds from the first frame."""
        return float((at - self.start) * self.tick)

    def ticks(self, seconds: float) -> int:
        """The inverse of `seconds`, rounded."""
        return self.start + round(Fraction(seconds) / self.tick)

    def key_before(self, at: int) -> Key:
        """The key frame at or before `at`, or the first one."""
        back = 0
        while at - back > self.start:
            key = self._first_key(at - back, backward=True)
            if key is not None and key.at <= at:
                return key
            # Without an index, a seek may land on any packet, and the next key frame may be after `at`.
            back = max(round(1 / self.tick), back * 4)
        seek, packets = self._all_packets()
        packet = next((packet for packet in packets if packet.is_keyframe), None)
        return Key(self.start if packet is None or packet.pts is None else packet.pts, seek, packet)

    def key_after(self, at: int) -> Key | None:
        """A key frame after `at`: the next one if the container has an index."""
        return self._first_key(at, backward=False)

    def first_seek(self) -> int:
        """The seek that leads to the first packet."""
        return self._all_packets()[0]

    def frames(self, seek: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """(time, frame) in display order, from where `seek` leads; frames that do not decode are skipped."""
        context = self._stream.codec_context
        last = self.start - 1
        for packet in chain(self._packets(seek), (None,)):
            try:
                frames = context.decode(packet)
            except _DAMAGE as error:
                _raise_memory_error(error)
                continue
            for frame in frames:
                self._check_size(frame.width, frame.height)  # it may differ from the container's
                at = frame.pts if frame.pts is not None else frame.dts
                last = at if at is not None else last + 1
                yield last, frame

    def can_be_counted(self) -> bool:
        """Whether a decoder that starts at any key frame returns the frame of every later packet.

        It does not with open groups of pictures (frames that follow a key frame but are shown before it need the
        previous group), nor if an edit list hides frames. Reads all packets, decodes none.
        """
        key = None
        for packet in self._all_packets()[1]:
            at = _time(packet)
            if packet.is_discard or (key is not None and at is not None and at < key):
                return False
            if packet.is_keyframe:
                key = at
        return True

    def decode_alone(self, packet: av.Packet) -> av.VideoFrame | None:
        """The picture of one key packet, or None where it does not decode."""
        context = self._stream.codec_context
        context.flush_buffers()
        try:
            # Draining makes the decoder return the frame that it would hold back for reordering.
            frames = [*context.decode(packet), *context.decode(None)]
        except _DAMAGE as error:
            _raise_memory_error(error)
            return None
        for frame in frames[:1]:
            self._check_size(frame.width, frame.height)
            return frame
        return None

    def _packets(self, seek: int, backward: bool = True) -> Iterator[av.Packet]:
        """Packets with data from the key frame before (or after) `seek`; ends early if the file is damaged."""
        try:
            self._container.seek(seek, stream=self._stream, backward=backward)
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        # This includes MemoryError, which here means a packet with an absurd length. PyAV raises IndexError at the end
        # of a file in which a stream appears late.
        except (*_DAMAGE, IndexError):
            return

    def _all_packets(self) -> tuple[int, Iterator[av.Packet]]:
        """(the seek that leads to the first packet, all packets)."""
        # The first packet's decoding time can be before its presentation time, so a seek to `start` may miss it; and
        # some demuxers refuse to seek before their first time stamp.
        for seek in (self.start - round(5 / self.tick), self.start):
            packets = self._packets(seek)
            first = next(packets, None)
            if first is not None:
                return seek, chain((first,), packets)
        return self.start, iter(())

    def _first_key(self, seek: int, backward: bool) -> Key | None:
        for count, packet in enumerate(self._packets(seek, backward)):
            at = _time(packet)
            if packet.is_keyframe and at is not None:
                return Key(at, seek, packet)
            if count > _KEY_SEARCH_PACKETS:
                break
        return None


def _time(packet: av.Packet) -> int | None:
    return packet.pts if packet.pts is not None else packet.dts


def _refuse_to_open(url: object, *_: object) -> None:
    raise PermissionError(f"the video refers to another file or address, which is never opened: {url!r}")


def _raise_memory_error(error: Exception) -> None:
    if isinstance(error, MemoryError):
        raise error
