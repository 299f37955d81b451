"""Frames of a video by PyAV: seeks to key frames, decodes onward only as far as needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import BinaryIO

import av
import av.error
import numpy as np

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia, TooLarge
from fuseid.encoders.sampling import target_times
from fuseid.encoders.video_frames import Facts, Sampled, facts_of, to_rgb_stack

# Frames decoded beyond key frames for one video under `keyframe` sampling: about two seconds of one core at 720p.
# Short clips with one key frame fall below it and are sampled exactly; in long ones the sample leans to key frames.
ONWARD_FRAMES = 600

# Packets read from a seek point in search of a key frame; transport streams are not indexed and land anywhere.
_KEY_SEARCH_PACKETS = 5000

_DECODE_ERRORS = (av.error.FFmpegError, OSError, ValueError, EOFError)


class PyAvReader:
    """One open video. Raises CorruptMedia or TooLarge on opening, CorruptMedia where no frame decodes."""

    def __init__(self, file: BinaryIO, path: str, demuxer: str, config: DecodeConfig) -> None:
        self._path, self._config = path, config
        try:
            # The demuxer is named, the bytes come from our own file object, and nothing else may be opened: FFmpeg
            # cannot be talked into reading another file or address.
            self._container = av.open(
                file, "r", format=demuxer, io_open=_refuse_to_open, metadata_errors="replace", buffer_size=1 << 16
            )
        except _DECODE_ERRORS as error:
            raise CorruptMedia(f"{path!r} cannot be opened as {demuxer}: {_reason(error)}") from None
        try:
            self._open_stream()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> PyAvReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _open_stream(self) -> None:
        pictures = av.stream.Disposition.attached_pic
        streams = [s for s in self._container.streams.video if not s.disposition & pictures]
        if not streams:
            raise CorruptMedia(f"{self._path!r} has no video stream (sound only?)")
        self._stream = stream = streams[0]
        context = stream.codec_context
        if context is None:
            raise CorruptMedia(f"{self._path!r} holds video of a codec that FFmpeg does not know")
        context.thread_count = 1
        if context.width * context.height > self._config.max_pixels:
            raise TooLarge(
                f"{self._path!r} is {context.width}x{context.height} pixels, "
                f"the limit decode.max_pixels is {self._config.max_pixels}"
            )
        self._tick = stream.time_base or Fraction(1, av.time_base)
        self._start = stream.start_time or 0
        self._duration = self._find_duration()
        if self._duration > self._config.max_duration_seconds:
            raise TooLarge(
                f"{self._path!r} lasts {self._duration:.0f} seconds, "
                f"the limit decode.max_duration_seconds is {self._config.max_duration_seconds:.0f}"
            )

    def _find_duration(self) -> float:
        if self._stream.duration:
            return float(self._stream.duration * self._tick)
        if self._container.duration:
            return self._container.duration / av.time_base
        # Streamed files do not say; the time stamp of the last packet does.
        last = max((p.pts or p.dts or 0 for p in self._all_packets()[1]), default=self._start)
        return max(0.0, float((last - self._start) * self._tick))

    # Moving about; all in ticks of the stream's time base, since rounded seconds would seek one key frame too early.

    def _packets(self, ticks: int, backward: bool = True) -> Iterator[av.Packet]:
        """Packets with data from the key frame before (or after) `ticks`; ends early where the file is damaged."""
        try:
            self._container.seek(ticks, stream=self._stream, backward=backward)
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        except _DECODE_ERRORS:
            return

    def _all_packets(self) -> tuple[int, Iterator[av.Packet]]:
        """(seek that leads to the first packet, packets from there)."""
        # The first packet's decoding time is before its presentation time, so a seek to `start` can miss it; some
        # demuxers refuse to seek before their first time stamp.
        for ticks in (self._start - round(5 / self._tick), self._start):
            packets = self._packets(ticks)
            first = next(packets, None)
            if first is not None:
                return ticks, chain((first,), packets)
        return self._start, iter(())

    def _key_packet(self, ticks: int, backward: bool) -> _Key | None:
        """The first key packet that a seek to `ticks` leads to."""
        for count, packet in enumerate(self._packets(ticks, backward)):
            at = packet.pts if packet.pts is not None else packet.dts
            if packet.is_keyframe and at is not None:
                return _Key(at, ticks, packet)
            if count > _KEY_SEARCH_PACKETS:
                break
        return None

    def _key_before(self, ticks: int) -> _Key:
        """A key frame at or before `ticks`; the start of the stream where there is none."""
        back = 0
        while ticks - back > self._start:
            key = self._key_packet(ticks - back, backward=True)
            if key is not None and key.at <= ticks:
                return key
            # Without an index a seek lands on any packet, and the next key frame may be past `ticks`.
            back = max(round(1 / self._tick), back * 4)
        ticks, packets = self._all_packets()
        packet = next((p for p in packets if p.is_keyframe), None)
        return _Key(self._start if packet is None or packet.pts is None else packet.pts, ticks, packet)

    def _frames(self, seek_ticks: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """(time, frame) in the order shown; packets that do not decode are passed over."""
        context = self._stream.codec_context
        last = self._start - 1
        for packet in chain(self._packets(seek_ticks), (None,)):
            try:
                frames = context.decode(packet)
            except _DECODE_ERRORS:
                continue
            for frame in frames:
                at = frame.pts if frame.pts is not None else frame.dts
                last = at if at is not None else last + 1
                yield last, frame

    # Sampling

    def sample(self) -> Sampled:
        """Frames at the configured moments; fewer than asked where the video has no more distinct ones."""
        times = target_times(self._duration, self._config.sampling)
        targets = [self._start + round(Fraction(time) / self._tick) for time in times]
        if self._config.sampling.method == "keyframe":
            found = self._sample_key_frames(targets)
        else:
            found = self._sample_exactly(targets, None)
        if not found:
            found = self._walk(self._all_packets()[0], targets, ONWARD_FRAMES)
        if not found:
            raise CorruptMedia(f"{self._path!r}: no frame of its video decodes")
        order = sorted(found)
        facts = self._facts_of(found[order[0]])
        frames = to_rgb_stack([found[at] for at in order], facts)
        seconds = np.array([float((at - self._start) * self._tick) for at in order])
        return Sampled(frames, seconds, facts.width, facts.height, self._duration, "pyav")

    def facts(self) -> Facts:
        """Size as shown, told from the first frame, for only a decoded frame carries its rotation."""
        for _, frame in self._frames(self._all_packets()[0]):
            return self._facts_of(frame)
        raise CorruptMedia(f"{self._path!r}: no frame of its video decodes")

    def _facts_of(self, frame: av.VideoFrame) -> Facts:
        return facts_of(frame, self._stream.sample_aspect_ratio, self._config.long_side, self._duration)

    def _sample_key_frames(self, targets: list[int]) -> dict[int, av.VideoFrame]:
        """The key frame nearest each target; targets that share one are sought by decoding onward, within bounds."""
        nearest: dict[int, tuple[int, int, _Key]] = {}
        onward = []
        for target in targets:
            around = (self._key_before(target), self._key_packet(target, backward=False))
            keys = [key for key in around if key is not None and key.packet is not None]
            if not keys:
                onward.append(target)
                continue
            key = min(keys, key=lambda key: abs(key.at - target))
            distance = abs(key.at - target)
            holder = nearest.get(key.at)
            if holder is None or distance < holder[0]:
                nearest[key.at] = (distance, target, key)
            onward.extend([target] if holder is not None and distance >= holder[0] else [])
            onward.extend([holder[1]] if holder is not None and distance < holder[0] else [])
        found = {}
        for at, (_, target, key) in nearest.items():
            frame = self._decode_alone(key.packet)
            if frame is None:
                onward.append(target)
            else:
                found[at] = frame
        if onward:
            found.update(self._sample_exactly(sorted(onward), max(1, ONWARD_FRAMES // len(onward))))
        return found

    def _decode_alone(self, packet: av.Packet | None) -> av.VideoFrame | None:
        context = self._stream.codec_context
        context.flush_buffers()
        try:
            # Draining at once makes the decoder give out the frame that it would hold back for reordering.
            frames = [*context.decode(packet), *context.decode(None)]
        except _DECODE_ERRORS:
            return None
        return frames[0] if frames else None

    def _sample_exactly(self, targets: list[int], allowance: int | None) -> dict[int, av.VideoFrame]:
        """The frame nearest each target; with an `allowance`, as near as that many frames per target lead."""
        groups: dict[int, tuple[int, list[int]]] = {}
        for target in targets:
            key = self._key_before(target)
            groups.setdefault(key.at, (key.seek_ticks, []))[1].append(target)
        found: dict[int, av.VideoFrame] = {}
        for seek_ticks, group in groups.values():
            found.update(self._walk(seek_ticks, group, allowance))
        return found

    def _walk(self, seek_ticks: int, targets: list[int], allowance: int | None) -> dict[int, av.VideoFrame]:
        """One pass of decoding over ascending `targets`."""
        found = {}
        frames = self._frames(seek_ticks)
        before, after = None, next(frames, None)
        for target in targets:
            steps = 0
            while after is not None and after[0] < target and steps != allowance:
                before, after = after, next(frames, None)
                steps += 1
            candidates = [entry for entry in (before, after) if entry is not None]
            if candidates:
                at, frame = min(candidates, key=lambda entry: abs(entry[0] - target))
                found[at] = frame
        return found


@dataclass(frozen=True, slots=True)
class _Key:
    """A key frame's time, the seek that led to it, and its packet. Times in ticks."""

    at: int
    seek_ticks: int
    packet: av.Packet | None


def _refuse_to_open(url: object, *_: object) -> None:
    raise PermissionError(f"the video refers to another file or address, which is never opened: {url!r}")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
