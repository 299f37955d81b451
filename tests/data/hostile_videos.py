"""Hostile videos: truncated, with false sizes, lengths or structures, and without an end."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import av
import numpy as np

from .hostile_bytes import EBML_HEAD, Hostile, box, ebml, entry, film, patched, riff, saved

SUFFIXES = ("mp4", "mov", "mkv", "webm", "avi", "ts", "mpg", "flv", "ogv")


def videos() -> list[Hostile]:
    return [*_no_videos(), *_cut(), *_boxes(), *_matroska(), *_streams(), *_endless()]


def _no_videos() -> list[Hostile]:
    found = [
        entry(f"random.{suffix}", "random bytes", "Unrecognised", random.Random(suffix).randbytes(3000))
        for suffix in SUFFIXES
    ]
    return [
        *found,
        entry("empty.mp4", "no bytes at all", "CorruptMedia", b""),
        entry("one-byte.mkv", "one byte", "Unrecognised", b"\x1a"),
        entry("page.mp4", "a web page", "Unrecognised", b"<!DOCTYPE html><html>" * 100),
        entry("picture.mp4", "a picture under a video's name", "Unrecognised", saved("JPEG")),
        entry("moving.mp4", "an animation, which is a picture here", "Unrecognised", saved("GIF")),
        entry("video.png", "a video under a picture's name", "Unrecognised", film("mp4")),
        entry("still.mp4", "an AVIF picture: the same boxes as a film", "Unrecognised", saved("AVIF")),
    ]


def _cut() -> list[Hostile]:
    made = {
        "mp4": film("mp4"), "mov": film("mov"), "mkv": film("matroska"), "webm": film("webm", "libvpx"),
        "avi": film("avi"), "ts": film("mpegts", "mpeg2video"), "mpg": film("mpeg", "mpeg2video"),
        "flv": film("flv", "flv"), "asf.mpg": film("asf", "wmv2"),
    }  # fmt: skip
    heads = [
        # A transport stream is recognised by the first bytes of three packets.
        entry(f"head-only.{suffix}", f"the first 60 bytes of {suffix}",
              "Unrecognised" if suffix == "ts" else "CorruptMedia", data[:60])
        for suffix, data in made.items()
    ]  # fmt: skip
    return [
        *heads,
        entry("no-index.mp4", "an MP4 whose index would have come at its end", "CorruptMedia", made["mp4"][:-600]),
        entry("half.mkv", "a Matroska cut in the middle: what is there is shown", "accepted",
              made["mkv"][: len(made["mkv"]) * 2 // 3]),
        entry("half.ts", "a transport stream cut in the middle", "accepted", made["ts"][: len(made["ts"]) * 2 // 3]),
        entry("ogg.ogv", "an Ogg page and nothing in it", "CorruptMedia",
              b"OggS\0\2" + b"\0" * 20 + b"\1\x1e" + b"\0" * 30),
    ]  # fmt: skip


def _boxes() -> list[Hostile]:
    good = film("mp4")
    moov = good.index(b"moov")
    nested = b""
    for _ in range(2000):
        nested = box(b"moov", nested)
    stsz = good.index(b"stsz")
    stts = good.index(b"stts")
    huge = (0x0FFFFFFF).to_bytes(4, "big")
    duration = good.index(b"mdhd") + 20
    scale = good.index(b"mdhd") + 16
    size = good.index(b"mp4v") + 28
    vp9 = film("mp4", "libvpx-vp9")
    place = vp9.index(b"vp09") + 28
    return [
        entry("box-zero.mp4", "the first box says 0: it reaches to the end", "CorruptMedia", b"\0\0\0\0" + good[4:]),
        entry("box-overflow.mp4", "a box of 2^63 bytes, which is read as far as the file goes", "accepted",
              good[: moov - 4] + b"\0\0\0\1moov" + b"\x7f" + b"\xff" * 7 + good[moov + 4 :]),
        entry("box-small.mp4", "a box smaller than its own header", "CorruptMedia",
              good[: moov - 4] + b"\0\0\0\3" + good[moov:]),
        entry("boxes-nested.mp4", "2,000 boxes, each within the last", "CorruptMedia",
              good[: good.index(b"mdat") - 4] + nested),
        entry("samples.mp4", "268 million samples of one byte, beyond the end of the file", "CorruptMedia",
              good[: stsz + 8] + b"\0\0\0\1" + huge + good[stsz + 16 :]),
        entry("times.mp4", "a table of 268 million times in a file of a kilobyte", "CorruptMedia|OutOfMemory",
              good[: stts + 8] + huge + good[stts + 12 :]),
        entry("century.mp4", "eight frames in a hundred years", "TooLarge", _century()),
        entry("no-duration.mp4", "lasts 0 seconds by its headers; its frames tell otherwise", "accepted",
              good[:duration] + b"\0\0\0\0" + good[duration + 4 :]),
        entry("fine-clock.mp4", "a thousand million ticks a second", "accepted",
              good[:scale] + struct.pack(">I", 1_000_000_000) + good[scale + 4 :]),
        entry("no-clock.mp4", "no ticks a second: demuxers take one", "accepted",
              good[:scale] + b"\0\0\0\0" + good[scale + 4 :]),
        entry("edits.mp4", "an edit list of 2^28 entries, and one in it", "accepted",
              patched(good, b"elst", 4, huge)),
        entry("edit-nowhere.mp4", "an edit list that begins after the end: nothing is shown", "CorruptMedia",
              patched(good, b"elst", 12, b"\x7f\xff\xff\xff")),
        entry("widest.mp4", "65,535 x 65,535 pixels by its headers, 64 x 48 by its frames", "accepted",
              vp9[:place] + b"\xff" * 4 + vp9[place + 4 :]),
        entry("widest.avi", "20,000 x 10,000 raw pixels", "TooLarge",
              patched(film("avi", "rawvideo"), b"strf", 8, struct.pack("<ii", 20_000, 10_000))),
        entry("no-size.mp4", "0 x 0 pixels by its headers; its frames tell otherwise", "accepted",
              good[:size] + b"\0" * 4 + good[size + 4 :]),
        entry("codec.mp4", "a codec that nobody knows", "CorruptMedia", vp9.replace(b"vp09", b"zzzz")),
        entry("encrypted.mp4", "encrypted, and no key", "CorruptMedia", _encrypted()),
        entry("larger-frame.mov", "frames of 2 megapixels in a film of 64 x 48", "TooLarge", _larger_frame()),
        entry("hidden-size.webm", "frames of 2 megapixels in a film of 64 x 48", "TooLarge", _larger_vp9()),
        entry("cover.mp4", "sound with a cover picture", "CorruptMedia", _sound(cover=True)),
        entry("sound.mp4", "sound alone", "CorruptMedia", _sound()),
        entry("tracks.mp4", "100 tracks of the same frames", "accepted", _many_tracks(good, 100)),
    ]  # fmt: skip


def _century() -> bytes:
    """A clock of one tick a second, and 2^28 ticks to each frame."""
    slow = patched(film("mp4", options={"use_editlist": "0"}), b"mdhd", 12, struct.pack(">I", 1))
    return patched(slow, b"stts", 12, struct.pack(">I", 1 << 28))


def _encrypted() -> bytes:
    good = film("mp4", "libx264")
    start, end = good.index(b"mdat") + 4, good.index(b"moov") - 4
    scrambled = bytes(value ^ 0x5C for value in good[start:end])
    return good[:start] + scrambled + good[end:].replace(b"avc1", b"encv")


def _larger_frame() -> bytes:
    """PNG frames in QuickTime: each says its own size."""
    small, large = film("mov", "png", pixels="rgb24"), film("mov", "png", size=(1500, 1500), pixels="rgb24")
    place = large.index(b"png ", large.index(b"stsd")) + 28
    return large[:place] + small[small.index(b"png ", small.index(b"stsd")) + 28 :][:4] + large[place + 4 :]


def _larger_vp9() -> bytes:
    large = film("webm", "libvpx-vp9", times=(0, 1), size=(1500, 1500))
    return large.replace(b"\xb0\x82\x05\xdc", b"\xb0\x82\x00\x40").replace(b"\xba\x82\x05\xdc", b"\xba\x82\x00\x30")


def _many_tracks(data: bytes, count: int) -> bytes:
    """The track is repeated within the movie box, which stands at the end."""
    at, moov = data.index(b"trak") - 4, data.index(b"moov") - 4
    (size,) = struct.unpack_from(">I", data, at)
    changed = bytearray(data[: at + size] + data[at : at + size] * (count - 1) + data[at + size :])
    (old,) = struct.unpack_from(">I", changed, moov)
    struct.pack_into(">I", changed, moov, old + size * (count - 1))
    return bytes(changed)


def _sound(container: str = "mp4", cover: bool = False, still: bool = False) -> bytes:
    """Half a second of silence; with a picture for a cover, or for a film of one frame."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        sound = output.add_stream("aac", rate=48000)
        picture = None
        if cover:
            picture = output.add_stream("mjpeg", rate=1, width=64, height=48, pix_fmt="yuvj420p")
            picture.disposition = av.stream.Disposition.attached_pic
        if still:
            picture = output.add_stream("mpeg2video", rate=8, width=64, height=48, pix_fmt="yuv420p")
        if picture is not None:
            frame = av.VideoFrame(64, 48, picture.pix_fmt)
            frame.pts = 0
            output.mux(picture.encode(frame) + picture.encode())
        for index in range(20):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 48000, index * 1024
            output.mux(sound.encode(silence))
        output.mux(sound.encode())
    return buffer.getvalue()


