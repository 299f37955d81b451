"""What surrounds the first frame of a GIF, as FFmpeg shows it."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from fuseid.core.config import DecodeConfig
from fuseid.encoders.media import decode

from .picture_cases import ffmpeg

COLOURS = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 20, 30, 40])


def gif(*, transparent: int | None, background: int, own: bool, shared: bool = True, interlaced: bool = False) -> bytes:
    """A frame of 10 x 8 at (4, 3) on a canvas of 20 x 16. shared, own: the palette of all frames, and this one's, in
    which the colours are in reverse."""
    head = b"GIF89a" + struct.pack("<HHBBB", 20, 16, 0x81 if shared else 0, background, 0)
    head += COLOURS if shared else b""
    if transparent is not None:
        head += b"\x21\xf9\4" + bytes([1, 0, 0, transparent, 0])
    head += b"," + struct.pack("<HHHHB", 4, 3, 10, 8, (0x81 if own else 0) | (0x40 if interlaced else 0))
    head += COLOURS[::-1] if own else b""
    # Codes of three bits: the table is cleared (4) before it grows; 5 ends.
    codes = [code for index in range(80) for code in ((4, index % 4) if index % 2 == 0 else (index % 4,))]
    packed = sum(code << 3 * index for index, code in enumerate([*codes, 5])).to_bytes(46, "little")
    return head + b"\2" + bytes([len(packed)]) + packed + b"\0;"


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("background", [0, 2, 200])
@pytest.mark.parametrize(("shared", "own"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("transparent", [None, 1])
def test_the_surroundings_are_the_background(tmp_path, transparent, shared, own, background, interlaced):
    data = gif(transparent=transparent, background=background, own=own, shared=shared, interlaced=interlaced)
    (tmp_path / "small.gif").write_bytes(data)
    found = decode(str(tmp_path / "small.gif"), "image", DecodeConfig()).frames[0]
    if background < 4:
        assert np.array_equal(found, ffmpeg(data))
    elif transparent is None:
        assert (found[0, 0] == 255).all()
