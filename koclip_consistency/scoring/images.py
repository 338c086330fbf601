"""One image in any of the forms a caller may have it in: a path, a file's bytes, a PIL image or an array."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from consistency.data.files import find_images
from consistency.data.images import convert_image, decode_image
from consistency.data.reading import Decoding
from consistency.errors import ImageError, InputError

ImageInput = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]

SHAPES = "(height, width, 3) or (height, width)"


@dataclass(frozen=True, eq=False)
class OneImage:
    """An image that is decoded when it is needed.

    Attributes
    ----------
    name : str
        The file's name, or a description of an image without a file.
    key : bytes
        SHA-256 of the file's bytes, which is the image's key in the embedding cache; of an image without a file,
        SHA-256 of its pixels.
    in_cache : bool
        Whether `key` is a key of the embedding cache.
    decoded : callable
        Given a `Decoding`, the image as RGB. Raises ImageError.
    """

    name: str
    key: bytes
    in_cache: bool
    decoded: Callable[[Decoding], Image.Image]


def read_image(given: ImageInput) -> OneImage:
    """The image that a caller gives.

    Parameters
    ----------
    given : path, bytes, PIL.Image.Image or uint8 array of shape (height, width, 3) or (height, width)

    Raises
    ------
    ImageError
        If the file cannot be read.
    InputError
        If `given` is none of these.
    """
    if isinstance(given, bytes | bytearray | memoryview):
        data = bytes(given)
        return OneImage("the image", sha256(data).digest(), True, lambda d: _decode(data, d))
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        file = find_images([path.name], path.parent)[path.name]
        if file.problem or file.digest is None:
            raise ImageError(f"{path} cannot be scored: {file.problem}")
        return OneImage(str(path), file.digest, True, lambda d: d.read(file))
    image = _from_array(given) if isinstance(given, np.ndarray) else given
    if not isinstance(image, Image.Image):
        raise InputError(
            f"the image is a {type(given).__name__}, expected a path, bytes, a PIL image or a uint8 array {SHAPES}"
        )
    try:
        key = sha256(f"{image.mode} {image.size} {image.getexif().tobytes()!r}".encode() + image.tobytes()).digest()
    except Exception as error:  # a PIL image reads its file only now, and Pillow raises about anything
        raise ImageError(f"the image cannot be scored: broken or truncated: {error}") from error
    return OneImage("the image", key, False, lambda d: convert_image(image, decode=d.decode, limits=d.limits))


def _decode(data: bytes, decoding: Decoding) -> Image.Image:
    return decode_image(data, decode=decoding.decode, limits=decoding.limits, target=decoding.target)


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)) or not array.size:
        raise InputError(f"the image is an array {array.shape} {array.dtype}, expected uint8 of shape {SHAPES}")
    return Image.fromarray(array)


def unusable(image: OneImage, error: ImageError) -> ImageError:
    """The error that says why an image cannot be scored."""
    return ImageError(f"{image.name} cannot be scored: {error}")
