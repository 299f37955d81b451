"""Colours, transparency and ranges come out as FFmpeg shows them, or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.config import DecodeConfig, SamplingConfig
from fuseid.core.errors import CorruptMedia
from fuseid.core.records import Decoded
from fuseid.encoders.media import decode
from fuseid.encoders.picture_colour import HDR, from_cicp
from fuseid.encoders.video_frames import to_rgb

from .films import HEIGHT, RATE, WIDTH, ffmpeg, picture, shown

ONE = picture(0.5)
BARS = ["-f", "lavfi", "-i", f"smptehdbars=s={WIDTH}x{HEIGHT}:r={RATE}:d=0.5"]
LOSSLESS = ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "0"]


def first_frame(path: Path, decoder: str = "pyav", **how) -> Decoded:
    sampling = SamplingConfig(method="fps", frames=1)
    return decode(str(path), "video", DecodeConfig(sampling=sampling, video_decoder=decoder, **how))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Of three quarters of all samples, the most: at the edges, colours of fewer samples than pixels depend on the
    filter, which is not the subject here."""
    return float(np.percentile(np.abs(one.astype(int) - other), 75))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "pixels", ["yuv420p", *(pytest.param(each, marks=SLOW) for each in ("yuv422p10le", "yuv444p"))]
)
@pytest.mark.parametrize("values", ["tv", "pc"])
@pytest.mark.parametrize("matrix", ["smpte170m", "bt470bg", "bt709", "bt2020nc", "fcc", "smpte240m"])
def test_each_matrix_and_range_gives_the_colours_of_the_source(tmp_path, matrix, values, pixels):
    convert = f"format=gbrp,scale=out_color_matrix={matrix}:out_range={values},format={pixels}"
    path = tmp_path / "film.mp4"
    ffmpeg(*BARS, "-vf", f"{convert},setparams=colorspace={matrix}:range={values}", *LOSSLESS, path)
    source = np.frombuffer(ffmpeg(*BARS, "-f", "rawvideo", "-pix_fmt", "rgb24", "-frames:v", "1", "-"), np.uint8)
    for decoder in ("pyav", "decord"):
        frame = first_frame(path, decoder).frames[0]
        assert difference(frame, shown(path)[0][0]) < 3
        assert difference(frame, source.reshape(frame.shape)) < 4


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("none-given.mp4", ["-pix_fmt", "yuv420p", *LOSSLESS]),
        ("jpeg.avi", ["-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-q:v", "2"]),
        ("rgb.mkv", ["-pix_fmt", "gbrp", "-c:v", "ffv1"]),
        ("rgb.avi", ["-pix_fmt", "bgr24", "-c:v", "rawvideo"]),
        ("palette.avi", ["-pix_fmt", "pal8", "-c:v", "rawvideo"]),
        ("palette.mov", ["-pix_fmt", "pal8", "-c:v", "rawvideo"]),
        ("grey.mkv", ["-pix_fmt", "gray10le", "-c:v", "ffv1"]),
        ("deep.mov", ["-pix_fmt", "yuv422p10le", "-c:v", "prores_ks"]),
        ("big-endian.mov", ["-pix_fmt", "rgb555be", "-c:v", "rawvideo"]),
        ("dv.avi", ["-s", "720x576", "-r", "25", "-aspect", "5:4", "-pix_fmt", "yuv420p", "-c:v", "dvvideo"]),
    ],
)
def test_each_kind_of_sample_is_shown_as_by_ffmpeg(tmp_path, name, codec):
    ffmpeg(*ONE, *codec, tmp_path / name)
    reference, times = shown(tmp_path / name)
    for method, decoder in (("keyframe", "pyav"), ("uniform", "pyav"), ("uniform", "decord"), ("fps", "auto")):
        sampling = SamplingConfig(method=method, frames=2)
        config = DecodeConfig(sampling=sampling, video_decoder=decoder, long_side=1024)
        decoded = decode(str(tmp_path / name), "video", config)
        for at, frame in zip(decoded.timestamps, decoded.frames, strict=True):
            # Of 5 bits, FFmpeg's command makes 8 with a pattern.
            most = 9 if name == "big-endian.mov" else 3
            assert difference(frame, reference[np.abs(times - at).argmin()]) < most, (method, decoder)


def pixel_formats() -> list[str]:
    """Those that FFmpeg's scaler reads and writes."""
    lines = ffmpeg("-hide_banner", "-pix_fmts").decode().splitlines()
    return [line.split()[1] for line in lines if re.match(r"IO[.P]..[.B]? +\S+ +\d", line) and line[3] != "H"]


# Nothing but the reduction to their few colours makes these differ from the source.
FEW_COLOURS = {"monow", "monob", "pal8"}
NOT_CONVERTED = {"bgr4", "rgb4"}  # packed to half a byte; no decoder makes them


