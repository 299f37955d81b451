"""What a CLIP sees of wide-gamut and HDR pictures, shown as stored or converted to sRGB: the cosine between the vectors
of a picture and of its copy in another colour space, which a colour-managed viewer shows alike."""

from __future__ import annotations

import argparse
import io
import json
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import imagecodecs
import numpy as np
from PIL import Image, ImageCms

from fuseid.core.config import ClipConfig, DecodeConfig
from fuseid.encoders import images
from fuseid.encoders.clip import OpenClip
from fuseid.encoders.png_chunks import split_png

D65, D50 = (0.3127, 0.3290, 1.0), (0.3457, 0.3585, 1.0)
SPACES = {
    "sRGB profile": None,
    "Display P3": (D65, [0.680, 0.320, 1.0, 0.265, 0.690, 1.0, 0.150, 0.060, 1.0], 2.2),
    "Adobe RGB": (D65, [0.640, 0.330, 1.0, 0.210, 0.710, 1.0, 0.150, 0.060, 1.0], 563 / 256),
    "ProPhoto RGB": (D50, [0.7347, 0.2653, 1.0, 0.1596, 0.8404, 1.0, 0.0366, 0.0001, 1.0], 1.8),
}
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
    if options.json:
        options.json.write_text(json.dumps({"photographs": len(photos), "others": others, "rows": rows}, indent=1))


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
    values = rgb / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ TO_2020.T
    light = light.clip(0) * 203
    if transfer == 16:
        powered = (light / 10_000) ** 0.1593017578125
        coded = ((0.8359375 + 18.8515625 * powered) / (1 + 18.6875 * powered)) ** 78.84375
    else:
        luminance = (light @ [0.2627, 0.6780, 0.0593])[..., None].clip(1e-6)
        scene = light / 1000 * (luminance / 1000) ** (1 / 1.2 - 1)
        coded = np.where(
            scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log((12 * scene - 0.28466892).clip(1e-9)) + 0.55991073
        )
    return Image.fromarray((255 * coded.clip(0, 1) + 0.5).astype(np.uint8))


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
