"""The one way a picture is found, decoded and brought to a model's size."""

import hashlib
import io
import os
import stat
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from consistency.errors import DataError, ImageError

Decode = Literal["ours", "fast", "published"]
# EPS would start Ghostscript, and dozens of rare formats are rarely what a file is meant to be.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
# Pillow warns about large pictures, and refuses very large ones, by a rule of its own; ours is ImageLimits.
Image.MAX_IMAGE_PIXELS = None
_LOOKS = (
    ((b"<!doctype html", b"<html"), "looks like HTML, not a picture"),
    ((b"<svg", b"<?xml"), "looks like SVG or XML, not a picture"),
    ((b"%!ps", b"\xc5\xd0\xd3\xc6"), "looks like PostScript (EPS), not a picture"),
    ((b"%pdf",), "looks like PDF, not a picture"),
)


@dataclass(frozen=True)
class ImageLimits:
    """Pictures with more pixels, or with a longer side more than `max_aspect` times the shorter, are left out."""

    max_pixels: int = 50_000_000
    max_aspect: float = 50.0


@dataclass(frozen=True)
class ImageFile:
    """A picture that a table names. digest: SHA-256 of its bytes. problem: why it cannot be used."""

    name: str
    path: Path | None
    digest: bytes | None
    problem: str | None


def find_images(names: Iterable[str], folder: Path) -> dict[str, ImageFile]:
    """Every distinct name, found below `folder` and read once for its digest.

    A name is looked for exactly, then in any Unicode normal form. Raises DataError where two files fit.
    """
    root = Path(os.path.realpath(folder))
    by_form: dict[Path, dict[str, list[str]]] = {}
    return {name: _find(name, root, by_form) for name in dict.fromkeys(names)}


def image_identity(names: npt.NDArray[np.object_], files: Mapping[str, ImageFile]) -> npt.NDArray[np.object_]:
    """(n,) object str: the digest of each picture's content, or "name:" and its name where there is no content."""
    of_name = {
        name: file.digest.hex() if file.digest else "name:" + unicodedata.normalize("NFC", name)
        for name, file in files.items()
    }
    identity = np.empty(len(names), dtype=object)
    identity[:] = [of_name[name] for name in names]
    return identity


