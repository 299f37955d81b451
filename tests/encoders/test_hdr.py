"""Films of high dynamic range come out as the standard picture that FFmpeg's zscale made them from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.config import DecodeConfig, SamplingConfig
from fuseid.encoders.hdr import TRANSFERS, sdr_of
from fuseid.encoders.media import decode

from .films import HEIGHT, WIDTH, ffmpeg, picture

BARS = ["-f", "lavfi", "-i", f"smptehdbars=s={WIDTH}x{HEIGHT}:r=10:d=0.5"]
# The white of a page, 1.0 in sRGB, is shown with 203 cd/m2 (BT.2408).
TO_HDR = "format=gbrp,zscale=tin=iec61966-2-1:pin=bt709:min=gbr:rin=full:t={}:p={}:m=bt2020nc:r=limited:npl=203"
TRANSFER_NAMES = ("smpte2084", "arib-std-b67")
PRIMARIES = {"bt2020": 9, "smpte432": 12}


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("primaries", PRIMARIES)
@pytest.mark.parametrize("transfer", TRANSFER_NAMES)
@pytest.mark.parametrize("source", [BARS, picture(0.5)], ids=["bars", "picture"])
def test_a_film_of_high_dynamic_range_looks_like_its_standard_version(tmp_path, source, transfer, primaries, decoder):
    path = tmp_path / "film.mkv"
    if transfer == "arib-std-b67":  # zscale applies the display's part per channel, BT.2100 by luminance: only grey
        source = [*source[:-1], source[-1] + ",hue=s=0"]
    convert = TO_HDR.format(transfer, primaries) + ",format=yuv444p10le"
    ffmpeg(*source, "-vf", convert, "-c:v", "libx265", "-x265-params", "log-level=none:lossless=1", path)
    standard = np.frombuffer(ffmpeg(*source, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8)
    config = DecodeConfig(sampling=SamplingConfig(method="fps", frames=1), video_decoder=decoder)
    decoded = decode(str(path), "video", config).frames[0].astype(int)
    # Linear light of up to 0.75, which is 225 in sRGB, stays as it is.
    below = standard.reshape(decoded.shape).max(-1) < 225
    assert below.mean() > 0.2
    assert np.percentile(np.abs(decoded - standard.reshape(decoded.shape))[below], 90) <= 4


@given(st.lists(st.floats(0.01, 0.7), min_size=3, max_size=3))
def test_hlg_is_decoded_for_the_display_of_bt2100(light):
    """Colours in BT.709 light, 1.0 for 203 cd/m2, encoded by the formulas of BT.2100."""
    to_bt2020 = np.array(((0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956)))  # BT.2087
    display = to_bt2020 @ np.array(light) * 203 / 1000
    scene = display * (display @ (0.2627, 0.6780, 0.0593)) ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)
    shown = sdr_of((signal * 65535 + 0.5).astype(np.uint16).reshape(1, 1, 3), 18, 9)[0, 0].astype(int)
    expected = 255 * (1.055 * np.array(light) ** (1 / 2.4) - 0.055)
    assert np.abs(shown - expected).max() <= 2


@pytest.mark.parametrize("transfer", sorted(TRANSFERS))
def test_greys_stay_grey_and_ascend(transfer):
    signal = np.repeat(np.arange(0, 1 << 16, 37, dtype=np.uint16)[None, :, None], 3, 2)
    shown = sdr_of(signal, transfer, 9).astype(int)
    assert np.ptp(shown, axis=-1).max() <= 1
    assert (np.diff(shown[0, :, 1]) >= 0).all()
    assert shown[0, 0, 0] == 0
    assert shown[0, -1, 0] > 230


@given(st.lists(st.integers(0, 0xFFFF), min_size=3, max_size=3), st.sampled_from(sorted(TRANSFERS)))
def test_the_order_of_the_channels_stays(colour, transfer):
    shown = sdr_of(np.array(colour, np.uint16).reshape(1, 1, 3), transfer, 1)[0, 0].astype(int)
    assert (np.diff(shown[np.argsort(colour)]) >= 0).all()
