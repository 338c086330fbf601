"""One image in every form: the same pixels as from its file, and one line for what is no image."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from consistency.data.images import convert_image, decode_image
from consistency.data.reading import Decoding
from consistency.errors import ImageError, InputError
from consistency.options import Decode, ImageLimits
from koclip_consistency.scoring.images import read_image

OURS = Decoding("ours", ImageLimits())


def noise(mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    return Image.fromarray(values.squeeze(), "L" if bands == 1 else None).convert(mode)


def as_file(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return as_file(noise(), "JPEG", exif=exif)


def sixteen_bit() -> bytes:
    return as_file(Image.fromarray(np.arange(0, 60000, 100, dtype=np.uint16).reshape(20, 30)), "PNG")


FILES: dict[str, Callable[[], bytes]] = {
    "rgb": lambda: as_file(noise(), "PNG"),
    "jpeg": lambda: as_file(noise(), "JPEG"),
    "turned": turned,
    "transparent": lambda: as_file(noise("RGBA"), "PNG"),
    "transparent colour": lambda: as_file(noise("L").convert("P"), "PNG", transparency=3),
    "palette": lambda: as_file(noise().quantize(8), "GIF"),
    "grey": lambda: as_file(noise("L"), "PNG"),
    "sixteen bit": sixteen_bit,
    "float": lambda: as_file(Image.fromarray(np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)), "TIFF"),
    "printing colours": lambda: as_file(noise("CMYK"), "TIFF"),
}


@pytest.mark.parametrize("decode", ["ours", "fast", "published"])
@pytest.mark.parametrize("kind", FILES)
def test_an_open_image_has_the_pixels_of_its_file(kind: str, decode: Decode, tmp_path: Path) -> None:
    data = FILES[kind]()
    expected = np.asarray(decode_image(data, decode=decode))
    (tmp_path / "image").write_bytes(data)
    decoding = Decoding(decode, ImageLimits())
    opened = Image.open(io.BytesIO(data))
    before = opened.mode, opened.size, dict(opened.info)
    for given in (data, tmp_path / "image", str(tmp_path / "image"), opened):
        found = read_image(given).decoded(decoding)
        assert found.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(found), expected)
    assert (opened.mode, opened.size, dict(opened.info)) == before


def test_arrays_have_the_pixels_they_show() -> None:
    rgb, grey = np.asarray(noise()), np.asarray(noise("L"))
    np.testing.assert_array_equal(np.asarray(read_image(rgb).decoded(OURS)), rgb)
    np.testing.assert_array_equal(np.asarray(read_image(grey).decoded(OURS)), np.dstack([grey] * 3))
    np.testing.assert_array_equal(np.asarray(read_image(rgb[::-1, ::2]).decoded(OURS)), rgb[::-1, ::2])


def test_equal_images_share_a_key_and_others_do_not(tmp_path: Path) -> None:
    data = as_file(noise(), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    by_bytes, by_path = read_image(data), read_image(tmp_path / "a.png")
    assert by_bytes.key == by_path.key
    assert by_bytes.in_cache
    assert by_path.in_cache
    array = np.asarray(noise())
    assert read_image(array).key == read_image(array.copy()).key
    assert not read_image(array).in_cache
    keys = {read_image(given).key for given in (data, array, array[::-1], array.reshape(24, 16, 3), noise("L"))}
    assert len(keys) == 5
    upright, lying = noise(), noise()
    lying.info["exif"] = Image.open(io.BytesIO(turned())).info["exif"]
    assert read_image(upright).key != read_image(lying).key


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "the image is a int, expected a path, bytes, a PIL image or a uint8 array"),
        (None, "the image is a NoneType"),
        (np.zeros((4, 4, 3)), r"an array \(4, 4, 3\) float64, expected uint8 of shape \(height, width, 3\)"),
        (np.zeros((3, 8, 8), np.uint8), r"an array \(3, 8, 8\) uint8"),
        (np.zeros((0, 4), np.uint8), r"an array \(0, 4\) uint8"),
        ("nowhere.png", "nowhere.png cannot be scored: not found in"),
        (".", "cannot be scored"),
    ],
)
def test_what_is_no_image_is_refused(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        read_image(given)
    assert "\n" not in str(raised.value)


def test_a_broken_open_image_is_refused() -> None:
    data = as_file(noise(size=(200, 200)), "JPEG")
    with pytest.raises(InputError, match="the image cannot be scored: broken or truncated"):
        read_image(Image.open(io.BytesIO(data[: len(data) // 2])))


@pytest.mark.parametrize(("size", "said"), [((300, 300), "over 0.05 megapixels"), ((300, 5), "longer than 50:1")])
def test_limits_hold_for_open_images_too(size: tuple[int, int], said: str) -> None:
    limits = ImageLimits(max_pixels=50_000)
    with pytest.raises(ImageError, match=said):
        convert_image(noise(size=size), limits=limits)
    with pytest.raises(ImageError, match=said):
        read_image(np.asarray(noise(size=size))).decoded(Decoding("ours", limits))