@SLOW
def test_every_format_of_pixels_is_converted_as_ffmpeg_converts_it(tmp_path):
    ramps = "geq=r='255*X/63':g='255*Y/47':b='255-127*X/63-127*Y/47'"
    source = ["-f", "lavfi", "-i", f"color=black:s=64x48:r=10:d=0.1,format=gbrp,{ramps}"]
    tried = set()
    for name in pixel_formats():
        path = tmp_path / "film.nut"
        try:
            ffmpeg(*source, "-pix_fmt", name, "-strict", "-2", "-c:v", "rawvideo", path)
            with av.open(str(path)) as container:
                frame = next(container.decode(video=0))
        except (AssertionError, av.error.FFmpegError):
            continue  # no raw video of that kind exists
        if name in NOT_CONVERTED:
            with pytest.raises(OSError, match="not supported"):
                to_rgb(frame, 64, 48)
            continue
        tried.add(name)
        reference = shown(path)[0][0]
        for width, height in ((64, 48), (32, 24)):
            found = to_rgb(frame, width, height).astype(int)
            expected = reference.reshape(height, 48 // height, width, 64 // width, 3).mean((1, 3))
            assert np.abs(found - expected).mean() < (9 if name in FEW_COLOURS else 6), (name, width)
    assert {"yuv420p", "rgb565be", "rgb555be", "bgr565be", "bgr555be", "p010le", "ya16be", "rgba64le"} <= tried
    assert len(tried) > 100


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("matrix", ["ycgco", "ictcp", "bt2020c", "chroma-derived-nc"])
def test_colours_that_ffmpeg_cannot_convert_are_refused(tmp_path, matrix, decoder):
    path = tmp_path / "film.mp4"
    ffmpeg(*ONE, "-vf", f"format=yuv420p,setparams=colorspace={matrix}", *LOSSLESS, path)
    with pytest.raises(CorruptMedia, match=r"film\.mp4.*colours that FFmpeg cannot convert"):
        first_frame(path, decoder)


# Opaque at the right edge, transparent at the left; under what is transparent, there are colours.
VEIL = ",format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='255*X/W'"
SEE_THROUGH = [*ONE[:-1], ONE[-1] + VEIL]
TRANSPARENT = {
    "vp9.webm": ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", "4", "-b:v", "0"],
    "vp8.webm": ["-c:v", "libvpx", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0", "-crf", "4", "-b:v", "4M"],
    "vp9.mkv": ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", "4", "-b:v", "0"],
    "prores.mov": ["-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"],
    "animation.mov": ["-c:v", "qtrle", "-pix_fmt", "argb"],
    "png.mov": ["-c:v", "png", "-pix_fmt", "rgba"],
    "ffv1.mkv": ["-c:v", "ffv1", "-pix_fmt", "bgra"],
    "raw.avi": ["-c:v", "rawvideo", "-pix_fmt", "bgra"],
}
ALPHA_DECODERS = {"vp9": ["-c:v", "libvpx-vp9"], "vp8": ["-c:v", "libvpx"]}


@pytest.mark.parametrize("method", ["keyframe", *(pytest.param(each, marks=SLOW) for each in ("uniform", "scene"))])
@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_films_lie_on_white(tmp_path, name, method):
    path = tmp_path / name
    ffmpeg(*SEE_THROUGH, *TRANSPARENT[name], path)
    white = ["-f", "lavfi", "-i", f"color=white:s={WIDTH}x{HEIGHT}:r={RATE}:d=1"]
    over = "[1]format=gbrp[white];[0]format=gbrap[film];[white][film]overlay=format=gbrp:shortest=1,format=rgb24"
    decoders = ALPHA_DECODERS.get(path.stem, [])
    raw = ffmpeg(*decoders, "-i", path, *white, "-filter_complex", over, "-f", "rawvideo", "-")
    reference = np.frombuffer(raw, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
    for decoder in ("pyav", "decord"):
        sampling = SamplingConfig(method=method, frames=2)
        decoded = decode(str(path), "video", DecodeConfig(sampling=sampling, video_decoder=decoder))
        for at, frame in zip(decoded.timestamps, decoded.frames, strict=True):
            assert difference(frame, reference[round(at * RATE)]) < 4
            assert frame[:, 0].min() > 240


def test_what_is_transparent_does_not_tint_what_is_scaled(tmp_path):
    """A chessboard of red and of transparent green, reduced to half: red on white, and no green."""
    board = "format=rgba,geq=r='255*mod(X+Y,2)':g='255-255*mod(X+Y,2)':b=0:a='255*mod(X+Y,2)'"
    ffmpeg("-f", "lavfi", "-i", f"color=black:s=128x96:r=10:d=0.3,{board}", "-c:v", "png", tmp_path / "board.mov")
    frame = first_frame(tmp_path / "board.mov", long_side=64).frames[0]
    assert np.abs(frame.mean((0, 1)) - (255, 127.5, 127.5)).max() < 3


# The white of a page, 1.0 in sRGB, is shown with 203 cd/m2 (BT.2408).
TO_HDR = "format=gbrp,zscale=tin=iec61966-2-1:pin=bt709:min=gbr:rin=full:t={}:p={}:m=bt2020nc:r=limited:npl=203"
TRANSFER_NAMES = ("smpte2084", "arib-std-b67")
PRIMARIES = {"bt2020": 9, "smpte432": 12}


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("primaries", PRIMARIES)
@pytest.mark.parametrize("transfer", TRANSFER_NAMES)
@pytest.mark.parametrize("source", [BARS, ONE], ids=["bars", "picture"])
def test_a_film_of_high_dynamic_range_looks_like_its_standard_version(tmp_path, source, transfer, primaries, decoder):
    path = tmp_path / "film.mkv"
    if transfer == "arib-std-b67":  # zscale applies the display's part per channel, BT.2100 by luminance: only grey
        source = [*source[:-1], source[-1] + ",hue=s=0"]
    convert = TO_HDR.format(transfer, primaries) + ",format=yuv444p10le"
    ffmpeg(*source, "-vf", convert, "-c:v", "libx265", "-x265-params", "log-level=none:lossless=1", path)
    standard = np.frombuffer(ffmpeg(*source, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8)
    config = DecodeConfig(sampling=SamplingConfig(method="fps", frames=1), video_decoder=decoder)
    decoded = decode(str(path), "video", config).frames[0].astype(int)
    assert difference(decoded, standard.reshape(decoded.shape)) <= 4


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("primaries", PRIMARIES)
def test_a_film_of_wide_gamut_looks_like_its_version_in_srgb(tmp_path, primaries, decoder):
    path = tmp_path / "film.mkv"
    convert = TO_HDR.format("iec61966-2-1", primaries).replace("bt2020nc", "bt709") + ",format=yuv444p10le"
    ffmpeg(*ONE, "-vf", convert, "-c:v", "libx265", "-x265-params", "log-level=none:lossless=1", path)
    standard = np.frombuffer(ffmpeg(*ONE, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8)
    decoded = first_frame(path, decoder).frames[0].astype(int)
    assert difference(decoded, standard.reshape(decoded.shape)) <= 4
    assert difference(shown(path)[0][0], standard.reshape(decoded.shape)) > 10


@pytest.mark.parametrize("transfer", sorted(HDR))
def test_high_dynamic_range_without_primaries_has_those_of_bt2020(transfer):
    colours = np.random.default_rng(0).integers(0, 1 << 16, (4, 4, 3)).astype(np.uint16)
    assert np.array_equal(from_cicp(colours, 2, transfer), from_cicp(colours, 9, transfer))


@given(st.lists(st.floats(0.01, 0.7), min_size=3, max_size=3))
def test_hlg_is_decoded_for_the_display_of_bt2100(light):
    """Colours in BT.709 light, 1.0 for 203 cd/m2, encoded by the formulas of BT.2100."""
    to_bt2020 = np.array(((0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956)))  # BT.2087
    display = to_bt2020 @ np.array(light) * 203 / 1000
    scene = display * (display @ (0.2627, 0.6780, 0.0593)) ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)
    shown = from_cicp((signal * 65535 + 0.5).astype(np.uint16).reshape(1, 1, 3), 9, 18)[0, 0].astype(int)
    expected = 255 * (1.055 * np.array(light) ** (1 / 2.4) - 0.055)
    assert np.abs(shown - expected).max() <= 2


@pytest.mark.parametrize("transfer", sorted(HDR))
def test_greys_stay_grey_and_ascend(transfer):
    signal = np.repeat(np.arange(0, 1 << 16, 37, dtype=np.uint16)[None, :, None], 3, 2)
    shown = from_cicp(signal, 9, transfer).astype(int)
    assert np.ptp(shown, axis=-1).max() <= 1
    assert (np.diff(shown[0, :, 1]) >= 0).all()
    assert shown[0, 0, 0] == 0
    assert shown[0, -1, 0] > 230


@given(st.lists(st.integers(0, 0xFFFF), min_size=3, max_size=3), st.sampled_from(sorted(HDR)))
def test_the_order_of_the_channels_stays(colour, transfer):
    shown = from_cicp(np.array(colour, np.uint16).reshape(1, 1, 3), 1, transfer)[0, 0].astype(int)
    assert (np.diff(shown[np.argsort(colour)]) >= 0).all()
