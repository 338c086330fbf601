"""Images from their files: decoded in one chosen way, as they were when they were listed, within bounds of memory.

This module knows no torch, so that processes which decode start quickly.
"""

import ctypes
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from PIL import Image

from consistency.data.files import ImageFile
from consistency.data.images import Decode, ImageLimits, count_pixels, decode_image
from consistency.errors import ImageError

# Being decoded, by all workers together: each pixel takes 4 to 8 bytes. A worker always gets a phone's 12 megapixels.
PIXELS_AT_ONCE = 75_000_000
PIXELS_OF_A_WORKER = 12_500_000

Prepare = Callable[[Image.Image], npt.NDArray[Any]]


@dataclass(frozen=True)
class Decoding:
    """How files are decoded. target: the size an image's shorter side is brought to, where that is known."""

    decode: Decode
    limits: ImageLimits
    target: int | None = None

    def read(self, file: ImageFile) -> Image.Image:
        """Raises ImageError for an image that cannot be used, or is no longer the one its key was made of."""
        assert file.path is not None
        try:
            data = file.path.read_bytes()
        except OSError as error:
            raise ImageError(f"cannot be read ({error.strerror})") from error
        if hashlib.sha256(data).digest() != file.digest:
            raise ImageError("changed while it was read")
        return decode_image(data, decode=self.decode, limits=self.limits, target=self.target)

    def prepared(self, file: ImageFile, prepare: Prepare, room: "Budget") -> npt.NDArray[Any]:
        """`prepare` of what `read` gives, once there is room for its pixels."""
        assert file.path is not None
        with room.hold(count_pixels(file.path, decode=self.decode, target=self.target)):
            return prepare(self.read(file))


class Budget:
    """Lets calls in several threads go on while what they hold stays within `total`; a larger one goes alone.

    changed, held: a condition and a number of `multiprocessing`, for calls in several processes.
    """

    def __init__(self, total: int, changed: Any = None, held: Any = None) -> None:
        self.total = total
        self._changed = threading.Condition() if changed is None else changed
        self._held = ctypes.c_longlong() if held is None else held

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._held.value or self._held.value + amount <= self.total)
            self._held.value += amount
        try:
            yield
        finally:
            with self._changed:
                self._held.value -= amount
                self._changed.notify_all()


def pixels_at_once(workers: int) -> int:
    return max(PIXELS_AT_ONCE, workers * PIXELS_OF_A_WORKER)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
