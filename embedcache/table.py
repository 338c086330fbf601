"""All rows of one kind: sorted keys over the segments, and vectors gathered from the mapped files."""

import functools
import resource
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from embedcache.segments import KEY_BYTES, Keys, Segment, Vectors

FEW = 8  # rows per segment, on average, up to which a view of each row is quicker than a call for each segment
DESCRIPTORS = 8192

Rows = npt.NDArray[np.int64]


class Table:
    """A fixed view of `segments` (in the order of their names): a key that is there twice counts once, the first.

    Stays readable while segments are added, and while a compaction replaces them: what is mapped stays mapped.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = tuple(segments)
        lengths = [len(segment) for segment in self.segments]
        keys = np.concatenate([np.zeros((0, KEY_BYTES), np.uint8), *(segment.keys for segment in self.segments)])
        flat = _as_bytes(keys)
        order = np.argsort(flat, kind="stable")  # stable: of equal keys the first segment's comes first
        flat = flat[order]
        first = np.ones(len(flat), bool)
        first[1:] = flat[1:] != flat[:-1]
        order = order[first]
        starts = np.cumsum([0, *lengths])
        self._keys = flat[first]
        self._heads = _heads(self._keys)
        self.segment = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[order]  # (n,) of each row
        self.row = order - starts[self.segment]  # (n,) int64 inside its segment
        self._maps: dict[int, npt.NDArray[np.floating]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def dim(self) -> int | None:
        return self.segments[0].dim if self.segments else None

    @property
    def keys(self) -> Keys:
        """(n, 32) uint8, sorted and distinct."""
        return self._keys.view(np.uint8).reshape(-1, KEY_BYTES)

    def find(self, keys: Keys) -> Rows:
        """The rows (m,) int64 of `keys` (m, 32) uint8 in this table, -1 where absent."""
        flat = _as_bytes(keys)
        if not len(self):
            return np.full(len(flat), -1, np.int64)
        # The first 8 bytes decide between SHA-256 digests; searching in sorted order halves the cache misses.
        heads = _heads(flat)
        order = np.argsort(heads)
        rows = np.empty(len(flat), np.int64)
        rows[order] = np.searchsorted(self._heads, heads[order])
        rows[rows == len(self)] = 0
        missed = np.flatnonzero(self._keys[rows] != flat)
        rows[missed[self._heads[rows[missed]] != heads[missed]]] = -1
        shared = missed[rows[missed] >= 0]  # same head, other key: keys that are no digests
        if len(shared):
            at = np.minimum(np.searchsorted(self._keys, flat[shared]), len(self) - 1)
            rows[shared] = np.where(self._keys[at] == flat[shared], at, -1)
        return rows

    def touched(self, rows: Rows) -> list[Segment]:
        """The segments that hold `rows`."""
        counts = np.bincount(self.segment[rows], minlength=len(self.segments))
        return [self.segments[index] for index in np.flatnonzero(counts)]

    def take(self, rows: Rows) -> Vectors:
        """The vectors (m, d) float32 of `rows`; raises FileNotFoundError where a compaction removed a file."""
        out = np.empty((len(rows), self.dim or 0), self.segments[0].dtype if self.segments else np.float32)
        segment, row = self.segment[rows], self.row[rows]
        if 0 < len(rows) <= FEW * len(self.segments) and len(self.segments) <= open_maps():
            vectors = [self._map(index)[at] for index, at in zip(segment.tolist(), row.tolist(), strict=True)]
            np.concatenate(vectors, out=out.reshape(-1))
            return as_float32(out)
        order = np.argsort(segment, kind="stable")
        for start, stop in pairwise(np.flatnonzero(np.diff(segment[order], prepend=-1, append=-1))):
            chosen = order[start:stop]
            out[chosen] = self._map(int(segment[chosen[0]])).take(row[chosen], axis=0, mode="clip")  # "raise" is slower
        return as_float32(out)

    def _map(self, index: int) -> npt.NDArray[np.floating]:
        found = self._maps.get(index)
        if found is None:
            if len(self._maps) >= open_maps():
                del self._maps[next(iter(self._maps))]
            found = self._maps[index] = self.segments[index].map()
        return found


@functools.cache
def open_maps() -> int:
    """How many segments a table keeps mapped: each holds a file descriptor, of which a process has few by default.

    Asks the system for more, so that a cache of millions of rows in small segments is not mapped again and again.
    """
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if most == resource.RLIM_INFINITY else min(DESCRIPTORS, most)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
            limit = wanted
    return (DESCRIPTORS if limit == resource.RLIM_INFINITY else limit) // 4  # two kinds, and as many for all else


def as_float32(vectors: npt.NDArray[np.floating]) -> Vectors:
    """`vectors` float32 or finite float16, exactly; numpy's own conversion of float16 takes several times as long."""
    if vectors.dtype != np.float16:
        return vectors.astype(np.float32, copy=False)
    bits = vectors.view(np.int16).astype(np.int32)
    bits <<= 13  # exponent and fraction are now where float32 has them, below four copies of the sign
    bits &= ~0x70000000
    wide = bits.view(np.float32)
    wide *= np.float32(2.0**112)  # the difference of the two exponents' biases
    return wide


def sort_rows(keys: Keys) -> Rows:
    """The rows of `keys` (n, 32) uint8 that make them sorted and distinct; of equal keys the first."""
    return np.unique(_as_bytes(keys), return_index=True)[1].astype(np.int64)


def _as_bytes(keys: Keys) -> npt.NDArray[np.bytes_]:
    if keys.ndim != 2 or keys.shape[1] != KEY_BYTES or keys.dtype != np.uint8:
        raise ValueError(f"keys {keys.shape} {keys.dtype}, expected (n, {KEY_BYTES}) uint8")
    return np.ascontiguousarray(keys).view(f"S{KEY_BYTES}").ravel()


def _heads(flat: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint64]:
    columns = flat.view(np.uint8).reshape(-1, KEY_BYTES)[:, :8]
    return np.ascontiguousarray(columns).view(">u8").ravel().astype(np.uint64)
