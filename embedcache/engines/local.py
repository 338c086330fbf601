"""Decodes and prepares images in batches for the model that encodes them.

With a model on a CPU, threads decode while it waits. A GPU encodes a batch faster than Python threads can hand images
on, and launching its kernels would compete with them for the interpreter, so for a GPU processes decode into shared
memory. This module imports neither torch nor HDF5, so that these processes start quickly.
"""

import ctypes
import math
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import PIL.Image

from consistency.backbone.preprocess import PreprocessSpec
from consistency.data.files import ImageFile
from consistency.data.reading import Budget, Decoding, Prepare, pixels_at_once
from consistency.errors import ImageError, OutOfMemory

PER_THREAD = 4  # images decoded at a time, at least, so that threads seldom wait for the last of them
AHEAD = 2  # calls per process that are under way
SPARE = 2  # calls whose images are being copied

T = TypeVar("T")
Batches = Generator[tuple[list[ImageFile], Any], None, None]
Problems = dict[bytes | None, str]  # reason by digest of the content
Pixels = tuple[npt.NDArray[np.uint8], bool]  # (h, w, 3) pixels, and whether they are still to be resized
Found = str | tuple[int, int, bool]  # what is wrong with an image; or height, width, and whether to resize


def thread_batches(
    decoding: Decoding,
    prepare: Prepare,
    files: Sequence[ImageFile],
    problems: Problems,
    *,
    size: int,
    workers: int,
) -> Batches:
    """Decode images in threads, a few batches at a time, and none while the caller encodes them.

    On a CPU the encoder's own threads want every core. A thread that decodes takes one away, and those of the encoder
    wait for each other at the end of every matrix product. For a model elsewhere, wrap the batches in `one_ahead`.

    Parameters
    ----------
    decoding : Decoding
        How to read and decode.
    prepare : callable
        Maps a decoded image to an array.
    files : sequence of ImageFile
        Images to decode.
    problems : dict
        Receives the reason for every image that cannot be used, by digest.
    size : int
        Images per batch.
    workers : int
        Number of threads.

    Yields
    ------
    files : list of ImageFile
        Up to `size` images that can be used.
    batch : (n, ...) ndarray
        Their stacked arrays.
    """
    room = Budget(pixels_at_once(workers))
    at_once = size * math.ceil(PER_THREAD * workers / size)
    pool = ThreadPoolExecutor(workers)
    try:
        for start in range(0, len(files), at_once):
            part = files[start : start + at_once]
            calls = [pool.submit(decoding.prepared, file, prepare, room) for file in part]
            chosen: list[ImageFile] = []
            arrays: list[npt.NDArray[Any]] = []
            for file, call in zip(part, calls, strict=True):
                try:
                    arrays.append(call.result())
                    chosen.append(file)
                except ImageError as error:
                    problems[file.digest] = str(error)
            for at in range(0, len(chosen), size):
                yield chosen[at : at + size], np.stack(arrays[at : at + size])
    finally:
        pool.shutdown(cancel_futures=True)


class Stack:
    """Gathers the images of a batch as the decoding processes prepared them.

    Attributes
    ----------
    raw : bool
        Whether processes hand images on as they decoded them, as long as these fit, instead of resized.
    images_per_call : int
        Images per call to a process.
    room : int
        Bytes of shared memory per call; the least is that of resized images.
    """

    raw, images_per_call, room = False, 8, 0

    def __init__(self) -> None:
        self._images: list[Any] = []

    def begin(self, shared: npt.NDArray[np.uint8]) -> None:
        """Receive the shared memory."""

    def add(self, images: Sequence[Pixels]) -> Callable[[], None]:
        """Take images out of the shared memory, in which they may change once the result has been called."""
        self._images += [pixels.copy() for pixels, _ in images]
        return lambda: None

    def batch(self) -> Any:
        """All images since the last batch, stacked."""
        images, self._images = self._images, []
        return np.stack(images)

    def end(self) -> None:
        """Let go of the shared memory."""


