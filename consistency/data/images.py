"""The one way an image is decoded: bytes in, RGB pixels out, or the reason why they are no usable image."""

import io
import logging
import re
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from consistency.errors import ImageError
from consistency.options import Decode, ImageLimits

# EPS would start Ghostscript, and dozens of rare formats are rarely what a file is meant to be.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
# Each scan of a JPEG is a pass over the whole image, even one of a few bytes; ten are usual. A billion pixels take
# some three seconds.
USUAL_SCANS, MAX_SCANS, PIXELS_SCANNED = 20, 100, 1_000_000_000
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")  # of a JPEG's segment, with a length behind it, or its end
_SCAN, _END = b"\xda", b"\xd9"
_TILE = 322, 323  # TIFF's tags for a tile's width and length
# Pillow warns about large images, and refuses very large ones, by a rule of its own; ours is ImageLimits.
Image.MAX_IMAGE_PIXELS = None
# Pillow's blocks of 16 MB would stay with each decoding thread after use; so large ones go back to the system.
Image.core.set_block_size(64 << 20)  # type: ignore[attr-defined]
# It also warns about broken metadata of good images. What is wrong with an image itself becomes an ImageError.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
_LOOKS = (
    ((b"<!doctype html", b"<html"), "looks like HTML, not an image"),
    ((b"<svg", b"<?xml"), "looks like SVG or XML, not an image"),
    ((b"%!ps", b"\xc5\xd0\xd3\xc6"), "looks like PostScript (EPS), not an image"),
    ((b"%pdf",), "looks like PDF, not an image"),
    ((b"\xff\xd8\xff", b"\x89png", b"gif8", b"ii*\0", b"mm\0*"), "broken or truncated: its header is damaged"),
)
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STRIP = 256  # rows


def decode_image(
    data: bytes, *, decode: Decode = "ours", limits: ImageLimits | None = None, target: int | None = None
) -> Image.Image:
    """Decode all of an image.

    Parameters
    ----------
    data : bytes
        The image's file.
    decode : {"ours", "fast", "published"}
        "ours" applies the EXIF orientation, puts transparency on white, scales 16 bit to 8 and takes the first frame.
        "fast" is the same, but decodes a JPEG at reduced size, at least twice `target` on both sides. "published" is
        `convert("RGB")` alone, as the published scripts do.
    limits : ImageLimits, optional
        What is refused; the default limits if None.
    target : int, optional
        The size in pixels that the image's shorter side is brought to afterwards.

    Returns
    -------
    PIL.Image.Image
        Loaded, of mode RGB.

    Raises
    ------
    ImageError
        With the reason, if the image cannot be used.
    """
    if not data:
        raise ImageError("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            _check_cost(image, data, limits or ImageLimits())
            _reduce(image, decode, target)
            image.load()  # opening reads the header only
            return _converted(image, decode)
    except (ImageError, MemoryError):  # a lack of memory says nothing about the image
        raise
    except UnidentifiedImageError:
        raise ImageError(_looks_like(data)) from None
    except Exception as error:  # Pillow raises about anything over broken files
        raise _broken(error) from error


def convert_image(image: Image.Image, *, decode: Decode = "ours", limits: ImageLimits | None = None) -> Image.Image:
    """Bring an image that is already open to RGB by the rules of `decode_image`.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any mode; it stays as it is.
    decode, limits
        As for `decode_image`; "fast" is "ours" here, since nothing is left to decode.

    Raises
    ------
    ImageError
        With the reason, if the image cannot be used.
    """
    try:
        _check_cost(image, b"", limits or ImageLimits())
        image.load()
        if decode == "published":
            return _converted(image.copy(), decode)  # which changes its image
        return _converted(image, decode)
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise _broken(error) from error


def count_pixels(stream: BinaryIO, *, decode: Decode = "ours", target: int | None = None) -> int:
    """How many pixels `decode_image` would decode, by the header alone; at least as many as the bytes of `stream` take.

    A pixel counts as 4 bytes.
    """
    in_stream = stream.seek(0, io.SEEK_END) // 4
    stream.seek(0)
    try:
        image = Image.open(stream, formats=_formats())
        _reduce(image, decode, target)
        return max(in_stream, image.width * image.height)
    except Exception:  # as in `decode_image`, which says what is wrong
        return in_stream


def _broken(error: Exception) -> ImageError:
    detail = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"broken or truncated: {detail[:200]}")


def _converted(image: Image.Image, decode: Decode) -> Image.Image:
    if decode == "published":
        image.info.pop("transparency", None)  # or processors would put that colour on white
        return _in_rgb(image)
    return _upright(_to_rgb(image), image)


def _reduce(image: Image.Image, decode: Decode, target: int | None) -> None:
    if decode == "fast" and target and isinstance(image, JpegImageFile):
        image.draft(None, (2 * target, 2 * target))


def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _check_cost(image: Image.Image, data: bytes, limits: ImageLimits) -> None:
    """Refuse too many pixels, a tile larger than the image, and too many passes over it."""
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageError(f"{width}x{height} is over {limits.max_pixels / 1e6:g} megapixels")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise ImageError(f"{width}x{height} is longer than {limits.max_aspect:g}:1")
    if isinstance(image, TiffImageFile):
        wide, long = (int(image.tag_v2.get(tag, 1)) for tag in _TILE)
        if wide * long > limits.max_pixels:  # a tile is decoded whole
            raise ImageError(f"its tiles of {wide}x{long} are over {limits.max_pixels / 1e6:g} megapixels")
    most = min(MAX_SCANS, max(USUAL_SCANS, PIXELS_SCANNED // (width * height)))
    if isinstance(image, JpegImageFile) and (scans := _scans(data, most)) > most:
        raise ImageError(f"its {scans} scans are over {most}")


def _scans(data: bytes, most: int) -> int:
    """An upper bound of a JPEG's scans; exact where it would be over `most`."""
    if (scans := data.count(b"\xff" + _SCAN)) <= most:
        return scans
    at = scans = 0  # walked: metadata, and the film that a phone puts behind the end, may hold the same bytes
    while (marker := _MARKER.search(data, at)) and marker[1] != _END:
        scans += marker[1] == _SCAN
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return scans


def _looks_like(data: bytes) -> str:
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for marks, reason in _LOOKS:
        if start.startswith(marks):
            return reason
    if min(data[:512]) >= ord("\t"):
        return "looks like text, not an image"
    return f"is no image of a known format ({', '.join(_formats())})"


def _to_rgb(image: Image.Image) -> Image.Image:
    """The colours a viewer sees: 8 bit, transparency on white."""
    if image.mode.startswith("I") or image.mode == "F":
        full = 65535 if image.mode.startswith("I") else 1 if np.fmax.reduce(np.asarray(image), axis=None) <= 1 else 255
    elif image.has_transparency_data:
        full = None
    else:
        return _in_rgb(image)
    rgb = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP):  # at once, a large image's copies would fill a gigabyte
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
        rgb.paste(_scaled(strip, full) if full else _on_white(strip), (0, top))
    return rgb


def _in_rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy


def _scaled(image: Image.Image, full: int) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64)) * (255 / full)
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")


def _upright(rgb: Image.Image, image: Image.Image) -> Image.Image:
    """`rgb` turned as the camera's EXIF orientation says."""
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except MemoryError:
        raise
    except Exception:  # broken EXIF is no reason to lose a good image
        return rgb
    return rgb if turn is None else rgb.transpose(turn)
