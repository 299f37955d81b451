"""One video opened by PyAV: its limits, and ways to move about in it by time stamp."""

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

# Packets read from a seek point in search of a key frame; transport streams are not indexed and land anywhere.
_KEY_SEARCH_PACKETS = 5000

# What PyAV raises for damaged or hostile bytes. Its MemoryError is among them, and is passed on.
_DAMAGE = (av.error.FFmpegError, OSError, ValueError, EOFError, OverflowError)


@dataclass(frozen=True, slots=True)
class Key:
    """A key frame: its time, the seek that led to it, and its packet (None where none was found). Times in ticks."""

    at: int
    seek: int
    packet: av.Packet | None


class VideoSource:
    """The first video stream of a file. All times are integers in `tick` seconds, the stream's own time base:
    rounded seconds would seek one key frame too early.

    start: time of the first frame. duration_seconds: as the container says. Opening raises CorruptMedia or TooLarge.
    """

    def __init__(self, file: BinaryIO, path: str, demuxer: str, config: DecodeConfig) -> None:
        self._path = path
        try:
            # The demuxer is named, the bytes come from our own file object, and nothing else may be opened: FFmpeg
            # cannot be talked into reading another file or address.
            self._container = av.open(
                file, "r", format=demuxer, io_open=_refuse_to_open, metadata_errors="replace", buffer_size=1 << 16
            )
        except _DAMAGE as error:
            _pass_on_memory_error(error)
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise CorruptMedia(f"{path!r} cannot be opened as {demuxer}: {reason}") from None
        try:
            self._open_stream(config)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _open_stream(self, config: DecodeConfig) -> None:
        cover_picture = av.stream.Disposition.attached_pic
        streams = [stream for stream in self._container.streams.video if not stream.disposition & cover_picture]
        if not streams:
            raise CorruptMedia(f"{self._path!r} has no video stream (sound only?)")
        self._stream = stream = streams[0]
        context = stream.codec_context
        if context is None:
            raise CorruptMedia(f"{self._path!r} holds video of a codec that FFmpeg does not know")
        context.thread_count = 1
        size = f"{context.width}x{context.height}"
        if context.width * context.height > config.max_pixels:
            limit = f"the limit decode.max_pixels is {config.max_pixels}"
            raise TooLarge(f"{self._path!r} is {size} pixels, {limit}")
        self.tick = stream.time_base or Fraction(1, av.time_base)
        self.start = stream.start_time or 0
        self.pixel_aspect = stream.sample_aspect_ratio
        self.duration_seconds = self._find_duration()
        if self.duration_seconds > config.max_duration_seconds:
            limit = f"the limit decode.max_duration_seconds is {config.max_duration_seconds:g}"
            raise TooLarge(f"{self._path!r} lasts {self.duration_seconds:.0f} seconds, {limit}")

    def _find_duration(self) -> float:
        if self._stream.duration:
            return max(0.0, float(self._stream.duration * self.tick))
        if self._container.duration:
            return max(0.0, self._container.duration / av.time_base)
        # Streamed files do not say; the time stamp of the last packet does.
        last = max((packet.pts or packet.dts or 0 for packet in self._all_packets()[1]), default=self.start)
        return max(0.0, self.seconds(last))

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
            # Without an index a seek lands on any packet, and the next key frame may be past `at`.
            back = max(round(1 / self.tick), back * 4)
        seek, packets = self._all_packets()
        packet = next((packet for packet in packets if packet.is_keyframe), None)
        return Key(self.start if packet is None or packet.pts is None else packet.pts, seek, packet)

    def key_after(self, at: int) -> Key | None:
        """A key frame after `at`: the next one where the container has an index."""
        return self._first_key(at, backward=False)

    def first_seek(self) -> int:
        """The seek that leads to the first packet."""
        return self._all_packets()[0]

    def frames(self, seek: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """(time, frame) in the order shown, from where `seek` leads; what does not decode is passed over."""
        context = self._stream.codec_context
        last = self.start - 1
        for packet in chain(self._packets(seek), (None,)):
            try:
                frames = context.decode(packet)
            except _DAMAGE as error:
                _pass_on_memory_error(error)
                continue
            for frame in frames:
                at = frame.pts if frame.pts is not None else frame.dts
                last = at if at is not None else last + 1
                yield last, frame

    def decode_alone(self, packet: av.Packet) -> av.VideoFrame | None:
        """The picture of one key packet, or None where it does not decode."""
        context = self._stream.codec_context
        context.flush_buffers()
        try:
            # Draining at once makes the decoder give out the frame that it would hold back for reordering.
            frames = [*context.decode(packet), *context.decode(None)]
        except _DAMAGE as error:
            _pass_on_memory_error(error)
            return None
        return frames[0] if frames else None

    def _packets(self, seek: int, backward: bool = True) -> Iterator[av.Packet]:
        """Packets with data from the key frame before (or after) `seek`; ends early where the file is damaged."""
        try:
            self._container.seek(seek, stream=self._stream, backward=backward)
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        except _DAMAGE:  # MemoryError too: here it means a packet that claims an absurd length
            return

    def _all_packets(self) -> tuple[int, Iterator[av.Packet]]:
        """(the seek that leads to the first packet, all packets)."""
        # A first packet's decoding time can be before its presentation time, so that a seek to `start` misses it;
        # and some demuxers refuse to seek before their first time stamp.
        for seek in (self.start - round(5 / self.tick), self.start):
            packets = self._packets(seek)
            first = next(packets, None)
            if first is not None:
                return seek, chain((first,), packets)
        return self.start, iter(())

    def _first_key(self, seek: int, backward: bool) -> Key | None:
        for count, packet in enumerate(self._packets(seek, backward)):
            at = packet.pts if packet.pts is not None else packet.dts
            if packet.is_keyframe and at is not None:
                return Key(at, seek, packet)
            if count > _KEY_SEARCH_PACKETS:
                break
        return None


def _refuse_to_open(url: object, *_: object) -> None:
    raise PermissionError(f"the video refers to another file or address, which is never opened: {url!r}")


def _pass_on_memory_error(error: Exception) -> None:
    if isinstance(error, MemoryError):
        raise error