def process_batches(
    decoding: Decoding,
    spec: PreprocessSpec,
    files: Sequence[ImageFile],
    problems: Problems,
    *,
    size: int,
    workers: int,
    stack: Stack | None = None,
) -> Batches:
    """Like `thread_batches`, but in processes and with `spec.resize_crop`.

    The processes write into shared memory, which has room for `AHEAD` calls per process and is used again as soon as
    `stack` has taken the images.

    Raises
    ------
    OutOfMemory
        If one of the processes is killed.
    """
    stack = Stack() if stack is None else stack
    context = decoding_context(spec.quick)
    per_call, ahead = max(1, min(stack.images_per_call, min(size, len(files)) // workers)), AHEAD * workers
    shape = ahead + SPARE, max(stack.room, per_call * math.prod(spec.size) * 3)
    shared = context.RawArray(ctypes.c_uint8, math.prod(shape))
    places = np.frombuffer(shared, np.uint8).reshape(shape)
    room = Budget(pixels_at_once(workers), context.Condition(), context.Value(ctypes.c_longlong, lock=False))
    pool = ProcessPoolExecutor(workers, context, _begin, (decoding, spec, room, shared, shape, stack.raw))
    under_way = deque[tuple[Sequence[ImageFile], bool, int, Future[list[Found]]]]()
    free, taken = list(range(len(places))), deque[tuple[int, Callable[[], None]]]()
    chosen: list[ImageFile] = []

    def finished() -> Batches:
        nonlocal chosen
        some, last, place, call = under_way.popleft()
        images: list[Pixels] = []
        at = 0
        for file, found in zip(some, call.result(), strict=True):
            if isinstance(found, str):
                problems[file.digest] = found
                continue
            height, width, raw = found
            pixels = places[place, at : (at := at + 3 * height * width)]
            images.append((pixels.reshape(height, width, 3), raw))
            chosen.append(file)
        taken.append((place, stack.add(images)))
        if last and chosen:
            batch, chosen = (chosen, stack.batch()), []
            yield batch

    try:
        stack.begin(places)
        for some, last in _calls(files, size, per_call):
            if len(under_way) == ahead:
                yield from finished()
            if not free:
                place, wait = taken.popleft()
                wait()
                free.append(place)
            place = free.pop()
            under_way.append((some, last, place, pool.submit(_fill, place, some)))
        while under_way:
            yield from finished()
    except BrokenProcessPool as error:
        raise OutOfMemory(
            "a process that decodes images was killed, most likely for lack of memory: try fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
        stack.end()


def _calls(files: Sequence[ImageFile], size: int, per_call: int) -> Iterator[tuple[Sequence[ImageFile], bool]]:
    """The images of each call, and whether a batch of `size` ends with them."""
    for start in range(0, len(files), size):
        part = files[start : start + size]
        for at in range(0, len(part), per_call):
            yield part[at : at + per_call], at + per_call >= len(part)


def decoding_context(quick: bool = False) -> Any:
    """Multiprocessing context of the decoding processes: a fork server with imported modules, if the system has one.

    The server takes a while to start, so call this before other slow work, such as loading a model. With `quick` it
    also imports torch, which resizes then.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver  # not available on every system

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__, *(["torch"] if quick else [])])
    forkserver.ensure_running()
    return context


_own: tuple[Decoding, PreprocessSpec, Budget, npt.NDArray[np.uint8], bool]  # state of a decoding process


def _begin(
    decoding: Decoding, spec: PreprocessSpec, room: Budget, shared: Any, shape: tuple[int, int], raw: bool
) -> None:
    global _own
    _own = decoding, spec, room, np.frombuffer(shared, np.uint8).reshape(shape), raw
    if spec.quick:
        import torch

        torch.set_num_threads(1)  # each core has a process
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent handles interruptions
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent dies: if it is killed, its decoding processes would wait forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _fill(place: int, files: Sequence[ImageFile]) -> list[Found]:
    """Fill a place with images, one after another."""
    decoding, spec, room, places, raw = _own
    at, resized = 0, math.prod(spec.size) * 3

    def store(image: PIL.Image.Image | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        width, height = image.size if isinstance(image, PIL.Image.Image) else image.shape[1::-1]
        whole = raw and 3 * height * width <= most
        pixels = np.asarray(image) if whole else spec.resize_crop(image)
        places[place, at : at + pixels.size] = pixels.reshape(-1)
        found.append((*pixels.shape[:2], whole))
        return pixels

    found: list[Found] = []
    for number, file in enumerate(files, start=1):
        most = places.shape[1] - at - resized * (len(files) - number)  # the others find room at least when resized
        try:
            at += decoding.prepared(file, store, room).size
        except ImageError as error:
            found.append(str(error))
    return found


def one_ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """Yield the same items, computing each in a thread while the previous one is used."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        try:
            future: Future[Any] = pool.submit(next, items, end)
            while (item := future.result()) is not end:
                future = pool.submit(next, items, end)
                yield item
        finally:
            pool.submit(items.close)
