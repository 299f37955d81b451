import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia, TooLarge, Unrecognised
from fuseid.encoders.images import bounded_size
from fuseid.encoders.media import decode
from fuseid.encoders.media_file import hash_bytes

CONFIG = DecodeConfig()
QUADRANTS = [(220, 30, 30), (30, 200, 30), (30, 30, 220), (240, 240, 60)]


def quadrants(width: int = 64, height: int = 48) -> Image.Image:
    """Red, green / blue, yellow."""
    array = np.empty((height, width, 3), np.uint8)
    for index, colour in enumerate(QUADRANTS):
        rows = slice(0, height // 2) if index < 2 else slice(height // 2, height)
        columns = slice(0, width // 2) if index % 2 == 0 else slice(width // 2, width)
        array[rows, columns] = colour
    return Image.fromarray(array)


def corners(frame: np.ndarray) -> np.ndarray:
    """int [4, 3]: the colour inside each quadrant, in reading order."""
    height, width = frame.shape[:2]
    places = [
        (height // 4, width // 4),
        (height // 4, -width // 4),
        (-height // 4, width // 4),
        (-height // 4, -width // 4),
    ]
    return np.array([frame[place] for place in places], int)


def saved(path: Path, image: Image.Image, **how) -> str:
    image.save(path, **how)
    return str(path)


def frame_of(path: str, config: DecodeConfig = CONFIG) -> np.ndarray:
    return decode(path, "image", config).frames[0]


@pytest.mark.parametrize(
    ("format", "how", "tolerance"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}, 6),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("GIF", {}, 12),
        ("AVIF", {"quality": 95}, 8),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("BMP", {}, 0),
    ],
)
def test_each_format_keeps_its_pixels(tmp_path, format, how, tolerance):
    path = saved(tmp_path / "picture.bin", quadrants(), format=format, **how)
    decoded = decode(path, "image", CONFIG)
    assert decoded.frames.shape == (1, 48, 64, 3)
    assert np.abs(corners(decoded.frames[0]) - QUADRANTS).max() <= tolerance
    assert (decoded.width, decoded.height, decoded.duration, decoded.decoder) == (64, 48, 0.0, "pillow")
    assert decoded.timestamps.tolist() == [0.0]
    assert decoded.media_hash == hash_bytes(Path(path).read_bytes())
    assert Image.open(io.BytesIO(decoded.thumbnail)).size == (64, 48)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, format, orientation):
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = quadrants() if orientation == 1 else quadrants().transpose(inverse[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(saved(tmp_path / "p", stored, format=format, exif=exif), "image", CONFIG)
    assert (decoded.width, decoded.height) == (64, 48)
    assert np.abs(corners(decoded.frames[0]) - QUADRANTS).max() <= 24


def test_a_large_picture_is_reduced_with_its_aspect(tmp_path):
    path = saved(tmp_path / "large.jpg", quadrants(3000, 1500), quality=90)
    decoded = decode(path, "image", DecodeConfig(long_side=200, thumbnail_side=50))
    assert decoded.frames.shape == (1, 100, 200, 3)
    assert (decoded.width, decoded.height) == (3000, 1500)
    assert np.abs(corners(decoded.frames[0]) - QUADRANTS).max() <= 6
    assert Image.open(io.BytesIO(decoded.thumbnail)).size == (50, 25)


def test_reduction_while_decoding_is_close_to_full_quality(tmp_path):
    image = Image.effect_noise((2048, 1024), 90).convert("RGB")
    jpeg, png = saved(tmp_path / "n.jpg", image, quality=98), saved(tmp_path / "n.png", image)
    small = DecodeConfig(long_side=128)
    assert np.abs(frame_of(jpeg, small).astype(int) - frame_of(png, small)).mean() < 3


def test_small_pictures_are_not_enlarged_and_extreme_shapes_survive(tmp_path):
    assert frame_of(saved(tmp_path / "one.png", Image.new("RGB", (1, 1), "red"))).tolist() == [[[255, 0, 0]]]
    assert frame_of(saved(tmp_path / "line.png", Image.new("RGB", (4000, 1))), DecodeConfig(long_side=64)).shape == (
        1,
        64,
        3,
    )


def test_a_cmyk_jpeg_is_converted(tmp_path):
    path = saved(tmp_path / "print.jpg", quadrants().convert("CMYK"), quality=95)
    assert np.abs(corners(frame_of(path)) - QUADRANTS).max() <= 30


def test_a_lab_tiff_is_converted(tmp_path):
    frame = frame_of(saved(tmp_path / "lab.tif", Image.new("LAB", (8, 8), (255, 128, 128))))
    assert frame.min() >= 250


def test_a_transparent_palette_is_composed_on_white(tmp_path):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.paste(1, (4, 0, 8, 8))
    frame = frame_of(saved(tmp_path / "p.png", image, transparency=0))
    assert frame[0, 0].tolist() == [255, 255, 255]
    assert frame[0, 7].tolist() == [200, 0, 0]


@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (128, 127), (255, 0)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composed_on_white(tmp_path, mode, alpha, expected):
    colour = (0, 0, 0, alpha) if mode == "RGBA" else (0, alpha)
    frame = frame_of(saved(tmp_path / "a.png", Image.new(mode, (8, 8), colour)))
    assert np.abs(frame.astype(int) - expected).max() <= 1


def test_one_bit_pictures_are_converted(tmp_path):
    image = Image.new("1", (8, 8), 0)
    image.paste(1, (4, 0, 8, 8))
    frame = frame_of(saved(tmp_path / "1.png", image))
    assert frame[0, 0].tolist() == [0, 0, 0]
    assert frame[0, 7].tolist() == [255, 255, 255]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path, format):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    frame = frame_of(saved(tmp_path / "deep", Image.fromarray(ramp), format=format))
    assert np.abs(frame[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_sixteen_bit_colour_png_is_scaled(tmp_path):
    row = b"\0" + b"".join(struct.pack(">3H", level * 257, 0x8000, 65535) for level in range(0, 256, 16))
    chunks = (b"IHDR", struct.pack(">IIBBBBB", 16, 1, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(row)), (b"IEND", b"")
    path = tmp_path / "deep.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks))
    frame = frame_of(str(path))
    assert np.abs(frame[0, :, 0].astype(int) - np.arange(0, 256, 16)).max() <= 1
    assert frame[0, 0, 1:].tolist() == [128, 255]


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for format in ("GIF", "WEBP"):
        path = saved(tmp_path / "move", frames[0], format=format, save_all=True, append_images=frames[1:])
        assert np.abs(frame_of(path)[0, 0].astype(int) - (255, 0, 0)).max() <= 3


def test_the_name_does_not_matter_the_bytes_do(tmp_path):
    assert frame_of(saved(tmp_path / "really-png.jpg", quadrants(), format="PNG")).shape == (48, 64, 3)
    (tmp_path / "text.jpg").write_text("BM is how this text begins, but it is no bitmap" * 20)
    with pytest.raises(Unrecognised, match=r"text\.jpg.*known format"):
        decode(str(tmp_path / "text.jpg"), "image", CONFIG)


def test_an_avif_of_the_general_brand_is_decoded(tmp_path):
    data = io.BytesIO()
    quadrants().save(data, "AVIF", quality=95)
    (tmp_path / "general.avif").write_bytes(data.getvalue().replace(b"ftypavif", b"ftypmif1", 1))
    assert np.abs(corners(frame_of(str(tmp_path / "general.avif"))) - QUADRANTS).max() <= 8


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_a_truncated_picture_is_corrupt(tmp_path, format, share):
    whole = io.BytesIO()
    Image.effect_noise((300, 200), 90).convert("RGB").save(whole, format)
    path = tmp_path / "cut"
    path.write_bytes(whole.getvalue()[: max(20, int(len(whole.getvalue()) * share))])
    with pytest.raises(CorruptMedia, match="cut"):
        decode(str(path), "image", CONFIG)


def test_flipped_bytes_never_escape_the_error_tree(tmp_path):
    random = np.random.default_rng(0)
    path = tmp_path / "flipped"
    for format in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        buffer = io.BytesIO()
        quadrants().save(buffer, format)
        for _ in range(25):
            data = np.frombuffer(buffer.getvalue(), np.uint8).copy()
            data[random.integers(8, len(data), 6)] = random.integers(0, 256, 6)
            path.write_bytes(data.tobytes())
            with contextlib.suppress(CorruptMedia, TooLarge, Unrecognised):
                assert decode(str(path), "image", DecodeConfig(max_pixels=1_000_000)).frames.size


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@pytest.mark.parametrize("side", [12_000, 50_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_gigapixel_header_is_refused_before_decoding(tmp_path, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 99)))
    with pytest.raises(TooLarge, match="pixels"):
        decode(str(path), "image", CONFIG)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
@pytest.mark.parametrize("size", [(3000, 2), (2, 3000), (16_000, 1), (1, 16_000)])
def test_no_side_of_a_thin_picture_is_reduced_to_nothing(tmp_path, format, size):
    decoded = decode(saved(tmp_path / "thin", Image.new("RGB", size, "teal"), format=format), "image", CONFIG)
    assert (decoded.width, decoded.height) == size
    assert decoded.frames.shape[1:] == ((1, 512, 3) if size[0] > size[1] else (512, 1, 3))
    assert np.abs(decoded.frames.astype(int) - (0, 128, 128)).max() <= 12
    assert sorted(Image.open(io.BytesIO(decoded.thumbnail)).size) == [1, 160]


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.integers(1, 4096))
def test_bounded_sizes_fit_and_are_never_0(width, height, long_side):
    size = bounded_size(width, height, long_side)
    assert min(size) >= 1
    assert max(size) <= max(long_side, 1)