def decode_image(
    data: bytes, *, decode: Decode = "ours", limits: ImageLimits | None = None, target: int | None = None
) -> Image.Image:
    """The picture in `data`, loaded, RGB. Raises ImageError with the reason where it cannot be used.

    "ours": EXIF orientation applied, transparency on white, 16 bit scaled to 8, the first frame. "fast": the same,
    but a JPEG is decoded at reduced size, at least twice `target` on both sides. "published": `convert("RGB")` alone.
    """
    if not data:
        raise ImageError("the file is empty")
    limits = limits or ImageLimits()
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            width, height = image.size
            if width * height > limits.max_pixels:
                raise ImageError(f"{width}x{height} is over {limits.max_pixels / 1e6:g} megapixels")
            if max(width, height) > limits.max_aspect * min(width, height):
                raise ImageError(f"{width}x{height} is longer than {limits.max_aspect:g}:1")
            if decode == "fast" and target and image.format == "JPEG":
                image.draft(None, (2 * target, 2 * target))
            image.load()  # opening reads the header only
            if decode == "published":
                image.info.pop("transparency", None)  # dropped anyway, with a warning
                return image.convert("RGB")
            return _upright(_to_rgb(image), image)
    except (ImageError, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        raise ImageError(_looks_like(data)) from None
    except Exception as error:  # Pillow raises about anything over broken files
        raise ImageError(f"broken or truncated: {error or type(error).__name__}") from error


@dataclass(frozen=True)
class PreprocessSpec:
    """What a checkpoint's `preprocessor_config.json` does to an RGB picture, as far as it is resize, crop, normalise.

    resize: ("shortest", n), (height, width), or None. resample: Pillow's number. crop: (height, width) or None.
    """

    resize: tuple[Any, int] | None
    resample: int
    crop: tuple[int, int] | None
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "PreprocessSpec | None":
        """None where the configuration does anything this class does not."""
        kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
        defaults = _DEFAULTS.get(kind.removesuffix("Fast").removesuffix("Pil"))
        if defaults is None or not _KNOWN >= {key for key, value in config.items() if value is not None}:
            return None
        given = defaults | {key: value for key, value in config.items() if value is not None}
        if not (given["do_rescale"] and given["do_normalize"] and given["do_convert_rgb"]):
            return None
        resize = _resize_of(given["size"]) if given["do_resize"] else None
        crop = _crop_of(given["crop_size"]) if given["do_center_crop"] else None
        if (given["do_resize"] and resize is None) or (crop is None and (resize is None or resize[0] == "shortest")):
            return None
        if crop and resize and resize[0] == "shortest" and resize[1] < max(crop):
            return None  # transformers pads with black there
        if crop and resize and resize[0] != "shortest" and (resize[0] < crop[0] or resize[1] < crop[1]):
            return None
        if crop and resize is None:
            return None
        mean, std = (tuple(map(float, given[key])) for key in ("image_mean", "image_std"))
        if len(mean) != 3 or len(std) != 3:
            return None
        return cls(resize, int(given["resample"]), crop, float(given["rescale_factor"]), mean, std)  # type: ignore[arg-type]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the result."""
        if self.crop:
            return self.crop
        assert self.resize is not None
        return self.resize[0], self.resize[1]

    def resize_crop(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """(h, w, 3) uint8. One resampling of just the part that is kept; transformers resizes all of it, then crops."""
        assert self.resize is not None
        width, height = image.size
        if self.resize[0] == "shortest":
            short = self.resize[1]
            if width <= height:
                new_width, new_height = short, int(short * height / width)
            else:
                new_width, new_height = int(short * width / height), short
        else:
            new_height, new_width = self.resize[0], self.resize[1]
        out_height, out_width = self.size
        top, left = (new_height - out_height) // 2, (new_width - out_width) // 2
        across, down = width / new_width, height / new_height
        box = (left * across, top * down, (left + out_width) * across, (top + out_height) * down)
        box = (box[0], box[1], min(box[2], width), min(box[3], height))  # rounding may pass the edge
        return np.asarray(image.resize((out_width, out_height), Image.Resampling(self.resample), box=box))

    def normalise(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(n, h, w, 3) uint8 to (n, 3, h, w) float32."""
        scaled = pictures.astype(np.float32) * np.float32(self.rescale)
        normal = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normal.transpose(0, 3, 1, 2))


def squash(spec: PreprocessSpec) -> PreprocessSpec:
    """`spec` with the whole picture resized to its size, whatever its proportions (the published fine-tuning)."""
    return replace(spec, resize=spec.size, resample=int(Image.Resampling.BICUBIC), crop=None)


_CLIP = {
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
    "do_convert_rgb": True,
}
_SIGLIP = _CLIP | {
    "size": {"height": 224, "width": 224},
    "do_center_crop": False,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
}
# What transformers assumes where a configuration says nothing, by processor.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIPImageProcessor": _CLIP,
    "CLIPFeatureExtractor": _CLIP,
    "SiglipImageProcessor": _SIGLIP,
}
_KNOWN = {*_CLIP, "image_processor_type", "feature_extractor_type", "processor_class"}


def _find(name: str, root: Path, by_form: dict[Path, dict[str, list[str]]]) -> ImageFile:
    path = root / name
    if not os.path.lexists(path):
        parent = path.parent
        if parent not in by_form:
            forms: dict[str, list[str]] = {}
            for entry in os.listdir(parent) if parent.is_dir() else []:
                forms.setdefault(unicodedata.normalize("NFC", entry), []).append(entry)
            by_form[parent] = forms
        same = by_form[parent].get(unicodedata.normalize("NFC", path.name), [])
        if len(same) > 1:
            raise DataError(f"{name} fits {len(same)} files in {parent} that differ only in Unicode form: rename one")
        if not same:
            return ImageFile(name, None, None, f"not found in {root}")
        path = parent / same[0]
    try:
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(root):
            return ImageFile(name, None, None, "is a link out of the image folder")
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a FIFO would wait for ever
            return ImageFile(name, None, None, "is a folder" if path.is_dir() else "is no regular file")
        with path.open("rb") as file:
            return ImageFile(name, path, hashlib.file_digest(file, "sha256").digest(), None)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long, no permission
        return ImageFile(name, None, None, f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _looks_like(data: bytes) -> str:
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for marks, reason in _LOOKS:
        if start.startswith(marks):
            return reason
    if b"\0" not in data[:512]:
        return "looks like text, not a picture"
    return f"is no picture of a known format ({', '.join(_formats())})"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image, dtype=np.float64) / 257  # 65535 to 255
        return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        values = values * 255 if values.max(initial=0) <= 1 else values
        return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB")


def _upright(rgb: Image.Image, image: Image.Image) -> Image.Image:
    """`rgb` turned as the camera's EXIF orientation says."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # broken EXIF is no reason to lose a good picture
        return rgb
    turn = _TURNS.get(orientation)
    return rgb.transpose(turn) if turn is not None else rgb


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _resize_of(size: Any) -> tuple[Any, int] | None:
    if isinstance(size, int):
        return "shortest", size
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
        return "shortest", int(size["shortest_edge"])
    if isinstance(size, Mapping) and set(size) == {"height", "width"}:
        return int(size["height"]), int(size["width"])
    return None


def _crop_of(size: Any) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and set(size) == {"height", "width"}:
        return int(size["height"]), int(size["width"])
    return None
