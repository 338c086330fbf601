"""The keys under which vectors are stored: digests of what was encoded."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from embedcache.segments import KEY_BYTES, Keys

if TYPE_CHECKING:
    from consistency.data.files import ImageFile


def image_key(file: "ImageFile") -> Keys:
    """Key of an image, (32,) uint8: SHA-256 of its content."""
    if file.digest is None:
        raise ValueError(f"{file.name} has no content and so no key: {file.problem}")
    return np.frombuffer(file.digest, np.uint8)


def image_keys(files: "Sequence[ImageFile]") -> Keys:
    """Keys of n images, (n, 32) uint8."""
    return np.frombuffer(b"".join(image_key(file).tobytes() for file in files), np.uint8).reshape(-1, KEY_BYTES)


def hashtag_keys(texts: Iterable[str]) -> Keys:
    """Keys of n hashtags, (n, 32) uint8: SHA-256 of each text in UTF-8."""
    digests = b"".join(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts)
    return np.frombuffer(digests, np.uint8).reshape(-1, KEY_BYTES)
