"""Images decoded by processes and resized by the device that encodes them, with the pixels that Pillow would give.

Processes copy decoded pixels into shared memory. On CUDA this is pinned, so that the device fetches them on a stream
of its own while it encodes. Images that find no room are resized by the process that decoded them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from consistency.backbone.device_resize import DeviceResize
from consistency.backbone.preprocess import PreprocessSpec
from consistency.data.files import ImageFile
from consistency.data.reading import Decoding
from consistency.errors import is_out_of_memory
from embedcache.engines.local import Batches, Pixels, Problems, Stack, process_batches

IMAGES_PER_CALL = 4
ROOM = IMAGES_PER_CALL * 6 << 20  # bytes per call: four images of 2 megapixels


def device_batches(
    decoding: Decoding,
    spec: PreprocessSpec,
    files: Sequence[ImageFile],
    problems: Problems,
    *,
    size: int,
    workers: int,
    device: str,
) -> Batches:
    """Like `process_batches`, but a torch device resizes and holds the batches, if it gives Pillow's pixels.

    Shared memory is bounded by `ROOM` times the calls under way, however large images are.

    Parameters
    ----------
    device : str
        Where to resize.
    decoding, spec, files, problems, size, workers
        As for `process_batches`.

    Yields
    ------
    files : list of ImageFile
        Up to `size` images that can be used.
    batch : (n, h, w, 3) uint8 tensor on `device`, or ndarray
        Their pixels. The tensor is complete, and must be held until the device has read it.
    """
    resize = DeviceResize.exact(spec, device)
    if resize is None:
        return process_batches(decoding, spec, files, problems, size=size, workers=workers)
    if decoding.decode == "ours":  # the same pixels, decoded straight to an array
        decoding = replace(decoding, decode="fast", target=None)
    stack = DeviceStack(resize, device)
    return process_batches(decoding, spec, files, problems, size=size, workers=workers, stack=stack)


class DeviceStack(Stack):
    """Resizes images on a device and stacks them there.

    Parameters
    ----------
    resize : callable
        Maps (h, w, 3) uint8 pixels on the device to resized ones.
    device : str
        Where to put images.
    """

    raw, images_per_call, room = True, IMAGES_PER_CALL, ROOM

    def __init__(self, resize: DeviceResize, device: str) -> None:
        super().__init__()
        self._resize, self._device = resize, device
        # Before the encoder's kernels: there are few, and it waits for them.
        self._stream = torch.cuda.Stream(device, priority=-1) if device.startswith("cuda") else None
        self._pinned: int | None = None

    def begin(self, shared: npt.NDArray[np.uint8]) -> None:
        if self._stream is None:
            return
        if not int(torch.cuda.cudart().cudaHostRegister(shared.ctypes.data, shared.nbytes, 0)):
            self._pinned = shared.ctypes.data
            return
        with suppress(RuntimeError):  # otherwise the next kernel would raise the error, which only costs speed
            torch.zeros(1, device=self._device)

    def add(self, images: Sequence[Pixels]) -> Callable[[], None]:
        with self._on_stream():
            self._images += [self._put(*image) for image in images]
            return self._mark()

    def _put(self, pixels: npt.NDArray[np.uint8], raw: bool) -> torch.Tensor:
        try:
            there = torch.from_numpy(pixels).to(self._device, non_blocking=True, copy=True)
            return self._resize(there) if raw else there
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        return torch.from_numpy(np.array(self._resize.spec.resize_crop(pixels) if raw else pixels))

    def batch(self) -> Any:
        images, self._images = self._images, []
        with self._on_stream():
            try:
                batch = torch.stack([image.to(self._device) for image in images])
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                batch = None
            if batch is None:  # outside of `except`, whose traceback keeps memory alive
                return np.stack([image.cpu().numpy() for image in images])
            self._mark()()
        return batch

    def end(self) -> None:
        if self._stream is not None and self._pinned is not None:
            with suppress(RuntimeError):  # of the error that ended the work
                self._stream.synchronize()
            torch.cuda.cudart().cudaHostUnregister(self._pinned)

    def _on_stream(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _mark(self) -> Callable[[], None]:
        """Record what has been asked of the device; the result waits for it, without occupying a core."""
        if self._stream is None:
            return lambda: None
        event = torch.cuda.Event(blocking=True)
        event.record(self._stream)
        return event.synchronize
