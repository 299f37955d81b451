"""What a CLIP sees of wide-gamut and HDR pictures and films, shown as stored or converted to sRGB: the cosine between
the vectors of a picture and of its copy in another colour space, which a colour-managed viewer shows alike."""

from __future__ import annotations

import argparse
import io
import json
import shutil
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import av
import imagecodecs
import numpy as np
from PIL import Image, ImageCms

from fuseid.core.config import ClipConfig, DecodeConfig
from fuseid.encoders import images, video_frames
from fuseid.encoders.clip import OpenClip
from fuseid.encoders.media import decode
from fuseid.encoders.picture_colour import _TO_SRGB, srgb_curve
from fuseid.encoders.png_chunks import split_png

D65, D50 = (0.3127, 0.3290, 1.0), (0.3457, 0.3585, 1.0)
SPACES = {
    "sRGB profile": None,
    "Display P3": (D65, [0.680, 0.320, 1.0, 0.265, 0.690, 1.0, 0.150, 0.060, 1.0], 2.2),
    "Adobe RGB": (D65, [0.640, 0.330, 1.0, 0.210, 0.710, 1.0, 0.150, 0.060, 1.0], 563 / 256),
    "ProPhoto RGB": (D50, [0.7347, 0.2653, 1.0, 0.1596, 0.8404, 1.0, 0.0366, 0.0001, 1.0], 1.8),
}
# Name, primaries and transfer function of CICP, and the luminance of white.
FILMS = (
    ("BT.709", 1, 1, 203), ("Display P3", 12, 1, 203), ("BT.2020", 9, 14, 203), ("BT.2020 PQ", 9, 16, 203),
    ("BT.2020 HLG", 9, 18, 203), ("BT.2020 PQ, highlights", 9, 16, 1000), ("BT.2020 HLG, highlights", 9, 18, 1000),
)  # fmt: skip
TO_2020 = np.linalg.inv([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of photographs in sRGB")
    parser.add_argument("--model", default="builtin:mini-clip")
    parser.add_argument("--json", type=Path, help="writes the results here")
    options = parser.parse_args()
    photos = [load(path) for path in sorted(options.folder.iterdir())]
    clip = OpenClip(ClipConfig(model=options.model))
    originals = clip.encode_frames([np.asarray(photo) for photo in photos])
    between = originals @ originals.T
    others = float(np.sort(between - 2 * np.eye(len(photos)))[:, -1].mean())
    print(f"{len(photos)} photographs, {options.model}; the most similar other photograph: {others:.4f}\n")
    print("| stored as | as stored: mean | lowest | to sRGB: mean | lowest | ms per picture |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    rows = []
    for name, copies in copies_of(photos):
        with mock.patch.object(images, "to_srgb", lambda picture, *_: picture.convert("RGB")):
            plain, _ = cosines(clip, originals, copies)
        converted, milliseconds = cosines(clip, originals, copies)
        rows.append({"space": name, "plain": plain.tolist(), "converted": converted.tolist(), "ms": milliseconds})
        figures = f"{plain.mean():.4f} | {plain.min():.4f} | {converted.mean():.4f} | {converted.min():.4f}"
        print(f"| {name} | {figures} | {milliseconds:.1f} |")
    print("\n| film | as stored: mean | lowest | nearest | to sRGB: mean | lowest | nearest |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, primaries, transfer, peak in FILMS:
        films = [film(np.asarray(photo), primaries, transfer, peak) for photo in photos]
        with mock.patch.object(video_frames, "is_srgb", return_value=True):
            plain = clip.encode_frames([shown(path) for path in films])
        converted = clip.encode_frames([shown(path) for path in films])
        cells = []
        for vectors in (plain, converted):
            similar = vectors @ originals.T
            own, nearest = similar.diagonal(), (similar.argmax(1) == np.arange(len(photos))).sum()
            cells.append(f"{own.mean():.4f} | {own.min():.4f} | {nearest}")
        rows.append({"film": name, "plain": (plain * originals).sum(1).tolist(),
                     "converted": (converted * originals).sum(1).tolist()})  # fmt: skip
        print(f"| {name} | {' | '.join(cells)} |")
        for path in films:
            shutil.rmtree(path.parent)
    if options.json:
        options.json.write_text(json.dumps({"photographs": len(photos), "others": others, "rows": rows}, indent=1))


def film(rgb: np.ndarray, primaries: int, transfer: int, peak: float) -> Path:
    """One frame of 10-bit HEVC in Matroska. peak: the luminance of white in cd/m2; light above three quarters of SDR
    white is stretched to it, and what is darker stays."""
    height, width = rgb.shape[0] // 2 * 2, rgb.shape[1] // 2 * 2
    to_primaries = np.linalg.inv(_TO_SRGB[primaries]) if primaries in _TO_SRGB else np.eye(3)
    light = (linear(rgb[:height, :width] / 255) @ to_primaries.T).clip(0)
    bright = light.max(-1, keepdims=True)
    if peak > 203:
        light *= np.where(bright > 0.75, 1 + (peak / 203 - 1) * ((bright - 0.75) / 0.25).clip(0, 1), 1)
    deep = (65535 * coded(203 * light, transfer) + 0.5).astype(np.uint16)
    file = Path(tempfile.mkdtemp()) / "film.mkv"
    frame = av.VideoFrame.from_ndarray(deep, "rgb48le").reformat(
        format="yuv420p10le", dst_colorspace="ITU709", dst_color_range="MPEG", threads=1
    )
    with av.open(str(file), "w") as output:
        stream = output.add_stream("libx265", rate=1, width=width, height=height, pix_fmt="yuv420p10le")
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = primaries, transfer, 1, 1
        stream.options = {"preset": "veryfast", "crf": "12", "x265-params": "log-level=none:pools=1"}
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file


def shown(path: Path) -> np.ndarray:
    return decode(str(path), "video", DecodeConfig()).frames[0]


def load(path: Path) -> Image.Image:
    photo = Image.open(path).convert("RGB")
    photo.thumbnail((512, 512), Image.Resampling.LANCZOS)
    return photo


def copies_of(photos: list[Image.Image]) -> Iterator[tuple[str, list[bytes]]]:
    """(name of a space, PNG files of the photographs in it)."""
    srgb = ImageCms.createProfile("sRGB")
    for name, space in SPACES.items():
        if space is None:
            profile = ImageCms.ImageCmsProfile(srgb).tobytes()
        else:
            white, primaries, gamma = space
            profile = imagecodecs.cms_profile("rgb", whitepoint=white, primaries=primaries, gamma=gamma)
        target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        copies = [ImageCms.profileToProfile(photo, srgb, target, outputMode="RGB") for photo in photos]
        yield name, [saved(copy, icc_profile=profile) for copy in copies if copy is not None]
    for name, transfer in (("BT.2020 PQ", 16), ("BT.2020 HLG", 18)):
        yield name, [with_cicp(saved(hdr(np.asarray(photo), transfer)), transfer) for photo in photos]


def hdr(rgb: np.ndarray, transfer: int) -> Image.Image:
    """SDR in an HDR container, white at 203 cd/m2 (ITU-R BT.2408)."""
    light = (linear(rgb / 255) @ TO_2020.T).clip(0) * 203
    return Image.fromarray((255 * coded(light, transfer) + 0.5).astype(np.uint8))


def linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def coded(light: np.ndarray, transfer: int) -> np.ndarray:
    """cd/m2 -> values from 0 to 1: by PQ (16), by HLG for a display of 1000 cd/m2 (18), else by sRGB, white at 203."""
    if transfer == 16:
        powered = (light / 10_000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * powered) / (1 + 18.6875 * powered)) ** 78.84375
    if transfer == 18:
        luminance = (light @ [0.2627, 0.6780, 0.0593])[..., None].clip(1e-6)
        scene = light / 1000 * (luminance / 1000) ** (1 / 1.2 - 1)
        high = 0.17883277 * np.log((12 * scene - 0.28466892).clip(1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high).clip(0, 1)
    return srgb_curve((light / 203).clip(0, 1))


def saved(picture: Image.Image, **how: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", **how)
    return file.getvalue()


def with_cicp(data: bytes, transfer: int) -> bytes:
    body = b"cICP" + bytes([9, transfer, 0, 1])
    made = data[:33] + struct.pack(">I", 4) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]
    assert split_png(made).cicp == (9, transfer, 0, 1)
    return made


def cosines(clip: OpenClip, originals: np.ndarray, copies: list[bytes]) -> tuple[np.ndarray, float]:
    """(one per picture, milliseconds of processor time to decode one)."""
    started = time.process_time()
    frames = [images.decode_image(io.BytesIO(copy), "copy", DecodeConfig()).frames[0] for copy in copies]
    milliseconds = 1e3 * (time.process_time() - started) / len(copies)
    return (originals * clip.encode_frames(frames)).sum(1), milliseconds


if __name__ == "__main__":
    main()
