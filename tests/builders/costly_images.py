"""Images of few bytes that take much memory to decode: one of each format and mode, of any size."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

TURN = Image.Exif()
TURN[0x0112] = 6  # the orientation of an image that lies on its side


def encoded(kind: str, mode: str, side: int, **options: object) -> bytes:
    deep = mode == "I;16"
    image = Image.fromarray(np.zeros((side, side), np.uint16)) if deep else Image.new(mode, (side, side))
    image.save(buffer := io.BytesIO(), kind, **options)
    return buffer.getvalue()


def animation(kind: str, side: int) -> bytes:
    first, second = (Image.new("RGB", (side, side), colour) for colour in ("red", "blue"))
    first.save(buffer := io.BytesIO(), kind, save_all=True, append_images=[second])
    return buffer.getvalue()


def deep_tiff(samples: int, side: int) -> bytes:
    """A TIFF of one deflated strip with 16 bits for each sample: 3 for RGB, 4 with alpha."""
    packer, row = zlib.compressobj(1), bytes(side * samples * 2)
    strip = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    start = 8
    at_bits = start + len(strip)
    bits = struct.pack(f"<{samples}H", *(16,) * samples)
    tags = [
        (256, 4, 1, side),
        (257, 4, 1, side),
        (258, 3, samples, at_bits),
        (259, 3, 1, 8),
        (262, 3, 1, 2),
        (273, 4, 1, start),
        (277, 3, 1, samples),
        (278, 4, 1, side),
        (279, 4, 1, len(strip)),
        (284, 3, 1, 1),
        *([(338, 3, 1, 2)] if samples == 4 else []),
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", at_bits + len(bits)) + strip + bits + directory


def deep_png(colour: int, side: int) -> bytes:
    """A PNG of 16 bits for each sample: colour 2 is RGB, 6 has alpha; Pillow writes neither."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer, row = zlib.compressobj(1), bytes(1 + side * {2: 6, 6: 8}[colour])
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _files() -> dict[str, Callable[[int], bytes]]:
    """By name, a function from the length of a side in pixels to the bytes of a file."""
    whole = {"progressive": True, "subsampling": 0}
    found: dict[str, Callable[[int], bytes]] = {
        "jpeg-gray": partial(encoded, "JPEG", "L"),
        "jpeg": partial(encoded, "JPEG", "RGB"),
        "jpeg-turned": partial(encoded, "JPEG", "RGB", exif=TURN),
        "jpeg-progressive": partial(encoded, "JPEG", "RGB", progressive=True),
        "jpeg-progressive-444": partial(encoded, "JPEG", "RGB", exif=TURN, **whole),
        "jpeg-cmyk": partial(encoded, "JPEG", "CMYK"),
        "jpeg-cmyk-turned": partial(encoded, "JPEG", "CMYK", exif=TURN),
        "jpeg-gray-turned": partial(encoded, "JPEG", "L", exif=TURN),
        "jpeg-cmyk-progressive": partial(encoded, "JPEG", "CMYK", exif=TURN, **whole),
        "png-16": partial(encoded, "PNG", "I;16"),
        "png-16-turned": partial(encoded, "PNG", "I;16", exif=TURN),
        "png-16-rgb": partial(deep_png, 2),
        "png-16-rgba": partial(deep_png, 6),
        "png-turned": partial(encoded, "PNG", "RGBA", exif=TURN),
        "png-palette-turned": partial(encoded, "PNG", "P", exif=TURN),
        "png-transparent": partial(encoded, "PNG", "RGB", transparency=(0, 0, 0), exif=TURN),
        "gif": partial(encoded, "GIF", "P"),
        "gif-transparent": partial(encoded, "GIF", "P", transparency=0),
        "gif-animated": partial(animation, "GIF"),
        "bmp": partial(encoded, "BMP", "RGB"),
        "bmp-alpha": partial(encoded, "BMP", "RGBA"),
        "bmp-1": partial(encoded, "BMP", "1"),
        "tiff-16-rgb": partial(deep_tiff, 3),
        "tiff-16-rgba": partial(deep_tiff, 4),
        "tiff-jpeg": partial(encoded, "TIFF", "RGB", compression="jpeg"),
        "tiff-turned": partial(encoded, "TIFF", "F", compression="tiff_lzw", tiffinfo={274: 6}),
        "webp": partial(encoded, "WEBP", "RGB"),
        "webp-alpha": partial(encoded, "WEBP", "RGBA"),
        "webp-lossless": partial(encoded, "WEBP", "RGBA", lossless=True, quality=0, method=0),
        "webp-turned": partial(encoded, "WEBP", "RGBA", exif=TURN),
        "webp-animated": partial(animation, "WEBP"),
        "avif": partial(encoded, "AVIF", "RGB", speed=10),
        "avif-444": partial(encoded, "AVIF", "RGBA", speed=10, subsampling="4:4:4"),
        "avif-turned": partial(encoded, "AVIF", "RGBA", speed=10, exif=TURN),
    }
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        found[f"png-{mode}"] = partial(encoded, "PNG", mode)
    for mode in ("L", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"):
        found[f"tiff-{mode}"] = partial(encoded, "TIFF", mode, compression="tiff_lzw")
    return found


FILES = _files()


def told_apart(data: bytes, number: int) -> bytes:
    """The same image in a file of another digest: with a box behind it that AVIF, and nobody else, looks at."""
    return data + struct.pack(">I4sQ", 16, b"free", number)
