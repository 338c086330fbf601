"""Images are decoded in one way, and every bad one is refused in one clear line, quickly."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from PIL import Image, ImageOps, features
from pillow_heif import register_heif_opener
from sklearn.datasets import load_sample_images

from consistency.backbone.preprocess import PreprocessSpec
from consistency.data.images import PIXEL_BYTES, count_pixels, decode_image, decode_pixels, has_several_frames
from consistency.errors import ImageError
from consistency.options import Decode, ImageLimits
from tests.builders import costly_images
from tests.builders.mutations import Bytes, byte_changes, change_bytes

# Outside pytest the module itself sees to it that Pillow's warnings about metadata reach nobody.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
ROOT = Path(__file__).parents[3]
CHINA, FLOWER = (Image.fromarray(array) for array in load_sample_images().images)
SMALL = CHINA.resize((48, 32))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(data: bytes, how: Decode = "ours", **options: Any) -> npt.NDArray[np.uint8]:
    image = decode_image(data, decode=how, **options)
    assert image.mode == "RGB"
    return np.asarray(image)


def reason(data: bytes, how: Decode = "ours", **options: Any) -> str:
    with pytest.raises(ImageError) as error:
        decode_image(data, decode=how, **options)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300
    return str(error.value)


def png(width: int, height: int, *, depth: int, colour: int, row: int, extra: bytes = b"") -> bytes:
    """A PNG of nothing but zeros, however large; `row`: bytes of a row."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(9 if row < 10_000 else 1)
    line = bytes(row + 1)
    pixels = b"".join(packer.compress(line * 100) for _ in range(height // 100))
    pixels += packer.compress(line * (height % 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiled_tiff(tile: int) -> bytes:
    """A TIFF of 16x16 whose one tile is of `tile` on both sides; a large one is not all there."""
    data = zlib.compress(bytes(min(tile, 256) ** 2))
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1), (322, tile), (323, tile)]
    tags += [(324, 200), (325, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)).ljust(200, b"\0") + data


def with_scans(extra: int, image: Image.Image = SMALL) -> bytes:
    """A progressive JPEG whose last scan comes `extra` times more."""
    data = encode(image, "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xc4") : -2]  # its Huffman table, and the scan
    return data[:-2] + last * extra + data[-2:]


def turned(orientation: int, kind: str) -> bytes:
    """A file that shows SMALL upright where the orientation is applied."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    stored = SMALL.copy()
    stored.getexif()[0x0112] = back
    return encode(ImageOps.exif_transpose(stored), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


def with_alpha() -> Image.Image:
    image = SMALL.copy()
    image.putalpha(Image.linear_gradient("L").resize(SMALL.size))
    return image


# Files that are images


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_lossless_formats_are_decoded_exactly(kind: str) -> None:
    image = SMALL.quantize(200).convert("RGB")  # as many colours as a GIF can hold
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode(encode(image, kind, **options)), np.asarray(image))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_are_decoded(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    difference = decode(encode(CHINA, kind, quality=90)).astype(int) - np.asarray(CHINA)
    assert np.abs(difference).mean() < 8


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_other_colours_are_converted(mode: str, kind: str) -> None:
    if (kind == "PNG" and mode == "CMYK") or (kind == "JPEG" and mode == "P"):
        pytest.skip(f"{kind} has no {mode}")
    data = encode(SMALL.convert(mode), kind)
    for how in ("ours", "published"):
        np.testing.assert_array_equal(decode(data, how), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_colours_of_print_are_converted() -> None:
    assert decode(encode(Image.new("LAB", (8, 8), (128, 0, 0)), "TIFF")).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_is_scaled_and_not_cut_off(kind: str) -> None:
    values = np.linspace(0, 65535, 48 * 32).reshape(32, 48).astype(np.uint16)
    data = encode(Image.fromarray(values), kind)
    ours = decode(data)
    assert np.abs(ours - values[..., None] / 257).max() <= 0.5
    assert np.ptp(ours, axis=2).max() == 0
    assert (decode(data, "published") == 255).mean() > 0.99  # what the published scripts saw


@pytest.mark.parametrize("scale", [1, 255])
def test_floating_point_images(scale: int) -> None:
    values = np.linspace(0, scale, 48 * 32, dtype=np.float32).reshape(32, 48)
    expected = values[..., None] * (255 / scale)
    values[0, 0] = np.nan
    assert np.abs(decode(encode(Image.fromarray(values), "TIFF")) - expected).max() <= 0.5001


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_put_on_white(kind: str) -> None:
    data = encode(with_alpha(), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    colours, alpha = np.asarray(SMALL, dtype=float), np.asarray(with_alpha())[..., 3:] / 255
    assert np.abs(decode(data) - (colours * alpha + 255 * (1 - alpha))).max() <= 1
    np.testing.assert_array_equal(decode(data, "published"), np.asarray(SMALL))


@pytest.mark.parametrize("mode", ["LA", "PA", "P", "1", "L", "RGB"])
def test_other_kinds_of_transparency_are_put_on_white(mode: str) -> None:
    """Against Pillow's own compositing of the whole image."""
    options: dict[str, Any] = {}
    if mode == "P":
        image = with_alpha().quantize(30)
    elif mode in ("LA", "PA"):
        image = with_alpha().convert(mode)
    else:
        image = SMALL.convert("L").convert("1").convert(mode)
        options = {"transparency": (0, 0, 0) if mode == "RGB" else 0}
    data = encode(image, "TIFF" if mode == "PA" else "PNG", **options)
    seen = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    assert np.asarray(seen)[..., 3].min() < 255
    np.testing.assert_array_equal(decode(data), np.asarray(white))
    published = decode_image(data, decode="published")
    np.testing.assert_array_equal(np.asarray(published), np.asarray(seen.convert("RGB")))
    assert "transparency" not in published.info  # transformers would put that colour on white


def test_tall_images_are_composited_as_small_ones_are() -> None:
    tall = with_alpha().resize((20, 700))
    white = Image.alpha_composite(Image.new("RGBA", tall.size, "white"), tall).convert("RGB")
    np.testing.assert_array_equal(decode(encode(tall, "PNG")), np.asarray(white))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int, kind: str) -> None:
    data = turned(orientation, kind)
    assert np.abs(decode(data).astype(int) - np.asarray(SMALL)).mean() < (6 if kind != "PNG" else 1e-9)
    np.testing.assert_array_equal(
        decode(data, "published"), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), strict=True
    )


