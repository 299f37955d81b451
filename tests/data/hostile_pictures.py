"""Hostile pictures: damaged, with false headers, or made to be expensive to decode."""

from __future__ import annotations

import random
import struct
import zlib

import imagecodecs
import numpy as np
from PIL import Image

from .heic_files import heic
from .hostile_bytes import Hostile, box, chunk, entry, picture, png, riff, saved, segment, tiff

SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "AVIF": "avif", "TIFF": "tif", "BMP": "bmp"}


def pictures() -> list[Hostile]:
    return [
        *_cut(),
        *_mislabelled(),
        *_png(),
        *_jpeg(),
        *_gif(),
        *_tiff(),
        *_bmp(),
        *_webp(),
        *_isobmff(),
        *_heic(),
        *_jxl(),
    ]


def _cut() -> list[Hostile]:
    noise = Image.effect_noise((200, 150), 90).convert("RGB")
    found = []
    for format, suffix in SUFFIXES.items():
        whole = saved(format, noise)
        for share in (0.03, 0.5, 0.95):
            what = f"{format} that ends after {share:.0%} of its bytes"
            data = whole[: max(24, int(share * len(whole)))]
            found.append(entry(f"cut-{round(100 * share)}.{suffix}", what, "CorruptMedia", data))
        data = random.Random(suffix).randbytes(2000)
        found.append(entry(f"random.{suffix}", "random bytes", "Unrecognised", data))
    return found


def _mislabelled() -> list[Hostile]:
    svg = b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "http://127.0.0.1:65535/entity">]><svg><text>&x;</text></svg>'
    psd = b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + b"\0" * 300
    texts = {
        "empty.png": ("no bytes at all", "CorruptMedia", b""),
        "one-byte.jpg": ("one byte", "Unrecognised", b"\xff"),
        "page.jpg": ("a web page, as servers send with status 200", "Unrecognised", b"<!DOCTYPE html><html>" * 50),
        "answer.png": ("JSON", "Unrecognised", b'{"error": "not found"}'),
        "drawing.png": ("SVG with an external entity", "Unrecognised", svg),
        "paper.jpg": ("PDF", "Unrecognised", b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"),
        "print.jpg": ("EPS, which Pillow would hand to Ghostscript", "Unrecognised",
                      b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(%pipe%touch owned) (w) file\n"),
        "layers.tif": ("Photoshop", "Unrecognised", psd),
        "archive.png": ("ZIP", "Unrecognised", b"PK\3\4" + b"\0" * 60),
        "playlist.jpg": ("HLS playlist", "Unrecognised", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:65535/picture-list\n"),
        "bitmap.bmp": ("a text that begins with BM", "Unrecognised", b"BM is how this text begins. " * 20),
        "icon.bmp": ("ICO", "Unrecognised", b"\0\0\1\0\1\0" + b"\x10\x10\0\0\1\0\x20\0" + b"\0" * 80),
    }  # fmt: skip
    return [
        *(entry(name, what, expected, data) for name, (what, expected, data) in texts.items()),
        entry("really-png.jpg", "PNG under another name: the bytes decide", "accepted", saved("PNG")),
        entry("tail.png", "PNG with an archive behind its end, which is not looked at", "accepted",
              saved("PNG") + b"PK\3\4" * 1000),
    ]  # fmt: skip


def _png() -> list[Hostile]:
    bomb = zlib.compress(b"\0" * (64 << 20), 9)
    grey = png(colour=3, extra=chunk(b"PLTE", b"\xff\0\0"), data=zlib.compress((b"\0" + b"\x09" * 8) * 8))
    good = png()
    frames = b"".join(
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 2 * i + 1, 8, 8, 0, 0, 0, 0, 0, 0))
        + chunk(b"fdAT", struct.pack(">I", 2 * i + 2) + zlib.compress((b"\0" * 25) * 8))
        for i in range(5000)
    )
    control = chunk(b"acTL", struct.pack(">II", 5001, 0)) + chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 8, *[0] * 6))
    animated = png(extra=control).replace(chunk(b"IEND", b""), frames + chunk(b"IEND", b""))
    pixels = zlib.compress((b"\0" * 25) * 8, 0)
    flipped = png(data=pixels[:20] + bytes([pixels[20] ^ 1]) + pixels[21:])
    return [
        entry("gigapixel.png", "header of 100,000 x 100,000 pixels", "TooLarge", png(100_000, 100_000, data=b"x")),
        entry("widest.png", "header of 2^31 - 1 squared pixels", "TooLarge", png(2**31 - 1, 2**31 - 1, data=b"x")),
        entry("no-width.png", "0 x 8 pixels, which PNG forbids", "CorruptMedia", png(0, 8)),
        entry("header-sum.png", "check sum of the header is wrong", "CorruptMedia", good.replace(good[29:33], b"sum!")),
        entry("flipped-bit.png", "a bit of the pixels is flipped: their check sums tell", "CorruptMedia", flipped),
        entry("depth.png", "bit depth 7, which there is not", "CorruptMedia", png(depth=7)),
        entry("no-pixels.png", "pixels for one row of eight, well packed: the others are black", "accepted",
              png(data=zlib.compress(b"\0" * 25))),
        entry("chunk-length.png", "pixels that claim 2 GiB; the picture is full before they end", "accepted",
              good[:33] + b"\x7f\xff\xff\xff" + good[37:]),
        entry("bomb-pixels.png", "64 MiB packed behind 8 x 8 pixels; what is beyond the picture is not unpacked",
              "accepted", png(data=bomb)),
        entry("bomb-text.png", "a text chunk that unpacks to 64 MiB, and is not unpacked", "accepted",
              png(extra=chunk(b"zTXt", b"k\0\0" + bomb))),
        entry("bomb-profile.png", "a colour profile that unpacks to 64 MiB, more than is used", "accepted",
              png(extra=chunk(b"iCCP", b"k\0\0" + bomb))),
        entry("bomb-texts.png", "a hundred text chunks of a megabyte each", "accepted",
              png(extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 1_000_000)) * 100)),
        entry("palette.png", "colours beyond the end of the palette, which decoders show as black", "accepted", grey),
        entry("frames.png", "5,001 frames; the first is the picture", "accepted", animated),
        entry("interlaced.png", "interlaced, and cut within the third pass", "CorruptMedia",
              png(64, 64, interlace=1, data=zlib.compress(b"\0" * 2000)[:12])),
    ]  # fmt: skip


