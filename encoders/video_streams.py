"""Which video track of a file is decoded, and with which decoder."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import cast

import av
from av.codec.context import Flags
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

# Tracks that accompany a film: thumbnails along its time line, stills, the second layer of a film in two layers.
_ACCOMPANYING = Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent

# FFmpeg's own decoders of VP8 and VP9 skip the alpha channel, which Matroska keeps beside each packet.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def main_stream(streams: Sequence[VideoStream], films: Container[int] | None = None) -> VideoStream | None:
    """The film among the video tracks of a file; None if there are only cover pictures. films: the numbers of the
    tracks that the container calls films, if it does (`mov_tracks`).

    Cover pictures are never decoded. Of the other tracks, those come first that FFmpeg has a decoder for, that do not
    accompany another, and that have more than one frame; of these, those marked as default; of these, the one with the
    most pixels; of equals, the first.
    """
    moving = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    return max(moving, key=lambda stream: _rank(stream, films is None or stream.id in films), default=None)


def _rank(stream: VideoStream, is_film: bool) -> tuple[bool, bool, bool, bool, int]:
    context = stream.codec_context
    return (
        context is not None,
        is_film and not stream.disposition & _ACCOMPANYING,
        stream.frames != 1,  # 0 if the container does not say
        bool(stream.disposition & Disposition.default),
        0 if context is None else context.width * context.height,
    )


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """The track's decoder, with one thread; one that decodes the alpha channel if the track has one."""
    context = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and context.name in _ALPHA_DECODERS:
        context = cast(VideoCodecContext, av.CodecContext.create(_ALPHA_DECODERS[context.name], "r"))
    context.thread_count = 1
    context.flags |= Flags.unaligned  # otherwise, it cuts off a border at the left only in steps of 32 pixels
    return context