@pytest.mark.parametrize("how", ["ours", "fast", "published"])
def test_broken_exif_is_no_reason_to_lose_an_image(how: Decode) -> None:
    plain = encode(SMALL, "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    good = exif.tobytes()
    for start in range(len(good)):
        for broken in (good[:start], good[:start] + b"\xff" * 8, b"Exif\0\0" + b"\xff" * start):
            assert decode(encode(SMALL, "JPEG", exif=broken), how).size == decode(plain, how).size
    for value in (0, 9, 65535):
        exif[0x0112] = value
        np.testing.assert_array_equal(decode(encode(SMALL, "JPEG", exif=exif), how), decode(plain, how))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_frame_of_an_animation(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    pixels = decode(encode(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert pixels[..., 0].min() > 240
    assert pixels[..., 1:].max() < 15


def test_images_with_several_frames_are_told() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind, single in (("GIF", False), ("PNG", False), ("WEBP", False), ("TIFF", False), ("MPO", True)):
        for images, several in ((frames, not single), (frames[:1], False)):
            buffer = io.BytesIO()
            images[0].save(buffer, kind, save_all=True, append_images=images[1:])
            assert has_several_frames(buffer.getvalue()) == several, kind


def test_a_second_frame_whose_beginning_is_broken_does_not_count() -> None:
    frame = encode(Image.new("P", (8, 8)), "GIF")
    assert frame.endswith(b";")
    broken = frame[:-1] + b",\0"  # a frame of two bytes
    assert decode(broken).shape == (8, 8, 3)
    assert has_several_frames(broken) is False


@pytest.mark.parametrize("how", ["ours", "fast", "published"])
def test_heic_is_decoded(how: Decode) -> None:
    register_heif_opener()
    image = Image.new("RGB", (64, 32), "red")
    image.paste("blue", (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # in HEIC the container says how an image is turned, and EXIF repeats it
    data = encode(image, "HEIF", quality=90, exif=exif)
    found = decode_image(data, decode=how)
    assert (found.size, found.mode) == ((64, 32), "RGB")
    for at, colour in (((8, 16), (0, 0, 255)), ((56, 16), (255, 0, 0))):
        assert np.abs(np.subtract(found.getpixel(at), colour)).max() < 30
    assert count_pixels(io.BytesIO(data)) == 64 * 32
    with pytest.raises(ImageError, match="64x32"):
        decode_image(data, limits=ImageLimits(max_pixels=2000))


def test_heic_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    register_heif_opener()
    data = encode(Image.new("RGB", (16, 16)), "HEIF")
    monkeypatch.delitem(Image.OPEN, "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"^is a HEIC image, which needs: pip install 'koclip-consistency\[heif\]'$"):
        decode_image(data)


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_fast_is_close_to_ours_at_the_size_of_a_model(kind: str) -> None:
    """A JPEG as a camera writes it, larger than a model wants; MPO is a JPEG with a second one behind it."""
    photograph = CHINA.resize((1920, 1281), Image.Resampling.LANCZOS)
    data = encode(photograph, kind, quality=90)
    fast, ours = (decode_image(data, decode=how, target=112) for how in ("fast", "ours"))
    assert ours.size == (1920, 1281)
    assert fast.size == (960, 641)  # at least four times the target on both sides
    config = {"image_processor_type": "CLIPImageProcessor", "size": 112, "crop_size": 112}
    spec = PreprocessSpec.from_config(config)
    assert spec is not None
    mean, std = np.array(spec.mean), np.array(spec.std)
    one, other = ((spec.resize_crop(image) / 255 - mean).ravel() / np.tile(std, 112 * 112) for image in (fast, ours))
    assert np.abs(one - other).mean() < 0.015
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.9998


def test_fast_is_ours_for_anything_but_a_large_jpeg() -> None:
    for data in (encode(CHINA, "JPEG"), encode(with_alpha(), "PNG"), turned(6, "JPEG")):
        np.testing.assert_array_equal(decode(data, "fast", target=224), decode(data))
    np.testing.assert_array_equal(decode(encode(CHINA, "JPEG"), "fast"), decode(encode(CHINA, "JPEG")))
    assert decode(turned(6, "JPEG"), "fast", target=4).shape == (16, 24, 3)  # reduced, and still turned


JPEGS = {
    "photograph": lambda: encode(CHINA, "JPEG", quality=90),
    "progressive": lambda: encode(CHINA, "JPEG", progressive=True),
    "odd size": lambda: encode(CHINA.crop((0, 0, 333, 251)), "JPEG"),
    "full colour": lambda: encode(FLOWER, "JPEG", subsampling=0),
    "optimised": lambda: encode(FLOWER, "JPEG", optimize=True, quality=30, subsampling=1),
    "unconverted": lambda: encode(FLOWER, "JPEG", keep_rgb=True),
    "several": lambda: encode(CHINA, "MPO"),
    "turned": lambda: turned(6, "JPEG"),
    "grey": lambda: encode(CHINA.convert("L"), "JPEG"),
    "printing colours": lambda: encode(CHINA.convert("CMYK"), "JPEG"),
    "something behind its end": lambda: encode(CHINA, "JPEG") + bytes(200),
    "png": lambda: encode(with_alpha(), "PNG"),
}


@pytest.mark.parametrize("target", [None, 40, 8])
@pytest.mark.parametrize("kind", JPEGS)
def test_pixels_without_an_image_are_those_of_the_image(kind: str, target: int | None) -> None:
    """simplejpeg, where it decodes, gives Pillow's pixels, at every size to which a JPEG can be reduced."""
    data = JPEGS[kind]()
    np.testing.assert_array_equal(decode_pixels(data, target=target), decode(data, "fast", target=target))


def test_pixels_without_an_image_come_from_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consistency.data.images.decode_image", lambda *_, **__: pytest.fail("Pillow decodes"))
    for kind in ("photograph", "progressive", "odd size", "full colour", "several"):
        decode_pixels(JPEGS[kind](), target=40)


@settings(max_examples=150, deadline=None)
@given(byte_changes)
def test_a_mutated_jpeg_has_the_same_pixels_or_reason_without_an_image(changes: Bytes) -> None:
    data = change_bytes(encode(SMALL, "JPEG"), changes)
    found = []
    for decoded in (partial(decode, how="fast"), decode_pixels):
        try:
            found.append(decoded(data, target=4).tolist())
        except ImageError as error:
            found.append(str(error))
    assert found[0] == found[1]


def counted(path: Path, **options: Any) -> int:
    with path.open("rb") as stream:
        return count_pixels(stream, **options)


@pytest.mark.parametrize(("how", "pixels"), [("ours", 1920 * 1281), ("published", 1920 * 1281), ("fast", 960 * 641)])
def test_pixels_are_counted_by_the_header(tmp_path: Path, how: Decode, pixels: int) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(CHINA.resize((1920, 1281)), "JPEG"))
    assert counted(path, decode=how, target=112) == pixels
    image = decode_image(path.read_bytes(), decode=how, target=112)
    assert image.width * image.height == pixels
    path.write_bytes(path.read_bytes()[:3000])  # the header is still good
    assert counted(path, decode=how, target=112) == pixels


@pytest.mark.parametrize(
    ("name", "times"),
    [("jpeg", 1), ("png-RGB", 1), ("jpeg-progressive", 1.5), ("png-RGBA", 1.5), ("tiff-RGB", 1.5), ("avif", 1.75),
     ("webp", 2)],
)  # fmt: skip
def test_pixels_count_by_the_memory_that_their_format_takes(tmp_path: Path, name: str, times: float) -> None:
    (tmp_path / name).write_bytes(costly_images.FILES[name](64))
    assert counted(tmp_path / name) == 64 * 64 * times


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
@pytest.mark.parametrize("side", [1500, pytest.param(5000, marks=pytest.mark.slow)])
def test_the_budget_covers_the_memory_that_each_format_takes(tmp_path: Path, side: int) -> None:
    for name, make in costly_images.FILES.items():
        (tmp_path / name).write_bytes(make(side))
    covered = {name: PIXEL_BYTES * counted(tmp_path / name) / side**2 for name in costly_images.FILES}
    paths = [str(tmp_path / name) for name in covered]
    for how in ("ours", "published") if side == 5000 else ("ours",):
        command = [sys.executable, "-m", "tests.builders.peaks", how, *paths]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
        taken = dict(json.loads(line) for line in ran.stdout.splitlines())
        assert taken.keys() == covered.keys()
        # Besides, some 3 MB and what 256 rows take in double precision.
        more = (3e6 + 256 * side * 24) / side**2
        over = {name: used for name, used in taken.items() if used > covered[name] + more}
        assert not over
        assert max(taken.values()) > 13  # the measurement sees the memory that a WebP takes


def test_the_tile_of_a_tiff_counts(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiled_tiff(4000))
    assert counted(tmp_path / "a.tif") == 4000 * 4000 * 1.5


def test_the_bytes_of_a_file_count_too(tmp_path: Path) -> None:
    """All of it is read, an image or not: at 4 bytes a pixel."""
    for name, data in (("text.png", b"no image"), ("padded.png", encode(SMALL, "PNG"))):
        (tmp_path / name).write_bytes(data)
        os.truncate(tmp_path / name, 40_000_000)
    assert [counted(tmp_path / name) for name in ("text.png", "padded.png")] == [10_000_000] * 2


# Files that are none

BMP, GIF, JPEG, PNG, WEBP = (encode(SMALL, kind) for kind in ("BMP", "GIF", "JPEG", "PNG", "WEBP"))
JPEG_SCANS = with_scans(0).count(b"\xff\xda")
BOMB = png(30_000, 30_000, depth=1, colour=0, row=3750)  # 109 KB
WIDE = png(10_000, 10_000, depth=1, colour=0, row=1250)  # 12 KB
BROKEN = "broken or truncated: "
HEADER = BROKEN + "its header is damaged"
HTML, SVG = "looks like HTML, not an image", "looks like SVG or XML, not an image"
TEXT, EPS = "looks like text, not an image", "looks like PostScript (EPS), not an image"


BAD = {
    "empty": (b"", "the file is empty"),
    "text": (b"hello\n", TEXT),
    "korean": ("안녕하세요, 사진이 없어요.\n".encode() * 50, TEXT),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", HTML),
    "html bom": (b"\xef\xbb\xbf\n  <HTML>", HTML),
    "xml svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', SVG),
    "svg": (b'<svg width="8" height="8"/>', SVG),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n", EPS),
    "binary eps": (b"\xc5\xd0\xd3\xc6" + bytes(40), EPS),
    "pdf": (b"%PDF-1.4\n", "looks like PDF, not an image"),
    "zeros": (bytes(1000), "is not an image of a supported format (JPEG, PNG,"),
    "psd": (b"8BPS\0\1" + bytes(40), "is not an image of a supported format"),
    "half jpeg": (encode(CHINA, "JPEG")[:30_000], BROKEN + "image file is truncated"),
    "half png": (PNG[: len(PNG) // 2], BROKEN),
    "half webp": (WEBP[: len(WEBP) // 2], BROKEN),
    "half gif": (GIF[: len(GIF) // 2], BROKEN + "image file is truncated"),
    "half bmp": (BMP[: len(BMP) // 2], BROKEN + "image file is truncated"),
    "stub jpeg": (JPEG[:20], HEADER),
    "stub png": (PNG[:20], BROKEN + "Truncated File Read"),
    "stub gif": (GIF[:8], HEADER),
    "stub tiff": (encode(SMALL, "TIFF")[:8], HEADER),
    "png checksum": (PNG[:60] + bytes(8) + PNG[68:], BROKEN),
    "bomb": (BOMB, "30000x30000 is over 50 megapixels"),
    "100 megapixels": (WIDE, "10000x10000 is over 50 megapixels"),
    "1x20000": (png(1, 20_000, depth=1, colour=0, row=1), "1x20000 is longer than 50:1"),
    "tile": (tiled_tiff(40_000), "its tiles of 40000x40000 are over 50 megapixels"),
    "scans": (with_scans(500), f"its {JPEG_SCANS + 500} scans are over 100"),
    "51:1": (encode(Image.new("L", (408, 8)), "JPEG"), "408x8 is longer than 50:1"),
    "51:1 in colour": (encode(Image.new("RGB", (408, 8)), "JPEG"), "408x8 is longer than 50:1"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), BAD.values(), ids=BAD)
def test_what_is_no_image_has_one_reason(data: bytes, expected: str) -> None:
    for how in ("ours", "fast", "published"):
        assert reason(data, how, target=8).startswith(expected)
    with pytest.raises(ImageError) as error:
        decode_pixels(data, target=8)
    assert str(error.value).startswith(expected)


@pytest.mark.parametrize("how", ["ours", "fast", "published"])
def test_many_scans_are_told_from_bytes_that_look_like_them(how: Decode) -> None:
    """In metadata, and behind the end, where phones put a film."""
    look_alike = b"\xff\xda\0\0" * 200
    comment = b"\xff\xfe" + struct.pack(">H", len(look_alike) + 2) + look_alike
    data = with_scans(100 - JPEG_SCANS)
    np.testing.assert_array_equal(decode(data[:2] + comment + data[2:] + look_alike, how), decode(data, how))
    # The end inside of metadata is none.
    hidden = data[:-2] + b"\xff\xfe\0\4\xff\xd9" + with_scans(500)[2:]
    assert "scans are over 100" in reason(hidden, how)


def tiff_of(jpeg: bytes, strips: int, *, width: int = 64, rows: int = 64, shorter: int = 0) -> bytes:
    """A TIFF whose strips are all the same JPEG of `width` by `rows` pixels, each cut by `shorter` bytes more."""
    at = 8 + 2 + 10 * 12 + 4
    lists, stream = at, at + 8 * strips
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, rows * strips),
        (258, 3, 1, 8),
        (259, 3, 1, 7),
        (262, 3, 1, 1),
        (273, 4, strips, lists if strips > 1 else stream),
        (277, 3, 1, 1),
        (278, 4, 1, rows),
        (279, 4, strips, lists + 4 * strips if strips > 1 else len(jpeg)),
        (284, 3, 1, 1),
    ]
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    offsets, lengths = (
        struct.pack(f"<{strips}I", *of)
        for of in ([stream] * strips, [len(jpeg) - shorter * number for number in range(strips)])
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + b"\0" * 4 + offsets + lengths + jpeg


def test_scans_of_a_tiff_s_strips_are_counted() -> None:
    """A progressive JPEG may be a strip, and many strips may be the same one."""
    gray = Image.effect_noise((64, 64), 60)
    usual = with_scans(0, gray)
    assert decode(tiff_of(usual, 3)).shape == (192, 64, 3)
    said = f"the {usual.count(bytes([255, 218])) + 500} scans of one of its strips are over 100"
    assert reason(tiff_of(with_scans(500, gray), 1)) == reason(tiff_of(with_scans(500, gray), 40)) == said
    assert reason(tiff_of(with_scans(500, gray), 40, shorter=1)) == "its strips overlap"


def test_large_images_may_have_fewer_scans() -> None:
    large = Image.new("L", (6000, 4000))
    scans = with_scans(0, large).count(b"\xff\xda")
    assert reason(with_scans(50 - scans, large)) == "its 50 scans are over 41"
    assert decode(with_scans(20 - scans, large)).shape == (4000, 6000, 3)


def test_a_tile_may_be_larger_than_its_image() -> None:
    assert decode(tiled_tiff(256)).shape == (16, 16, 3)
    assert reason(tiled_tiff(256), limits=ImageLimits(max_pixels=256**2 - 1)).startswith(
        "its tiles of 256x256 are over"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set by what /proc tells")
@pytest.mark.parametrize("how", ["ours", "published"])
def test_a_lack_of_memory_is_no_fault_of_the_image(tmp_path: Path, how: Decode) -> None:
    (tmp_path / "large.jpg").write_bytes(encode(Image.new("RGB", (8000, 6000)), "JPEG"))
    program = """
import resource
import sys
from pathlib import Path
from consistency.data.images import decode_image
data = Path(sys.argv[1]).read_bytes()
decode_image(data, decode=sys.argv[2])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 60_000_000,) * 2)
try:
    decode_image(data, decode=sys.argv[2])
except MemoryError:
    print("no memory")
"""
    command = [sys.executable, "-c", program, str(tmp_path / "large.jpg"), how]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("no memory\n", "")


def test_limits_are_options() -> None:
    data = png(3000, 3000, depth=1, colour=0, row=375)
    assert reason(data, limits=ImageLimits(max_pixels=8_999_999)) == "3000x3000 is over 9 megapixels"
    assert decode(data, limits=ImageLimits(max_pixels=9_000_000)).shape == (3000, 3000, 3)
    long = encode(Image.new("L", (408, 8)), "PNG")
    assert decode(long, limits=ImageLimits(max_aspect=51)).shape == (8, 408, 3)
    assert reason(long, limits=ImageLimits(max_aspect=2.5)) == "408x8 is longer than 2.5:1"
    assert decode(encode(Image.new("L", (400, 8)), "PNG")).shape == (8, 400, 3)


def test_a_large_file_and_a_bomb_cost_little(tmp_path: Path) -> None:
    """Of the largest images allowed none takes 5 s or a gigabyte, nor writes anything."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    chunk = struct.pack(">I", len(exif) - 6) + b"eXIf" + exif[6:] + struct.pack(">I", zlib.crc32(b"eXIf" + exif[6:]))
    images = {
        "bomb.png": BOMB,
        "wide.png": WIDE,
        "clear.png": png(7_000, 7_000, depth=8, colour=6, row=28_000, extra=chunk),
        "deep.png": png(7_000, 7_000, depth=16, colour=0, row=14_000, extra=chunk),
        "exif.jpg": encode(SMALL, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12\0\x02\0\0\0\xff"),
        "half.tif": encode(SMALL, "TIFF", compression="tiff_lzw")[:-20],
    }
    for name, data in images.items():
        (tmp_path / name).write_bytes(data)
    program = """
import json
import resource
import sys
import time
from pathlib import Path
from consistency.errors import ImageError
from consistency.data.images import decode_image
seconds, reasons = {}, {}
for path in map(Path, sys.argv[1:]):
    start = time.process_time()
    try:
        decode_image(path.read_bytes())
    except ImageError as error:
        reasons[path.name] = str(error)
    seconds[path.name] = time.process_time() - start
usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.platform == "linux":  # where a process inherits the figure of the one that started it
    status = Path("/proc/self/status").read_text()
    usage = 1024 * int(status.partition("VmHWM:")[2].split()[0])
print(json.dumps([seconds, reasons, usage]))
"""
    command = [sys.executable, "-c", program, *(str(tmp_path / name) for name in images)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    seconds, reasons, usage = json.loads(ran.stdout)
    assert ran.stderr == ""
    assert reasons.keys() == {"bomb.png", "wide.png", "half.tif"}
    assert max(seconds.values()) < 5
    assert usage < 1e9