def _joined() -> bytes:
    minute = film("mpegts", "mpeg2video", times=range(400))
    return minute + _sound("mpegts", still=True) + minute * 2


def _matroska() -> list[Hostile]:
    good = film("matroska")
    deep = b""
    for _ in range(3000):
        deep = ebml(b"\x45\xb9", deep)  # chapters within chapters
    segment = b"\x18\x53\x80\x67"
    length = good.index(b"\x44\x89\x88")
    return [
        entry("kind.mkv", "an EBML of another kind", "CorruptMedia",
              ebml(b"\x1a\x45\xdf\xa3", ebml(b"\x42\x82", b"whatever")) + b"\0" * 100),
        entry("void.mkv", "a filler that claims 2^56 bytes", "CorruptMedia",
              EBML_HEAD + ebml(segment, ebml(b"\xec", b"\0" * 100, b"\1" + b"\xff" * 6 + b"\xfe"))),
        entry("deep.mkv", "3,000 elements, each within the last", "CorruptMedia",
              EBML_HEAD + ebml(segment, ebml(b"\x10\x43\xa7\x70", deep))),
        entry("eternity.mkv", "claims to last 10^12 seconds; its frames tell otherwise", "accepted",
              good[: length + 3] + struct.pack(">d", 1e15) + good[length + 11 :]),
        entry("never.mkv", "its duration is no number; its frames tell otherwise", "accepted",
              good[: length + 3] + struct.pack(">d", float("nan")) + good[length + 11 :]),
    ]  # fmt: skip


