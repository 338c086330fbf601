"""Decodes images: bytes in, RGB pixels out, or the reason why the image cannot be used."""

import io
import logging
import math
import re
import warnings
from importlib.util import find_spec
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from consistency.errors import ImageError, one_line
from consistency.options import Decode, ImageLimits

# Other formats are left out: EPS would start Ghostscript, and a file in a rare format is mostly a mistake.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
_JPEG = b"\xff\xd8\xff"
_HEIC = re.compile(rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", re.S)
_AVIF = re.compile(rb"....ftypavi[fs]", re.S)
# Each scan of a JPEG is a pass over the whole image, even if it has only a few bytes. Ten scans are usual; a billion
# pixels take about three seconds.
USUAL_SCANS, MAX_SCANS, PIXELS_SCANNED = 20, 100, 1_000_000_000
# Starts a segment of a JPEG, whose length follows, or ends the image.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")
_SCAN, _END = b"\xda", b"\xd9"
# Bytes that a pixel takes at most while it is decoded and converted, as measured in benchmarks/FAULTS.md. The budget
# counts pixels of `PIXEL_BYTES`.
PIXEL_BYTES = 8
MEMORY = {"WEBP": 16, "AVIF": 14, "TIFF": 12}
PLAIN, OTHERS = 8, 12  # of other formats: opaque colour of 8 bits; all else, and progressive JPEGs
_TILE = 322, 323  # TIFF's tags for a tile's width and length
_PARTS = (273, 279), (324, 325)  # and for the offsets and lengths in bytes of its strips, or of its tiles
# Pillow warns about large images and rejects very large ones; ImageLimits takes the place of its rule.
Image.MAX_IMAGE_PIXELS = None
# Each decoding thread would keep Pillow's blocks of 16 MB after use; larger blocks are returned to the system.
Image.core.set_block_size(64 << 20)  # type: ignore[attr-defined]
# Pillow also warns about broken metadata of good images. A fault of the image itself becomes an ImageError.
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
REDUCED = 4  # times the target
_START = 16  # bytes that tell HEIC and AVIF


def decode_image(
    data: bytes, *, decode: Decode = "ours", limits: ImageLimits | None = None, target: int | None = None
) -> Image.Image:
    """Decode an image completely.

    Parameters
    ----------
    data : bytes
        Content of the file.
    decode : {"ours", "fast", "published"}
        "ours" applies the EXIF orientation, puts transparency on white, scales 16 bits to 8 and takes the first frame.
        "fast" does the same, but decodes JPEGs at a reduced size of at least `REDUCED` times `target` on both sides.
        "published" only calls `convert("RGB")`, as the published scripts do.
    limits : ImageLimits, optional
        Limits beyond which an image is rejected; None means the defaults.
    target : int, optional
        Size in pixels to which the shorter side of the image is resized afterwards.

    Returns
    -------
    PIL.Image.Image
        Loaded image of mode RGB.

    Raises
    ------
    ImageError
        If the image cannot be used; the message is the reason.
    """
    if not data:
        raise ImageError("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=_formats(data[:_START])) as image:
            _check_cost(image, data, limits or ImageLimits())
            _reduce(image, decode, target)
            image.load()  # opening reads the header only
            _release(image)
            return _converted(image, decode)
    except (ImageError, MemoryError):  # running out of memory is not the fault of the image
        raise
    except UnidentifiedImageError:
        raise ImageError(_looks_like(data)) from None
    except Exception as error:  # Pillow raises many kinds of errors for broken files
        raise _broken(error) from error


def decode_pixels(
    data: bytes, *, limits: ImageLimits | None = None, target: int | None = None
) -> npt.NDArray[np.uint8]:
    """Decode an image as `decode_image` does for "fast", to an array, which spares two copies of its pixels.

    simplejpeg decodes colour JPEGs if it is installed; the pixels are the same.

    Parameters
    ----------
    data, limits, target
        As for `decode_image`.

    Returns
    -------
    (h, w, 3) uint8 ndarray
        Red, green and blue.

    Raises
    ------
    ImageError
        As for `decode_image`.
    """
    pixels = _by_simplejpeg(data, limits or ImageLimits(), target) if data.startswith(_JPEG) else None
    return np.asarray(decode_image(data, decode="fast", limits=limits, target=target)) if pixels is None else pixels


def _by_simplejpeg(data: bytes, limits: ImageLimits, target: int | None) -> npt.NDArray[np.uint8] | None:
    """The pixels of a colour JPEG; None if simplejpeg is not installed or does not take the file as it is."""
    if find_spec("simplejpeg") is None:
        return None
    from simplejpeg import decode_jpeg

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            _check_cost(image, data, limits)
            if image.mode != "RGB" or _turn(image) is not None:
                return None
            _reduce(image, "fast", target)
            width, height = image.size
        pixels: npt.NDArray[np.uint8] = decode_jpeg(data, "RGB", min_height=height, min_width=width, min_factor=1)
        return pixels if pixels.shape == (height, width, 3) else None
    except (ImageError, MemoryError):
        raise
    except Exception:  # `decode_image` decides whether the image can be used
        return None


def convert_image(image: Image.Image, *, decode: Decode = "ours", limits: ImageLimits | None = None) -> Image.Image:
    """Convert an open image to RGB by the rules of `decode_image`.

    Parameters
    ----------
    image : PIL.Image.Image
        Image of any mode; it is not changed.
    decode, limits
        As for `decode_image`; "fast" equals "ours" here.

    Returns
    -------
    PIL.Image.Image
        Image of mode RGB.

    Raises
    ------
    ImageError
        If the image cannot be used; the message is the reason.
    """
    try:
        _check_cost(image, b"", limits or ImageLimits())
        image.load()
        if decode == "published":
            return _converted(image.copy(), decode)  # a copy, because this changes its metadata
        return _converted(image, decode)
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise _broken(error) from error


def count_pixels(stream: BinaryIO, *, decode: Decode = "ours", target: int | None = None) -> int:
    """Count the pixels that `decode_image` would decode, from the header alone, by the memory that they take.

    Parameters
    ----------
    stream : binary file
        The image, positioned anywhere.
    decode, target
        As for `decode_image`.

    Returns
    -------
    int
        Number of pixels, or of a tile's if those are more, in units of `PIXEL_BYTES` of memory; or the size of `stream`
        at 4 bytes per pixel if that is more.
    """
    in_stream = stream.seek(0, io.SEEK_END) // 4
    stream.seek(0)
    try:
        formats = _formats(stream.read(_START))
        stream.seek(0)
        image = Image.open(stream, formats=formats)
        _reduce(image, decode, target)
        pixels = max(image.width * image.height, math.prod(_tile_of(image)))
        return max(in_stream, pixels * _pixel_bytes(image) // PIXEL_BYTES)
    except Exception:  # `decode_image` reports what is wrong
        return in_stream


def _pixel_bytes(image: Image.Image) -> int:
    """Bytes that a pixel of an open image takes at most while it is decoded."""
    plain = image.mode == "RGB" and not image.has_transparency_data and "progressive" not in image.info
    return MEMORY.get(image.format or "", PLAIN if plain else OTHERS)


def _tile_of(image: Image.Image) -> tuple[int, int]:
    """Width and length of a tile of a TIFF, which is decoded as a whole and may be larger than its image."""
    if not isinstance(image, TiffImageFile):
        return 1, 1
    wide, long = (int(image.tag_v2.get(tag, 1)) for tag in _TILE)
    return wide, long


def _broken(error: Exception) -> ImageError:
    return ImageError(f"broken or truncated: {one_line(error)[:200]}")


def _converted(image: Image.Image, decode: Decode) -> Image.Image:
    if decode == "published":
        image.info.pop("transparency", None)  # otherwise image processors would make that colour white
        return _in_rgb(image)
    return _upright(_to_rgb(image), image)


def _release(image: Image.Image) -> None:
    """Free what a WebP or AVIF keeps for its next frame, up to 12 bytes per pixel, before the conversion takes more."""
    if getattr(image, "_decoder", None) is not None:
        image._decoder = None  # type: ignore[attr-defined]
        if fp := getattr(image, "fp", None):
            fp.close()


def _reduce(image: Image.Image, decode: Decode, target: int | None) -> None:
    if decode == "fast" and target and isinstance(image, JpegImageFile):
        image.draft(None, (REDUCED * target, REDUCED * target))


def has_several_frames(data: bytes) -> bool:
    """Whether an image that can be decoded is an animation, or has several pages, of which the first is used.

    The other images that a phone stores in a JPEG, such as a depth map, do not count; nor does a further frame whose
    beginning is broken.
    """
    with Image.open(io.BytesIO(data), formats=_formats(data[:_START])) as image:
        try:
            return not isinstance(image, JpegImageFile) and bool(getattr(image, "is_animated", False))
        except MemoryError:
            raise
        except Exception:  # Pillow reads the second frame here, and raises many kinds of errors for broken ones
            return False


def is_heic(data: bytes) -> bool:
    """Whether a file is a HEIC image, by its beginning."""
    return _HEIC.match(data) is not None


def _formats(start: bytes = b"") -> list[str]:
    """The formats that are opened. `start` of the file decides whether the library for HEIC is needed."""
    Image.init()
    if is_heic(start) and "HEIF" not in Image.OPEN:
        try:
            from pillow_heif import register_heif_opener
        except ModuleNotFoundError:
            raise ImageError("is a HEIC image, which needs: pip install 'koclip-consistency[heif]'") from None
        register_heif_opener(thumbnails=False)
    if _AVIF.match(start) and "AVIF" not in Image.OPEN:
        raise ImageError("is an AVIF image, which needs Pillow 11.3 or newer")
    return [name for name in FORMATS if name in Image.OPEN]


def _check_cost(image: Image.Image, data: bytes, limits: ImageLimits) -> None:
    """Raise ImageError for too many pixels, an extreme aspect ratio, huge tiles, or too many scans."""
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageError(f"{width}x{height} is over {limits.max_pixels / 1e6:g} megapixels")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise ImageError(f"{width}x{height} is longer than {limits.max_aspect:g}:1")
    wide, long = _tile_of(image)
    if wide * long > limits.max_pixels:
        raise ImageError(f"its tiles of {wide}x{long} are over {limits.max_pixels / 1e6:g} megapixels")
    most = min(MAX_SCANS, max(USUAL_SCANS, PIXELS_SCANNED // (width * height)))
    if isinstance(image, JpegImageFile) and (scans := _scans(data, most)) > most:
        raise ImageError(f"its {scans} scans are over {most}")
    if isinstance(image, TiffImageFile) and "jpeg" in str(image.info.get("compression")):
        _check_parts(image, data, most)


def _check_parts(image: TiffImageFile, data: bytes, most: int) -> None:
    """Raise ImageError if a strip or tile of a TIFF is a JPEG of too many scans; several may share the same bytes."""
    if data.count(b"\xff" + _SCAN) <= most:
        return
    parts = {
        part
        for offsets, lengths in _PARTS
        for part in zip(image.tag_v2.get(offsets, ()), image.tag_v2.get(lengths, ()), strict=False)
    }
    if sum(length for _, length in parts) > len(data):
        raise ImageError("its strips overlap")
    for start, length in parts:
        if (scans := _scans(data[start : start + length], most)) > most:
            raise ImageError(f"the {scans} scans of one of its strips are over {most}")


def _scans(data: bytes, most: int) -> int:
    """Upper bound on the number of scans of a JPEG; exact if it exceeds `most`."""
    if (scans := data.count(b"\xff" + _SCAN)) <= most:
        return scans
    at = scans = 0  # parsed, as metadata, and videos that phones append after the end, can contain the same bytes
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
    return f"is not an image of a supported format ({', '.join(_formats())})"


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert to what a viewer shows: 8 bits per channel, transparency on white."""
    if image.mode.startswith("I") or image.mode == "F":
        full = 65535 if image.mode.startswith("I") else 1 if np.fmax.reduce(np.asarray(image), axis=None) <= 1 else 255
    elif image.has_transparency_data:
        full = None
    else:
        return _in_rgb(image)
    rgb = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP):  # in strips, as copies of a large image would fill a gigabyte
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
        rgb.paste(_scaled(strip, full) if full else _on_white(strip), (0, top))
    return rgb


def _in_rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy


def _scaled(image: Image.Image, full: int) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64)) * (255 / full)
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")


def _upright(rgb: Image.Image, image: Image.Image) -> Image.Image:
    """Turn `rgb` by the EXIF orientation of `image`."""
    turn = _turn(image)
    return rgb if turn is None else rgb.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except MemoryError:
        raise
    except Exception:  # broken EXIF does not make an image unusable
        return None
