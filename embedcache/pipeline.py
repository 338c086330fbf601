"""Encodes batches that shrink when memory runs out, and writes embeddings to the cache in the background."""

import gc
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from consistency.errors import OutOfMemory, StorageError, is_out_of_memory
from embedcache.segments import Keys, Kind, Vectors
from embedcache.store import EmbeddingCache

COMMIT_BYTES = 4 << 20
COMMIT_SECONDS = 30.0

T = TypeVar("T")
Launched = Callable[[], tuple[Vectors, float]]


class Encoder:
    """Encodes in batches whose size halves whenever the device runs out of memory.

    Attributes
    ----------
    batch_size : int
        Largest batch.
    busy : float
        Seconds spent encoding.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.busy = 0.0

    def __call__(self, encode: Callable[[Any], Vectors], batch: Any) -> Vectors:
        """Encode a batch, in parts if necessary.

        Parameters
        ----------
        encode : callable
            Maps a part of the batch to (n, d) float32.
        batch : sequence or ndarray
            What to encode.

        Returns
        -------
        (len(batch), d) float32

        Raises
        ------
        OutOfMemory
            If memory does not suffice for a batch of one.
        """
        started = time.perf_counter()
        try:
            return np.concatenate(self._fitting(encode, batch))
        finally:
            self.busy += time.perf_counter() - started

    def ahead(self, launch: Callable[[Any], Launched], batches: Iterable[tuple[T, Any]]) -> Iterator[tuple[T, Vectors]]:
        """Encode batches, each of which is launched before the one before it is collected, so that no device waits.

        Parameters
        ----------
        launch : callable
            Begins to encode a part of a batch, for which it takes all the memory. What it returns waits for the
            vectors, (n, d) float32, and gives them with the seconds that the device took.
        batches : iterable of (object, batch)
            What to encode, each with what its vectors are returned with.

        Yields
        ------
        object
            What came with a batch.
        vectors : (len(batch), d) float32
            Its vectors, in the order of `batches`.

        Raises
        ------
        OutOfMemory
            If memory does not suffice for a batch of one.
        """
        before: tuple[T, Any, list[Launched]] | None = None  # holds the batch, which the device reads
        for item, batch in batches:
            current = item, batch, self._fitting(launch, batch)
            if before is not None:
                yield before[0], self._collected(before[2])
            before = current
        if before is not None:
            yield before[0], self._collected(before[2])

    def _collected(self, parts: list[Launched]) -> Vectors:
        vectors, seconds = zip(*(part() for part in parts), strict=True)
        self.busy += sum(seconds)
        return np.concatenate(vectors)

    def _fitting(self, function: Callable[[Any], T], batch: Any) -> list[T]:
        """The results for the parts of a batch, which become smaller until memory suffices."""
        while True:
            try:
                return [function(batch[at : at + self.batch_size]) for at in range(0, len(batch), self.batch_size)]
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if self.batch_size == 1:
                    raise OutOfMemory(
                        "the device has too little memory for a batch of 1; use another device or a smaller backbone"
                    ) from error
            self.batch_size = max(1, min(self.batch_size, len(batch)) // 2)
            _free_memory()  # outside of `except`, whose traceback keeps the failed batch alive


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


class Writer:
    """Appends rows to a cache in a background thread, about every 4 MiB or 30 s.

    Leaving the `with` block commits all remaining rows, even after an interruption.
    """

    def __init__(self, cache: EmbeddingCache) -> None:
        self._cache = cache
        self._queue: queue.Queue[tuple[Kind, Keys, Vectors] | None] = queue.Queue(maxsize=4)
        self._pending: dict[Kind, list[tuple[Keys, Vectors]]] = {}
        self._bytes = 0
        self._since = 0.0
        self._error: Exception | None = None
        self._lost = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def put(self, kind: Kind, keys: Keys, vectors: Vectors) -> None:
        """Queue keys (n, 32) uint8 and vectors (n, d) float32; raises the error of an earlier commit that failed."""
        if self._error is not None:
            raise self._error
        self._queue.put((kind, keys, vectors))

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            reason = StorageError(f"{self._error}; {self._lost} encoded rows were not stored")
            raise reason if isinstance(self._error, StorageError) else self._error

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=self._wait())
            except queue.Empty:
                self._commit()
                continue
            if item is None:
                self._commit()
                return
            kind, keys, vectors = item
            if self._error is not None:
                self._lost += len(keys)
                continue
            self._since = self._since if self._bytes else time.monotonic()
            self._pending.setdefault(kind, []).append((keys, vectors))
            self._bytes += keys.nbytes + vectors.size * self._cache.dtype.itemsize
            if self._bytes >= COMMIT_BYTES:
                self._commit()

    def _wait(self) -> float | None:
        return max(0.0, self._since + COMMIT_SECONDS - time.monotonic()) if self._bytes else None

    def _commit(self) -> None:
        pending, self._pending, self._bytes = self._pending, {}, 0
        for kind, parts in pending.items():
            try:
                if self._error is None:
                    keys, vectors = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
                    self._cache.append(kind, keys, vectors)
                    continue
            except Exception as error:
                self._error = error
            self._lost += sum(len(keys) for keys, _ in parts)
