"""The header of a JPEG XL picture (ISO/IEC 18181-1): its size, before a pixel is decoded, and what samples mean."""

from __future__ import annotations

from dataclasses import dataclass

_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_CODESTREAM = b"\xff\x0a"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
# Distributions of numbers: (bits, offset) for each of four selectors.
_SIZE = ((9, 1), (13, 1), (18, 1), (30, 1))
_ENUM = ((0, 0), (0, 1), (4, 2), (6, 18))
_INTEGER_BITS, _FLOAT_BITS = ((0, 8), (0, 10), (0, 12), (6, 1)), ((0, 32), (0, 16), (0, 24), (6, 1))
_EXTRAS, _SHIFT = ((0, 0), (0, 1), (4, 2), (12, 1)), ((0, 0), (0, 3), (0, 4), (3, 1))
_NAME, _CFA = ((0, 0), (4, 0), (5, 16), (10, 48)), ((0, 1), (2, 0), (4, 3), (8, 19))
# Of an animation: ticks per second as a fraction, and the number of loops.
_TICKS = (
    ((0, 100), (0, 1000), (10, 1), (30, 1)),
    ((0, 1), (0, 1001), (8, 1), (10, 1)),
    ((0, 0), (3, 0), (16, 0), (32, 0)),
)
_ALPHA, _SPOT, _BLACK, _CFA_CHANNEL = 0, 2, 4, 5
_RGB, _GREY, _XYB, _CUSTOM = 0, 1, 2, 2


@dataclass(frozen=True, slots=True)
class JxlHeader:
    """width, height: pixels as shown. bits: per sample. cicp: primaries, transfer function, matrix and range, None for
    sRGB. has_profile: an ICC profile says instead. premultiplied: colours are multiplied by alpha. black: it has a
    channel of black ink."""

    width: int
    height: int
    bits: int = 8
    cicp: tuple[int, ...] | None = None
    has_profile: bool = False
    premultiplied: bool = False
    black: bool = False


def read_header(data: bytes) -> JxlHeader:
    """Raises ValueError for a header that is damaged or cut."""
    bits = _Bits(_codestream(data))
    if bits.take(16) != 0x0AFF:
        raise ValueError("no codestream begins where it should")
    width, height = _size(bits)
    if bits.flag():
        return JxlHeader(width, height)
    orientation = 1
    if bits.flag():
        orientation = bits.take(3) + 1
        if bits.flag():
            _size(bits)
        if bits.flag():
            raise ValueError("it has a preview, which is not read")
        if bits.flag():
            _animation(bits)
    if orientation > 4:
        width, height = height, width
    depth = _depth(bits)
    bits.take(1)
    premultiplied = black = False
    for _ in range(bits.number(_EXTRAS)):
        kind, associated = _extra(bits)
        premultiplied, black = premultiplied or associated, black or kind == _BLACK
    bits.take(1)
    has_profile, cicp = _colours(bits)
    return JxlHeader(width, height, depth, cicp, has_profile, premultiplied, black)


def _codestream(data: bytes) -> bytes:
    """The beginning of the codestream, which a container may hold whole (`jxlc`) or in parts (`jxlp`)."""
    if not data.startswith(_CONTAINER):
        return data[:4096]
    place = len(_CONTAINER)
    while place + 8 <= len(data):
        length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        start = place + 8
        if length == 1:
            length, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        if name in (b"jxlc", b"jxlp"):
            start += 4 if name == b"jxlp" else 0
            return data[start : start + 4096]
        if length < 8:
            break
        place += length
    raise ValueError("its container holds no codestream")


class _Bits:
    """Numbers from the lowest bit on."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise ValueError("the header is cut")
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return taken

    def flag(self) -> bool:
        return self.take(1) == 1

    def number(self, distribution: tuple[tuple[int, int], ...]) -> int:
        count, offset = distribution[self.take(2)]
        return self.take(count) + offset


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.flag()
    height = 8 * (bits.take(5) + 1) if small else bits.number(_SIZE)
    if ratio := bits.take(3):
        across, down = _RATIOS[ratio - 1]
        return height * across // down, height
    return (8 * (bits.take(5) + 1) if small else bits.number(_SIZE)), height


def _animation(bits: _Bits) -> None:
    for distribution in _TICKS:
        bits.number(distribution)
    bits.take(1)


def _depth(bits: _Bits) -> int:
    if not bits.flag():
        return bits.number(_INTEGER_BITS)
    depth = bits.number(_FLOAT_BITS)
    bits.take(4)
    return depth


def _extra(bits: _Bits) -> tuple[int, bool]:
    """(kind, whether it is alpha by which colours are multiplied) of a channel beside the colours."""
    if bits.flag():
        return _ALPHA, False
    kind = bits.number(_ENUM)
    _depth(bits)
    bits.number(_SHIFT)
    bits.take(8 * bits.number(_NAME))
    associated = kind == _ALPHA and bits.flag()
    if kind == _SPOT:
        bits.take(64)
    elif kind == _CFA_CHANNEL:
        bits.number(_CFA)
    return kind, associated


def _colours(bits: _Bits) -> tuple[bool, tuple[int, ...] | None]:
    """(whether a profile follows, primaries and transfer function as in CICP)."""
    if bits.flag():
        return False, None
    if bits.flag():
        return True, None
    space = bits.number(_ENUM)
    if space == _XYB:
        return False, None
    if bits.number(_ENUM) == _CUSTOM:
        raise ValueError("its white point is given by numbers, which are not read")
    primaries = 1
    if space != _GREY and (primaries := bits.number(_ENUM)) == _CUSTOM:
        raise ValueError("its primaries are given by numbers, which are not read")
    if bits.flag():
        raise ValueError("its transfer function is a power, which is not read")
    # Display P3 is 11 here, and 12 in CICP; a white point other than D65 is not looked at.
    return False, (12 if primaries == 11 else primaries, bits.number(_ENUM), 0, 1)
