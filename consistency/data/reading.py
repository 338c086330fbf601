"""Reads and decodes images within a memory budget, and rejects files that changed since they were found.

This module does not import torch, so that decoding processes start quickly.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from consistency.data.files import ImageFile
from consistency.data.images import count_pixels, decode_image, decode_pixels
from consistency.data.sources import read_checked
from consistency.options import Decode, ImageLimits

# Pixels that all workers together decode at a time, of `images.PIXEL_BYTES` each. Every worker gets at least the 12
# megapixels of a phone's camera.
PIXELS_AT_ONCE = 75_000_000
PIXELS_OF_A_WORKER = 12_500_000
LARGE = 40_000_000  # pixels of an image before which freed memory is returned to the system

Prepare = Callable[[Image.Image | npt.NDArray[np.uint8]], npt.NDArray[Any]]


@dataclass(frozen=True)
class Decoding:
    """How images are read and decoded.

    Attributes
    ----------
    decode : {"ours", "fast", "published"}
        As for `images.decode_image`.
    limits : ImageLimits
        Limits beyond which an image is rejected.
    target : int or None
        Size in pixels to which the shorter side of the image is resized afterwards, if known.
    """

    decode: Decode
    limits: ImageLimits
    target: int | None = None

    def read(self, file: ImageFile) -> Image.Image:
        """Read and decode an image.

        Raises
        ------
        ImageError
            If it cannot be used, or its content has changed since it was found.
        """
        return self._decoded(file.read())

    def prepared(self, file: ImageFile, prepare: Prepare, room: "Budget") -> npt.NDArray[Any]:
        """Read, decode and prepare an image once the budget has room for its bytes and pixels.

        The file is opened once, and its header tells how much room the image needs before its bytes are read.

        Parameters
        ----------
        file : ImageFile
            The image.
        prepare : callable
            Maps the decoded RGB image, or its (h, w, 3) pixels if `decode` is "fast", to an array.
        room : Budget
            Budget in pixels, shared by all workers.

        Returns
        -------
        ndarray
            What `prepare` returns.

        Raises
        ------
        ImageError
            As for `read`.
        """
        with file.open() as stream, room.hold(pixels := count_pixels(stream, decode=self.decode, target=self.target)):
            if pixels > LARGE:
                _trim()
            data = read_checked(stream, file.digest)
            if self.decode == "fast":
                return prepare(decode_pixels(data, limits=self.limits, target=self.target))
            return prepare(self._decoded(data))

    def _decoded(self, data: bytes) -> Image.Image:
        return decode_image(data, decode=self.decode, limits=self.limits, target=self.target)


class Budget:
    """Limits how much several workers hold at once; a single larger amount waits until it is alone.

    Parameters
    ----------
    total : int
        Largest sum of the amounts held at once.
    changed, held : optional
        A condition and a shared integer of `multiprocessing`, for workers in several processes.
    """

    def __init__(self, total: int, changed: Any = None, held: Any = None) -> None:
        self.total = total
        self._changed = threading.Condition() if changed is None else changed
        self._held = ctypes.c_longlong() if held is None else held

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Wait until there is room for `amount`, and hold it until the block ends."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held.value or self._held.value + amount <= self.total)
            self._held.value += amount
        try:
            yield
        finally:
            with self._changed:
                self._held.value -= amount
                self._changed.notify_all()


def _trim() -> None:
    """Return memory that is free to the system: glibc would keep some 200 MB of earlier images."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def pixels_at_once(workers: int) -> int:
    """The budget, in pixels, of a number of workers."""
    return max(PIXELS_AT_ONCE, workers * PIXELS_OF_A_WORKER)


def cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
