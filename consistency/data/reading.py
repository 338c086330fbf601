"""Reads and decodes images in one chosen way within bounds of memory, and refuses those that changed meanwhile.

The module imports no torch, so that decoding processes start quickly.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from PIL import Image

from consistency.data.files import ImageFile
from consistency.data.images import count_pixels, decode_image
from consistency.data.sources import read_checked
from consistency.options import Decode, ImageLimits

# Being decoded, by all workers together: each pixel takes 4 to 8 bytes. A worker always gets a phone's 12 megapixels.
PIXELS_AT_ONCE = 75_000_000
PIXELS_OF_A_WORKER = 12_500_000

Prepare = Callable[[Image.Image], npt.NDArray[Any]]


@dataclass(frozen=True)
class Decoding:
    """How images are read and decoded.

    Attributes
    ----------
    decode : {"ours", "fast", "published"}
        As `images.decode_image` takes it.
    limits : ImageLimits
        What is refused.
    target : int or None
        The size in pixels that an image's shorter side is brought to afterwards, where that is known.
    """

    decode: Decode
    limits: ImageLimits
    target: int | None = None

    def read(self, file: ImageFile) -> Image.Image:
        """The decoded image; raises ImageError where it cannot be used, or is no longer the one that was found."""
        return self._decoded(file.read())

    def prepared(self, file: ImageFile, prepare: Prepare, room: "Budget") -> npt.NDArray[Any]:
        """`prepare` of what `read` gives, once there is room for the image's bytes and pixels.

        The file is opened once: its header says how much room the image takes before its bytes are read.
        """
        with (
            file.open() as stream,
            room.hold(count_pixels(stream, decode=self.decode, target=self.target)),
        ):
            return prepare(self._decoded(read_checked(stream, file.digest)))

    def _decoded(self, data: bytes) -> Image.Image:
        return decode_image(data, decode=self.decode, limits=self.limits, target=self.target)


class Budget:
    """Lets calls of several threads proceed while what they hold stays within `total`; a larger one proceeds alone.

    Parameters
    ----------
    total : int
        How much may be held at once.
    changed, held : optional
        A condition and a shared number of `multiprocessing`, for calls of several processes.
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
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