def _progressive_bomb() -> bytes:
    """1400 x 1400 pixels refined in scan after scan, each of which visits every block for a few bytes."""
    table = segment(0xDB, b"\0" + b"\1" * 64)
    frame = segment(0xC2, struct.pack(">BHHB", 8, 1400, 1400, 1) + b"\1\x11\0")
    # One code of one bit each: DC difference 0, and for AC a run of 2^14 blocks without coefficients (EOB14).
    tables = segment(0xC4, b"\0" + b"\1" + b"\0" * 15 + b"\0") + segment(0xC4, b"\x10" + b"\1" + b"\0" * 15 + b"\xe0")
    blocks = 175 * 175
    first = segment(0xDA, b"\1\1\0\0\0\1") + b"\0" * (blocks // 8)
    runs = -(-blocks // (1 << 14))
    bits = "".join("0" + "0" * 14 for _ in range(runs + 1))
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "1"), 2).to_bytes(-(-len(bits) // 8), "big")
    more = segment(0xDA, b"\1\1\0\1\x3f\1") + packed
    again = segment(0xDA, b"\1\1\0\1\x3f\x10") + packed
    return b"\xff\xd8" + table + frame + tables + first + more + again * 60_000 + b"\xff\xd9"


def _jpeg() -> list[Hostile]:
    good = saved("JPEG", quality=90)
    place = good.index(b"\xff\xc0") + 5
    tables = good.index(b"\xff\xc4")
    exif = Image.Exif()
    exif[0x0112] = 99
    # A directory whose link to the next one, and whose pointer to the Exif part, both lead to itself.
    loop = b"Exif\0\0" + tiff([(0x0112, 3, 1, 6), (0x8769, 4, 1, 8)], after=8)
    cmyk = saved("JPEG", picture().convert("CMYK"))
    adobe = cmyk.index(b"\xff\xee")
    without = cmyk[:adobe] + cmyk[adobe + 16 :]
    return [
        entry("widest.jpg", "header of 65,535 x 65,535 pixels", "TooLarge",
              good[:place] + b"\xff\xff\xff\xff" + good[place + 4 :]),
        entry("no-height.jpg", "height 0, to be given later, which decoders refuse", "CorruptMedia",
              good[:place] + b"\0\0" + good[place + 2 :]),
        entry("huffman.jpg", "a Huffman table with more codes than fit", "CorruptMedia",
              good[: tables + 5] + b"\xff" * 16 + good[tables + 21 :]),
        entry("no-end.jpg", "no marker at the end, as in a download that broke off", "CorruptMedia", good[:-2]),
        entry("scans.jpg", "60,000 progressive scans over 2 megapixels", "DecodeTimeout", _progressive_bomb()),
        entry("orientation.jpg", "EXIF orientation 99: shown as stored", "accepted", saved("JPEG", exif=exif)),
        entry("exif-loop.jpg", "EXIF directories in a circle", "accepted", good[:2] + segment(0xE1, loop) + good[2:]),
        entry("cmyk.jpg", "four inks and no Adobe marker to explain them", "accepted", without),
        entry("marker-length.jpg", "a segment that claims to be longer than the file", "CorruptMedia",
              good[:2] + b"\xff\xe1\xff\xff" + good[6:300]),
        entry("headers-only.jpg", "tables and no picture", "CorruptMedia",
              good[: good.index(b"\xff\xda")] + b"\xff\xd9"),
    ]  # fmt: skip


def _gif() -> list[Hostile]:
    def screen(width: int, height: int) -> bytes:
        return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\xff\0\0\0\0\xff"

    def frame(left: int, top: int, width: int, height: int) -> bytes:
        return b"," + struct.pack("<HHHHB", left, top, width, height, 0) + b"\2\2\x44\1\0"

    one = b"!\xf9\4\0\0\0\0\0" + frame(0, 0, 1, 1)
    return [
        entry("frames.gif", "100,000 frames without delay; the first is the picture", "accepted",
              screen(1, 1) + one * 100_000 + b";"),
        entry("outside.gif", "a frame beyond the canvas, which grows to hold it", "accepted",
              screen(2, 2) + frame(5, 5, 1, 1) + b";"),
        entry("large-frame.gif", "a frame of 65,535 x 65,535 pixels on a canvas of one", "TooLarge",
              screen(1, 1) + frame(0, 0, 65535, 65535) + b";"),
        entry("large-canvas.gif", "a canvas of 65,535 x 65,535 pixels", "TooLarge", screen(65535, 65535) + one + b";"),
        entry("no-frame.gif", "no frame", "CorruptMedia", screen(8, 8) + b";"),
        entry("bad-code.gif", "a code that the table cannot hold", "CorruptMedia",
              screen(8, 8) + b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\2\3\xff\xff\xff\0;"),
    ]  # fmt: skip


def _tiff() -> list[Hostile]:
    def grey(width: int, height: int, **change: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
        entries = {
            "width": (256, 4, 1, width), "height": (257, 4, 1, height), "bits": (258, 3, 1, 8),
            "packing": (259, 3, 1, 1), "photometric": (262, 3, 1, 1), "offset": (273, 4, 1, 122),
            "rows": (278, 4, 1, height), "bytes": (279, 4, 1, width * height),
        }  # fmt: skip
        return list((entries | change).values())

    pixels = b"\x80" * 200
    return [
        entry("circle.tif", "the next directory is this one; the first page is the picture", "accepted",
              tiff(grey(8, 8), after=8, tail=pixels)),
        entry("nowhere.tif", "its first directory lies beyond the end", "CorruptMedia",
              b"II*\0\xf0\xff\xff\xff" + pixels),
        entry("gigapixel.tif", "2^31 x 2^31 pixels", "TooLarge",
              tiff(grey(2**31, 2**31 - 1, bytes=(279, 4, 1, 1)), tail=pixels)),
        entry("strip-beyond.tif", "its pixels lie beyond the end", "CorruptMedia",
              tiff(grey(8, 8, offset=(273, 4, 1, 0xFFFFFF00)), tail=pixels)),
        entry("strip-bytes.tif", "a strip of 4 GiB, packed", "CorruptMedia",
              tiff(grey(8, 8, bytes=(279, 4, 1, 0xFFFFFFFF), packing=(259, 3, 1, 5)), tail=pixels)),
        entry("tag-count.tif", "a tag of 2^31 values", "CorruptMedia",
              tiff([*grey(8, 8, offset=(273, 4, 2**31, 122))], tail=pixels)),
        entry("packing.tif", "a packing that there is not", "CorruptMedia",
              tiff(grey(8, 8, packing=(259, 3, 1, 9999)), tail=pixels)),
        entry("big-circle.tif", "BigTIFF whose directory claims 2^60 entries", "CorruptMedia",
              b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60) + pixels),
    ]  # fmt: skip


def _bmp() -> list[Hostile]:
    def bitmap(width: int, height: int, bits: int = 24, packing: int = 0, colours: int = 0) -> bytes:
        header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, packing, 0, 0, 0, colours, 0)
        return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + header + b"\x40" * 400

    return [
        entry("top-down.bmp", "negative height: the rows begin at the top", "accepted", bitmap(8, -8)),
        entry("gigapixel.bmp", "2^31 - 1 squared pixels", "TooLarge", bitmap(2**31 - 1, 2**31 - 1)),
        entry("lowest.bmp", "height -2^31", "TooLarge", bitmap(8_000, -(2**31))),
        entry("no-width.bmp", "no width", "CorruptMedia", bitmap(0, 8)),
        entry("bits.bmp", "77 bits per pixel", "CorruptMedia", bitmap(8, 8, bits=77)),
        entry("colours.bmp", "a palette of 2^31 colours", "CorruptMedia", bitmap(8, 8, bits=8, colours=2**31 - 1)),
        entry("packing.bmp", "a packing that there is not", "CorruptMedia", bitmap(8, 8, packing=99)),
    ]


def _webp() -> list[Hostile]:
    def extended(width: int, height: int, flags: int = 2) -> tuple[bytes, bytes]:
        return b"VP8X", struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(
            3, "little"
        )

    moving = [picture(16, 16).rotate(i) for i in range(200)]
    good = saved("WEBP", lossless=True)
    return [
        entry("frames.webp", "200 frames; the first is the picture", "accepted",
              saved("WEBP", moving[0], save_all=True, append_images=moving[1:], duration=1)),
        entry("large-canvas.webp", "a canvas of 16,384 x 16,384 pixels around an animation", "TooLarge",
              riff(b"WEBP", extended(16384, 16384), (b"ANIM", b"\0" * 6))),
        entry("widest.webp", "a canvas of 2^24 x 2^24 pixels", "TooLarge", riff(b"WEBP", extended(1 << 24, 1 << 24))),
        entry("lossless-header.webp", "16,384 x 16,384 pixels in a lossless header", "TooLarge",
              riff(b"WEBP", (b"VP8L", b"\x2f\xff\xff\xff\x0f" + b"\0" * 50))),
        entry("no-picture.webp", "no picture chunk", "CorruptMedia", riff(b"WEBP", (b"VP8 ", b""))),
        entry("longer.webp", "a container that claims 4 GiB", "CorruptMedia",
              good[:4] + b"\xf0\xff\xff\xff" + good[8 : len(good) // 2]),
    ]  # fmt: skip


def _isobmff() -> list[Hostile]:
    good = saved("AVIF")
    size = good.index(b"ispe") + 8
    grid = good.replace(b"av01", b"grid", 1)
    return [
        entry("widest.avif", "65,535 x 65,535 pixels", "TooLarge",
              good[:size] + b"\0\0\xff\xff" * 2 + good[size + 8 :]),
        entry("large.avif", "4,000 x 4,000 pixels by its boxes", "TooLarge",
              good[:size] + struct.pack(">II", 4000, 4000) + good[size + 8 :]),
        entry("boxes.avif", "a box that claims 2 GiB", "CorruptMedia",
              good.replace(good[good.index(b"meta") - 4 : good.index(b"meta")], b"\x7f\xff\xff\xff", 1)),
        entry("grid.avif", "a grid of tiles that are not there", "CorruptMedia", grid),
        entry("brand-only.avif", "the brand and nothing else", "CorruptMedia",
              box(b"ftyp", b"avif\0\0\0\0avifmif1") + b"\0" * 20),
        entry("phone.avif", "the brand of HEIC and nothing else", "CorruptMedia",
              box(b"ftyp", b"heic\0\0\0\0mif1heic") + b"\0" * 200),
    ]  # fmt: skip


def _heic() -> list[Hostile]:
    good = heic(np.asarray(picture()))
    size = good.index(b"ispe") + 8
    coded = good.index(b"mdat") + 4
    profile = saved("JPEG", icc_profile=b"no profile" * 1000)
    return [
        entry("good.heic", "a good one", "accepted", good),
        entry("cut.heic", "HEIC that ends after its boxes", "CorruptMedia", good[: coded + 20]),
        entry("widest.heic", "65,535 x 65,535 pixels by its boxes", "TooLarge",
              good[:size] + b"\0\0\xff\xff" * 2 + good[size + 8 :]),
        entry("grid.heic", "a grid of tiles that are not there", "CorruptMedia", good.replace(b"hvc1", b"grid", 1)),
        entry("itself.heic", "a picture derived from itself", "CorruptMedia", good.replace(b"hvc1", b"iden", 1)),
        entry("boxes.heic", "a box that claims 2 GiB", "CorruptMedia",
              good.replace(good[good.index(b"meta") - 4 : good.index(b"meta")], b"\x7f\xff\xff\xff", 1)),
        entry("nowhere.heic", "pixels beyond the end of the file", "CorruptMedia", _moved(good)),
        entry("noise.heic", "noise in place of the coded picture", "CorruptMedia|accepted",
              good[: coded + 8] + random.Random(0).randbytes(len(good) - coded - 8)),
        entry("profile.jpg", "bytes that are no colour profile", "accepted", profile),
    ]  # fmt: skip


def _moved(data: bytes) -> bytes:
    place = data.index(b"iloc") + 18
    return data[:place] + b"\x7f\0\0\0" + data[place + 4 :]


def _jxl() -> list[Hostile]:
    good = imagecodecs.jpegxl_encode(np.asarray(picture()), lossless=True)
    # 2^30 rows of as many pixels: the size in 30 bits, and the same size by its ratio.
    widest = b"\xff\x0a" + (0b001 << 33 | (2**30 - 1) << 3 | 0b110).to_bytes(5, "little") + good[8:]
    return [
        entry("good.jxl", "a good one", "accepted", good),
        entry("cut.jxl", "JPEG XL that ends in its middle", "CorruptMedia", good[: len(good) // 2]),
        entry("header.jxl", "two bytes", "CorruptMedia", good[:2]),
        entry("widest.jxl", "2^30 x 2^30 pixels by its header", "TooLarge", widest),
        entry("noise.jxl", "noise behind the header", "CorruptMedia|accepted|TooLarge|Unrecognised|OutOfMemory",
              good[:12] + random.Random(0).randbytes(2000)),
        entry("boxes.jxl", "a box in the container that claims 4 GiB", "CorruptMedia",
              b"\0\0\0\x0cJXL \r\n\x87\n" + b"\xff\xff\xff\xfffree" + good),
        entry("endless.jxl", "boxes of no length", "CorruptMedia", b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\0free" * 9),
    ]  # fmt: skip
