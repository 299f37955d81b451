"""Hostile references: disguised playlists, and videos whose data is in other files.

The address in their bytes is that of a server that must not be asked for anything (`make_hostile` puts it there).
"""

from __future__ import annotations

import struct

import av

from .hostile_bytes import ADDRESS, EBML_HEAD, Hostile, box, ebml, entry, film, riff


def references() -> list[Hostile]:
    return [*_playlists(), *_references()]


def _playlists() -> list[Hostile]:
    hls = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:65535/hls.ts\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    dash = b"<?xml version='1.0'?><MPD type='static'><BaseURL>http://127.0.0.1:65535/dash/</BaseURL></MPD>"
    texts = {
        "hls.mp4": ("HLS", hls),
        "hls.ts": ("HLS", hls),
        "hls-mark.mkv": ("HLS behind a byte-order mark", b"\xef\xbb\xbf" + hls),
        "concat.mkv": ("FFmpeg's", b"ffconcat version 1.0\nfile 'http://127.0.0.1:65535/c.mp4'\nfile /etc/passwd\n"),
        "dash.mp4": ("DASH", dash),
        "session.avi": ("SDP", b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"),
        "list.mov": ("PLS", b"[playlist]\nFile1=http://127.0.0.1:65535/pls.mp4\nNumberOfEntries=1\n"),
        "smil.mp4": ("SMIL", b'<smil><body><video src="http://127.0.0.1:65535/smil.mp4"/></body></smil>'),
        "asx.mpg": ("ASX", b'<asx version="3.0"><entry><ref href="http://127.0.0.1:65535/asx.wmv"/></entry></asx>'),
        "link.mov": ("QuickTime media link",
                     b'<?quicktime type="application/x-quicktime-media-link"?><embed src="http://127.0.0.1:65535/q"/>'),
        "rtsp.mov": ("QuickTime's address in a text", b"rtsptextrtsp://127.0.0.1/x\r\n"),
        "script.avi": ("AviSynth script", b'AviSource("http://127.0.0.1:65535/avs.avi")\n'),
    }  # fmt: skip
    return [entry(name, f"{what}: no container, so FFmpeg never sees it", "Unrecognised", data)
            for name, (what, data) in texts.items()]  # fmt: skip


def _references() -> list[Hostile]:
    """Videos whose frames are in another file: nothing else is opened, so there are no frames."""
    good = film("mov")
    moov = good[good.index(b"moov") - 4 :]
    no_data = good[: good.index(b"mdat") - 4] + moov  # its chunks now point beyond the end
    local = no_data.index(b"url \0\0\0\1")  # flag 1: the data is in this file
    address = ADDRESS + b"/dref"
    url = _with_reference(no_data, local, box(b"url ", b"\0\0\0\0" + address + b"\0"))
    alias = _with_reference(no_data, local, box(b"alis", b"\0\0\0\0" + _alias(b"/etc/passwd")))
    elsewhere = b"\0\0\0\0url " + struct.pack(">I", len(ADDRESS) + 6) + ADDRESS + b"/rmra\0"
    reference = box(b"moov", box(b"rmra", box(b"rmda", box(b"rdrf", elsewhere))))
    subtitles = b"GAB2\0\2\0" + struct.pack("<I", 2) + b"x\0" + b"\4\0" + struct.pack("<I", 84)
    subtitles += b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nhttp://127.0.0.1:65535/gab2\n#EXT-X-ENDLIST\n"
    avi = film("avi")
    return [
        entry("data-url.mov", "its frames are at an address", "CorruptMedia", url),
        entry("data-alias.mov", "its frames are in another file", "CorruptMedia", alias),
        entry("reference.mov", "a reference movie: only an address", "CorruptMedia",
              box(b"ftyp", b"qt  \0\0\0\0qt  ") + reference),
        entry("subtitles.avi", "a playlist as subtitles, which are not read", "accepted",
              _with_subtitles(avi, subtitles)),
        entry("linked.mkv", "a segment that continues in another file", "CorruptMedia", _linked_segment()),
        entry("attachments.mkv", "a font and a playlist attached", "accepted", _with_attachments()),
        entry("clip%03d.mp4", "a name that FFmpeg could read as a pattern of names", "accepted", film("mp4")),
    ]  # fmt: skip


def _with_reference(data: bytes, place: int, replacement: bytes) -> bytes:
    """`data` with the box whose name stands at `place` replaced, and the sizes of the boxes around it corrected."""
    start = place - 4
    (size,) = struct.unpack_from(">I", data, start)
    changed = bytearray(data[:start] + replacement + data[start + size :])
    for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        at = changed.rindex(name, 0, start) - 4
        (old,) = struct.unpack_from(">I", changed, at)
        struct.pack_into(">I", changed, at, old + len(replacement) - size)
    return bytes(changed)


def _alias(path: bytes) -> bytes:
    """A Macintosh alias record of version 2, with the path as its POSIX name (type 18)."""
    record = b"\0\0\0\0\0\0\0\2" + b"\0" * 142
    return record + struct.pack(">HH", 18, len(path)) + path + b"\0" * (len(path) % 2) + b"\xff\xff\0\0"


def _with_subtitles(avi: bytes, data: bytes) -> bytes:
    """A second stream, of text, is added to the headers of an AVI, and its one packet before the first frame."""
    header = b"txts" + b"\0" * 16 + struct.pack("<II", 1, 1) + b"\0" * 4 + struct.pack("<I", 1) + b"\0" * 20
    stream = riff(b"strl", (b"strh", header), (b"strf", b"\0" * 4)).replace(b"RIFF", b"LIST", 1)
    at = avi.index(b"strl") - 8
    (length,) = struct.unpack_from("<I", avi, at + 4)
    end = at + 8 + length
    changed = bytearray(avi[:end] + stream + avi[end:])
    hdrl = changed.index(b"hdrl") - 8
    struct.pack_into("<I", changed, hdrl + 4, struct.unpack_from("<I", changed, hdrl + 4)[0] + len(stream))
    struct.pack_into("<I", changed, changed.index(b"avih") + 8 + 24, 2)
    movi = changed.index(b"movi") + 4
    packet = b"01tx" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    changed[movi:movi] = packet
    struct.pack_into("<I", changed, movi - 8, struct.unpack_from("<I", changed, movi - 8)[0] + len(packet))
    return bytes(changed)


def _linked_segment() -> bytes:
    info = ebml(b"\x73\xa4", b"\1" * 16) + ebml(b"\x3e\xb9\x23", b"\2" * 16) + ebml(b"\x3e\x83\xbb", b"next.mkv")
    return EBML_HEAD + ebml(b"\x18\x53\x80\x67", ebml(b"\x15\x49\xa9\x66", info))


def _with_attachments() -> bytes:
    def attach(output: av.container.OutputContainer) -> None:
        output.add_attachment("font.ttf", "application/x-truetype-font", b"\0\1\0\0" + b"\xff" * 2000)
        output.add_attachment(
            "list.m3u8", "application/x-mpegurl", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:65535/attached\n"
        )

    return film("matroska", then=attach)
