"""Decodes and prepares images in batches, ahead of the model that encodes them.

With a model on a CPU, threads decode. A GPU encodes a batch faster than Python threads can hand images on, and
launching its kernels would compete with them for the interpreter, so for a GPU processes decode into shared memory.
This module imports neither torch nor HDF5, so that these processes start quickly.
"""

import ctypes
import math
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from consistency.backbone.preprocess import PreprocessSpec
from consistency.data.files import ImageFile
from consistency.data.reading import Budget, Decoding, Prepare, pixels_at_once
from consistency.errors import ImageError, OutOfMemory

SLOTS = 3  # batches in shared memory: one is read while two are filled
CHUNK = 8  # images per call to a process

T = TypeVar("T")
R = TypeVar("R")
Batches = Generator[tuple[list[ImageFile], npt.NDArray[Any]], None, None]
Problems = dict[bytes | None, str]  # reason by digest of the content


def batch_ends(count: int, size: int, workers: int) -> list[int]:
    """Ends of batches of `count` files; the first are small, so that the encoder can start early."""
    ends, wanted = [0], min(size, workers)
    while ends[-1] < count:
        ends.append(min(count, ends[-1] + wanted))
        wanted = min(size, 2 * wanted)
    return ends[1:]


def thread_batches(
    decoding: Decoding,
    prepare: Prepare,
    files: Sequence[ImageFile],
    problems: Problems,
    *,
    size: int,
    workers: int,
) -> Batches:
    """Decode images in threads; memory holds a few batches, however many files there are.

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
    calls = in_order(lambda file: decoding.prepared(file, prepare, room), files, workers=workers, ahead=2 * size)
    chosen: list[ImageFile] = []
    arrays: list[npt.NDArray[Any]] = []
    ends = set(batch_ends(len(files), size, workers))
    for number, (file, prepared) in enumerate(calls, start=1):
        try:
            arrays.append(prepared.result())
            chosen.append(file)
        except ImageError as error:
            problems[file.digest] = str(error)
        if chosen and number in ends:
            yield chosen, np.stack(arrays)
            chosen, arrays = [], []


def process_batches(
    decoding: Decoding, spec: PreprocessSpec, files: Sequence[ImageFile], problems: Problems, *, size: int, workers: int
) -> Batches:
    """Like `thread_batches`, but in processes and with `spec.resize_crop`.

    Raises
    ------
    OutOfMemory
        If one of the processes is killed.
    """
    context = decoding_context(spec.quick)
    shape = (SLOTS, min(size, len(files)), *spec.size, 3)
    shared = context.RawArray(ctypes.c_uint8, math.prod(shape))
    places = np.frombuffer(shared, np.uint8).reshape(shape)
    room = Budget(pixels_at_once(workers), context.Condition(), context.Value(ctypes.c_longlong, lock=False))
    free, under_way = list(range(SLOTS)), deque[tuple[int, list[tuple[ImageFile, int, Future[list[str | None]]]]]]()
    pool = ProcessPoolExecutor(workers, context, _begin, (decoding, spec, room, shared, shape))

    def submit(part: Sequence[ImageFile]) -> None:
        slot, chunk, calls = free.pop(), max(1, min(CHUNK, len(part) // workers)), []
        for start in range(0, len(part), chunk):
            some = part[start : start + chunk]
            call = pool.submit(_fill, slot, start, some)
            calls += [(file, number, call) for number, file in enumerate(some)]
        under_way.append((slot, calls))

    def finished() -> tuple[list[ImageFile], npt.NDArray[Any]]:
        slot, calls = under_way.popleft()
        reasons = [call.result()[number] for _, number, call in calls]
        problems.update((file.digest, reason) for (file, *_), reason in zip(calls, reasons, strict=True) if reason)
        good = [number for number, reason in enumerate(reasons) if reason is None]
        batch = places[slot, : len(calls)].copy() if len(good) == len(calls) else places[slot, good]
        free.append(slot)
        return [calls[number][0] for number in good], batch

    try:
        for start in range(0, len(files), size):
            submit(files[start : start + size])
            if not free and (batch := finished())[0]:
                yield batch
        while under_way:
            if (batch := finished())[0]:
                yield batch
    except BrokenProcessPool as error:
        raise OutOfMemory(
            "a process that decodes images was killed, most likely for lack of memory: try fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


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


_own: tuple[Decoding, PreprocessSpec, Budget, npt.NDArray[np.uint8]]  # state of a decoding process


def _begin(decoding: Decoding, spec: PreprocessSpec, room: Budget, shared: Any, shape: tuple[int, ...]) -> None:
    global _own
    _own = decoding, spec, room, np.frombuffer(shared, np.uint8).reshape(shape)
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


def _fill(slot: int, start: int, files: Sequence[ImageFile]) -> list[str | None]:
    """Fill places of a slot, from `start`, with prepared images; return what is wrong with each, or None."""
    decoding, spec, room, places = _own
    reasons: list[str | None] = []
    for place, file in enumerate(files, start=start):
        try:
            places[slot, place] = decoding.prepared(file, spec.resize_crop, room)
            reasons.append(None)
        except ImageError as error:
            reasons.append(str(error))
    return reasons


def in_order(
    function: Callable[[T], R], items: Sequence[T], *, workers: int, ahead: int
) -> Generator[tuple[T, Future[R]], None, None]:
    """Call `function` in threads, at most `ahead` items ahead, and yield each item with its finished call in order."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > ahead:
                    yield _finished(waiting.popleft())
            while waiting:
                yield _finished(waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()


def _finished(call: tuple[T, Future[R]]) -> tuple[T, Future[R]]:
    call[1].exception()  # waits
    return call


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
