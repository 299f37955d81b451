"""One video opened with PyAV: checks its limits, and seeks in it by time stamp."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from heapq import nlargest
from itertools import chain, islice
from typing import BinaryIO

import av
import av.error
from av.codec.context import Flags

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia, TooLarge
from fuseid.core.reasons import reason
from fuseid.encoders.mov_tracks import film_tracks
from fuseid.encoders.video_side_data import side_data_of, without_borders
from fuseid.encoders.video_streams import decoder_of, main_stream

# Packets read after a seek to find a key frame; transport streams have no index, so a seek can land anywhere.
_KEY_SEARCH_PACKETS = 5000

# Packets read from the beginning to find the first key frame, which is nearly always the first packet.
_FIRST_PACKETS = 500

# Frames that a codec may decode before one that is shown earlier: 16 in H.264 and HEVC.
_MOST_REORDERED = 16

# Matrices between YUV and RGB that FFmpeg can convert, as numbers of ITU-T H.273: RGB itself, BT.709, none given,
# reserved, FCC, BT.470 BG and SMPTE 170M (both are BT.601), SMPTE 240M, BT.2020. decord would not notice another one.
_MATRICES = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 9})

# Profiles of Dolby Vision whose colours are in a space of its own, and what others see of them: nothing.
_DOLBY_VISION_ALONE = frozenset({(5, 0), (10, 0)})

# What PyAV raises for damaged or hostile bytes. This includes its MemoryError, which is raised again.
_DAMAGE = (av.error.FFmpegError, OSError, ValueError, EOFError, OverflowError)


@dataclass(frozen=True, slots=True)
class Key:
    """A key frame: its time, the seek that leads to it, and its packet (None if not found). Times in ticks."""

    at: int
    seek: int
    packet: av.Packet | None


class VideoSource:
    """The film of a file (`video_streams.main_stream`). All times are integers in units of `tick` seconds, the stream's
    own time base: rounded seconds would seek to one key frame too early.

    start: time of the first frame. duration_seconds: from there to the end of the last frame; sound and subtitles may
    begin earlier and end later. expected_frames: an estimate, only to predict the cost of reading all frames. is_alone:
    whether the file has no other video track. crop: the borders of a stored frame that its container cuts off, as in
    `SideData`. Opening raises CorruptMedia or TooLarge.
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
            self._open_stream(file)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _open_stream(self, file: BinaryIO) -> None:
        tracks = self._container.streams.video
        has_handlers = self._container.format.name.startswith("mov") and len(tracks) > 1
        stream = main_stream(tracks, film_tracks(file) if has_handlers else None)
        if stream is None:
            raise CorruptMedia(f"{self._path!r} has no video stream (sound only?)")
        if stream.codec_context is None:
            raise CorruptMedia(f"{self._path!r} holds video of a codec that FFmpeg does not know")
        self._stream = stream
        # AVI has one time per packet, that of decoding. FFmpeg derives the other from the types of frames, but not for
        # these codecs.
        self._by_dts = self._container.format.name == "avi" and stream.codec_context.name in ("h264", "hevc")
        self.is_alone = len(tracks) == 1
        side_data = side_data_of(stream)
        self.crop = side_data.crop
        if side_data.dolby_vision in _DOLBY_VISION_ALONE:
            profile = f"Dolby Vision of profile {side_data.dolby_vision[0]}, which has no other version of the picture"
            raise CorruptMedia(f"{self._path!r} has colours that FFmpeg cannot convert to RGB ({profile})")
        self._decoder = context = decoder_of(stream)
        for other in self._container.streams:
            if other is not stream:
                other.discard = av.stream.Discard.all  # many containers then skip its bytes
        self.width, self.height = stream.codec_context.width, stream.codec_context.height
        self._check_size(self.width, self.height)
        self.tick = stream.time_base or Fraction(1, av.time_base)
        self.pixel_aspect = stream.sample_aspect_ratio
        rate = stream.average_rate or stream.guessed_rate
        self._usual_step = max(1, round(1 / (rate * self.tick))) if rate else 1
        if context.pix_fmt == "pal8":
            self._read_palette()
        self.start, self.duration_seconds = self._find_extent()
        self.expected_frames = stream.frames or round(self.duration_seconds * float(stream.average_rate or 0))
        most = self._config.max_duration_seconds
        if self.duration_seconds > most:
            limit = f"the limit decode.max_duration_seconds is {most:g}"
            raise TooLarge(f"{self._path!r} lasts {self.duration_seconds:.0f} seconds, {limit}")

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._config.max_pixels:
            limit = f"the limit decode.max_pixels is {self._config.max_pixels}"
            raise TooLarge(f"{self._path!r} is {width}x{height} pixels, {limit}")

    def _read_palette(self) -> None:
        """Many demuxers give the palette with the first packet, and not again after a seek; decoders keep it."""
        try:
            for packet in islice(self._container.demux(self._stream), 1):
                self._decoder.decode(packet)
        except _DAMAGE as error:
            _raise_memory_error(error)

    def _check(self, frame: av.VideoFrame) -> None:
        """A frame may differ from what the container says."""
        self._check_size(frame.width, frame.height)
        if frame.colorspace not in _MATRICES and not frame.format.is_rgb:
            matrix = f"matrix {frame.colorspace} of H.273"
            raise CorruptMedia(f"{self._path!r} has colours that FFmpeg cannot convert to RGB ({matrix})")

    def _find_extent(self) -> tuple[int, float]:
        """(start, duration_seconds)"""
        stream = self._stream
        start = stream.start_time
        # ISO-BMFF lists every frame of a track, and its edit lists may hide the first packets. Other containers state
        # times of the whole file, which may be those of sound or subtitles: the track's first and last packets decide.
        is_listed = self._container.format.name.startswith("mov")
        if start is None or not is_listed:
            start = self._first_time(start or 0)
        self.start = start
        if is_listed and start == 0 and stream.duration:
            return start, float(stream.duration * self.tick)
        stated = max(stream.duration or 0, round((self._container.duration or 0) / av.time_base / self.tick))
        return start, max(0.0, self.seconds(self._end(start + stated)))

    def _first_time(self, otherwise: int) -> int:
        """The time of the first key frame: frames before it do not decode."""
        first = None
        for packet in islice(self._all_packets(otherwise)[1], _FIRST_PACKETS):
            at = self._time(packet)
            if at is not None and packet.is_keyframe:
                return at
            first = at if first is None else first
        return otherwise if first is None else first

    def _end(self, stated: int) -> int:
        """When the last frame ends. Its packet is searched from the stated end backwards."""
        back = 0
        last: list[tuple[int, int]] = []
        while True:
            seek = max(self.start, stated - back)
            packets = self._packets(seek) if seek > self.start else self._all_packets(self.start)[1]
            first = next(packets, None)
            if first is not None:
                count, last = self._last_two(chain((first,), packets))
                # Without an index, a seek may land on any packet, even on one after that of the last frame; and an edit
                # list may hide all that follow.
                if last and (first.is_keyframe or count > _MOST_REORDERED):
                    break
            if seek == self.start:
                break
            back = max(round(1 / self.tick), 4 * back)
        if not last:
            return self.start
        at, length = last[0]
        # A packet without a duration is shown for as long as the one before it.
        return at + (length or at - last[-1][0])

    def _last_two(self, packets: Iterator[av.Packet]) -> tuple[int, list[tuple[int, int]]]:
        """(number of packets, (time, duration) of the two that are shown last)"""
        count = 0

        def shown() -> Iterator[tuple[int, int]]:
            nonlocal count
            for packet in packets:
                count += 1
                at = self._time(packet)
                if at is not None and not packet.is_discard:
                    yield at, packet.duration or 0

        last = nlargest(2, shown())
        return count, last

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
        seek, packets = self._all_packets(self.start)
        packet = next((packet for packet in packets if packet.is_keyframe), None)
        return Key(self.start if packet is None or packet.pts is None else packet.pts, seek, packet)

    def key_after(self, at: int) -> Key | None:
        """A key frame after `at`: the next one if the container has an index."""
        return self._first_key(at, backward=False)

    def first_seek(self) -> int:
        """The seek that leads to the first packet."""
        return self._all_packets(self.start)[0]

    def frames(self, seek: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """(time, frame) in display order, from where `seek` leads; frames that do not decode are skipped."""
        context = self._decoder
        context.flush_buffers()  # a seek does so only for the track's own decoder
        first = delay = last = None
        for packet in chain(self._packets(seek), (None,)):
            if first is None and packet is not None and packet.is_keyframe:
                first = packet.dts
            try:
                frames = context.decode(packet)
            except _DAMAGE as error:
                _raise_memory_error(error)
                continue
            for frame in frames:
                self._check(frame)
                at = frame.pts if frame.pts is not None else frame.dts
                if self._by_dts:
                    # It has the time of the packet that was read last; the first frame is that of the first packet.
                    at = frame.dts
                    if at is not None and first is not None:
                        delay = at - first if delay is None else delay
                        at -= delay
                # Of several frames in one packet of a program stream, only the first has a time.
                if at is None and last is None and seek > self.start:
                    continue
                if at is None:
                    at = self.start if last is None else last + self._usual_step
                last = at
                yield last, without_borders(frame, self.crop)

    def countable_times(self) -> list[int] | None:
        """The times of all frames, ascending, if a decoder that starts at any key frame returns the frame of every
        later packet; else None.

        It does not with open groups of pictures (frames that follow a key frame but are shown before it need the
        previous group), nor if an edit list hides frames. Reads all packets, decodes none.
        """
        key, times = None, []
        for packet in self._all_packets(self.start)[1]:
            at = self._time(packet)
            if packet.is_discard or at is None or (key is not None and at < key):
                return None
            if packet.is_keyframe:
                key = at
            times.append(at)
        return sorted(times)

    def decode_alone(self, packet: av.Packet) -> av.VideoFrame | None:
        """The picture of one key packet, or None where it does not decode."""
        context = self._decoder
        context.flush_buffers()
        try:
            # Draining makes the decoder return the frame that it would hold back for reordering.
            frames = [*context.decode(packet), *context.decode(None)]
        except _DAMAGE as error:
            _raise_memory_error(error)
            return None
        for frame in frames[:1]:
            self._check(frame)
            return without_borders(frame, self.crop)
        return None

    def crops_as_decord(self, packet: av.Packet) -> bool:
        """Whether a key packet's picture has the same size for a decoder that cuts off borders only in large steps."""
        cut = self.decode_alone(packet)
        self._decoder.flags &= ~Flags.unaligned
        roughly = self.decode_alone(packet)
        self._decoder.flags |= Flags.unaligned
        return cut is not None and roughly is not None and (cut.width, cut.height) == (roughly.width, roughly.height)

    def _time(self, packet: av.Packet) -> int | None:
        """When the packet's frame is shown."""
        if packet.pts is None or self._by_dts:
            return packet.dts
        return packet.pts

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

    def _all_packets(self, start: int) -> tuple[int, Iterator[av.Packet]]:
        """(the seek that leads to the first packet, all packets); `start` is near the first frame's time."""
        # The first packet's decoding time can be before its presentation time, so a seek to `start` may miss it; and
        # some demuxers refuse to seek before their first time stamp.
        for seek in (start - round(5 / self.tick), start):
            packets = self._packets(seek)
            first = next(packets, None)
            if first is not None:
                return seek, chain((first,), packets)
        return start, iter(())

    def _first_key(self, seek: int, backward: bool) -> Key | None:
        for count, packet in enumerate(self._packets(seek, backward)):
            at = self._time(packet)
            if packet.is_keyframe and at is not None:
                return Key(at, seek, packet)
            if count > _KEY_SEARCH_PACKETS:
                break
        return None


def _refuse_to_open(url: object, *_: object) -> None:
    raise PermissionError(f"the video refers to another file or address, which is never opened: {url!r}")


def _raise_memory_error(error: Exception) -> None:
    if isinstance(error, MemoryError):
        raise error
