"""The preprocessing of a checkpoint: images are resized and cropped exactly as transformers does it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

_STEPS = (Image.Resampling.NEAREST, Image.Resampling.BOX)  # here a rounding error can select other pixels
_OF_TORCH = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}
Box = tuple[float, float, float, float]
Resize = tuple[Literal["shortest"], int] | tuple[int, int]


@dataclass(frozen=True)
class PreprocessSpec:
    """A `preprocessor_config.json` that asks for resize, optional centre crop, rescale, normalise, and nothing else.

    Attributes
    ----------
    resize : ("shortest", int) or (int, int)
        ("shortest", n) resizes the shorter side to n pixels; (height, width) ignores the aspect ratio.
    resample : int
        Pillow's number of the resampling filter.
    crop : (int, int) or None
        Height and width of the centre crop; None for no crop.
    rescale : float
        Factor for pixel values from 0 to 255.
    mean, std : (float, float, float)
        Per channel, subtracted and divided by after rescaling.
    quick : bool
        Whether torch resizes in 8 bits, if it has the filter: a fifth of Pillow's time. A few values differ by 1,
        seldom more, of 255: one in 400 of a photograph, one in 6 where Pillow begins with the vertical pass.
    """

    resize: Resize
    resample: int
    crop: tuple[int, int] | None
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    quick: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, quick: bool = False) -> "PreprocessSpec | None":
        """Parse a configuration; None if it asks for anything that this class does not do."""
        kind = str(config.get("image_processor_type") or config.get("feature_extractor_type"))
        defaults = _DEFAULTS.get(kind.removesuffix("Fast").removesuffix("Pil"))
        if defaults is None:
            return None
        # Where there is a default, transformers reads null as "no", not as the default.
        nothing = {key for key, value in config.items() if value is None and defaults.get(key) is None}
        configured = defaults | {key: config[key] for key in config.keys() - nothing - _WITHOUT_EFFECT}
        if configured.keys() != defaults.keys() or any(
            bool(configured[key]) != value for key, value in _REQUIRED.items()
        ):
            return None
        resize = _resize_of(configured["size"])
        crop = _crop_of(configured["crop_size"]) if configured["do_center_crop"] else None
        if resize is None or (crop is None and (configured["do_center_crop"] or resize[0] == "shortest")):
            return None
        smallest = (resize[1], resize[1]) if resize[0] == "shortest" else resize
        if crop and (crop[0] > smallest[0] or crop[1] > smallest[1]):
            return None  # transformers pads with black
        match configured:
            case {
                "resample": 0 | 1 | 2 | 3 | 4 | 5 as resample,
                "rescale_factor": float() | int() as rescale,
                "image_mean": [float() | int(), float() | int(), float() | int()] as mean,
                "image_std": [float() | int(), float() | int(), float() | int()] as std,
            }:
                return cls(resize, int(resample), crop, float(rescale), tuple(mean), tuple(std), quick)
        return None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result in pixels."""
        if self.crop:
            return self.crop
        height, width = self.resize
        assert height != "shortest", "from_config requires a crop with it"
        return height, width

    @property
    def target(self) -> int:
        """Size in pixels of the resized shorter side, or the longer side of a fixed size."""
        first, second = self.resize
        return second if first == "shortest" else max(first, second)

    def resize_crop(self, image: Image.Image | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Resize and crop an RGB image, or its (h, w, 3) pixels, to (h, w, 3) uint8."""
        resample = Image.Resampling(self.resample)
        if self.quick and resample in _OF_TORCH:
            return self._quickly(np.asarray(image), _OF_TORCH[resample])
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        (height, width), (top, left) = self.placed(*image.size)
        if self.crop is None:
            return np.asarray(image.resize((width, height), resample))
        kept = (left, top, left + self.crop[1], top + self.crop[0])
        if box := self._exact_box(image, (width, height), kept):
            return np.asarray(image.resize(self.crop[::-1], resample, box=box))
        return np.asarray(image.resize((width, height), resample).crop(kept))

    def _quickly(self, pixels: npt.NDArray[np.uint8], mode: str) -> npt.NDArray[np.uint8]:
        """Resize and crop by torch, which this module loads for this alone."""
        import torch

        (height, width), (top, left) = self.placed(pixels.shape[1], pixels.shape[0])
        writable = pixels if pixels.flags.writeable else pixels.copy()  # torch would warn
        planes = torch.from_numpy(writable).permute(2, 0, 1)[None]
        resized = torch.nn.functional.interpolate(planes, size=(height, width), mode=mode, antialias=True)
        rows, columns = self.size
        kept = resized[0, :, top : top + rows, left : left + columns].permute(1, 2, 0)
        return np.ascontiguousarray(kept.numpy())

    def _exact_box(self, image: Image.Image, resized: tuple[int, int], kept: Box) -> Box | None:
        """The box of `image` that becomes `kept` of `resized`; None if resampling it alone could change a bit.

        Pillow stores the edges of the box in single precision. From version 13 it starts with the vertical pass if the
        height shrinks much more than the width; this choice must be the same for the box and for the whole image.
        """
        width, height = image.size
        square = self.crop == (self.resize[1], self.resize[1])
        one_order = square and 3 * height <= 4 * width and 2 * resized[0] <= width and 2 * resized[1] <= height
        edges = [(edge * whole, size) for edge, whole, size in zip(kept, image.size * 2, resized * 2, strict=True)]
        if self.resample in _STEPS or not one_order or any(8 * edge % size for edge, size in edges):
            return None
        left, top, right, bottom = (edge / size for edge, size in edges)
        return left, top, right, bottom

    def placed(self, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Height and width to which an image of `width` and `height` is resized, and top and left of the crop."""
        first, second = self.resize
        if first != "shortest":
            high, wide = first, second
        elif width <= height:
            high, wide = int(second * height / width), second
        else:
            high, wide = second, int(second * width / height)
        return (high, wide), ((high - self.size[0]) // 2, (wide - self.size[1]) // 2)


def squash(spec: PreprocessSpec) -> PreprocessSpec:
    """`spec` without crop and aspect ratio: the whole image is resized to its size, as in the published fine-tuning."""
    return replace(spec, resize=spec.size, resample=int(Image.Resampling.BICUBIC), crop=None)


# Defaults of transformers for what a configuration leaves out, by processor.
_CLIP: dict[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "default_to_square": False,
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_pad": None,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
_SIGLIP = _CLIP | {
    "size": {"height": 224, "width": 224},
    "do_center_crop": None,
    "crop_size": None,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
}
_DEFAULTS = {"CLIPImageProcessor": _CLIP, "CLIPFeatureExtractor": _CLIP, "SiglipImageProcessor": _SIGLIP}
_REQUIRED = {"do_resize": True, "do_rescale": True, "do_normalize": True, "default_to_square": False, "do_pad": False}
# Names, and settings without effect on images that are already RGB.
_WITHOUT_EFFECT = {
    "image_processor_type",
    "feature_extractor_type",
    "processor_class",
    "_valid_processor_keys",
    "data_format",
    "do_convert_rgb",
}


def _resize_of(size: Any) -> Resize | None:
    match size:
        case int(short) if short > 0:
            return "shortest", short
        case {"shortest_edge": int(short), **others} if short > 0 and not others:
            return "shortest", short
    return None if isinstance(size, int) else _crop_of(size)


def _crop_of(size: Any) -> tuple[int, int] | None:
    match size:
        case int(side) if side > 0:
            return side, side
        case {"height": int(height), "width": int(width), **others} if height > 0 and width > 0 and not others:
            return height, width
    return None