def _streams() -> list[Hostile]:
    generator = random.Random(0)
    noise = b"".join(b"\x47" + generator.randbytes(187) for _ in range(2000))
    small = film("mpegts", "mpeg2video")
    large = film("mpegts", "mpeg2video", size=(160, 96))
    asf = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
    return [
        entry("noise.ts", "packets of a transport stream with noise in them", "CorruptMedia", noise),
        entry("grows.ts", "the frames become larger in the middle; all are scaled to the first", "accepted",
              small + large),
        entry("joins.ts", "a stream of sound joins a minute in, after the headers were taken for complete", "accepted",
              _joined()),
        entry("objects.mpg", "an ASF header of 2^64 - 1 bytes", "CorruptMedia", asf + b"\xff" * 60),
        entry("tags.flv", "an FLV tag longer than the file", "CorruptMedia",
              b"FLV\1\1\0\0\0\x09\0\0\0\0\x09\xff\xff\xff" + b"\0" * 200),
        entry("packs.mpg", "packs of a program stream without end", "CorruptMedia", b"\0\0\1\xba" * 3000),
        entry("chunks.avi", "AVI lists within lists", "CorruptMedia",
              riff(b"AVI ", (b"LIST", b"hdrl" + b"LIST\xff\xff\xff\x7f" * 500))),
    ]  # fmt: skip


def _endless() -> list[Hostile]:
    second = film("mpegts", "mpeg2video")

    def sparse(path: Path) -> None:
        path.write_bytes(film("matroska"))
        with path.open("r+b") as file:
            file.truncate(5 << 30)

    return [
        entry("circle.ts", "one second, 2,000 times over, its clock set back each time", "accepted", second * 2000),
        entry("endless.mkv", "5 GiB of nothing behind a good film", "TooLarge", sparse),
        entry("late.mkv", "a frame after 20 days", "TooLarge", film("matroska", "libx264", times=(0, 8 * 20 * 86400))),
    ]
