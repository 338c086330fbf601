"""The index over the segments of one kind: finds rows by key and gathers vectors from the mapped files."""

import functools
import resource
import threading
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from embedcache.segments import KEY_BYTES, Keys, Segment, Vectors

DESCRIPTORS = 8192
UNMAPPED = -1

Rows = npt.NDArray[np.int64]


class SegmentIndex:
    """A fixed view of all n rows of some segments. If a key occurs in several segments, the first one counts.

    It stays readable while segments are added, and while a compaction replaces them: mapped files stay mapped.

    Parameters
    ----------
    segments : sequence of Segment
        Segments of one kind, in the order of their names.

    Attributes
    ----------
    segments : tuple of Segment
        The same segments.
    segment : (n,) int32
        Place in `segments` of each row.
    row : (n,) int64
        Row within its segment of each row.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = tuple(segments)
        lengths = [len(segment) for segment in self.segments]
        keys = np.concatenate([np.zeros((0, KEY_BYTES), np.uint8), *(segment.keys for segment in self.segments)])
        flat = _as_bytes(keys)
        order = np.argsort(flat, kind="stable")  # stable, so that the first segment wins among equal keys
        flat = flat[order]
        first = np.ones(len(flat), bool)
        first[1:] = flat[1:] != flat[:-1]
        order = order[first]
        starts = np.cumsum([0, *lengths])
        self._keys = flat[first]
        self._heads = _heads(self._keys)
        self.segment = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[order]
        self.row = order - starts[self.segment]
        self._maps: dict[int, npt.NDArray[np.floating]] = {}
        self._addresses = np.full(len(lengths), UNMAPPED)  # address of the first vector of each segment
        self._bytes = np.zeros(0, np.void)
        self._mapping = threading.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def dim(self) -> int | None:
        return self.segments[0].dim if self.segments else None

    @property
    def keys(self) -> Keys:
        """(n, 32) uint8 keys, sorted and distinct."""
        return self._keys.view(np.uint8).reshape(-1, KEY_BYTES)

    def find(self, keys: Keys) -> Rows:
        """Find keys, (m, 32) uint8: their rows, (m,) int64, with -1 for missing keys."""
        flat = _as_bytes(keys)
        if not len(self):
            return np.full(len(flat), -1, np.int64)
        # The first 8 bytes tell SHA-256 digests apart; searching in sorted order halves the cache misses.
        heads = _heads(flat)
        order = np.argsort(heads)
        rows = np.empty(len(flat), np.int64)
        rows[order] = np.searchsorted(self._heads, heads[order])
        rows[rows == len(self)] = 0
        missed = np.flatnonzero(self._keys[rows] != flat)
        rows[missed[self._heads[rows[missed]] != heads[missed]]] = -1
        shared = missed[rows[missed] >= 0]  # same first bytes, different key: only for keys that are not digests
        if len(shared):
            at = np.minimum(np.searchsorted(self._keys, flat[shared]), len(self) - 1)
            rows[shared] = np.where(self._keys[at] == flat[shared], at, -1)
        return rows

    def touched(self, rows: Rows) -> list[Segment]:
        """Segments that hold any of `rows`, (m,) int64."""
        counts = np.bincount(self.segment[rows], minlength=len(self.segments))
        return [self.segments[index] for index in np.flatnonzero(counts)]

    def take(self, rows: Rows) -> Vectors:
        """Gather vectors.

        Parameters
        ----------
        rows : (m,) int64
            Rows of this index.

        Returns
        -------
        (m, d) float32

        Raises
        ------
        FileNotFoundError
            If a compaction has removed a file that is not mapped yet.
        """
        segment, row = self.segment[rows], self.row[rows]
        if not len(rows):
            return np.empty((0, self.dim or 0), np.float32)
        used = np.flatnonzero(np.bincount(segment, minlength=len(self.segments)))
        if len(used) <= open_maps():
            return as_float32(self._gather(used, segment, row))
        out = np.empty((len(rows), self.dim or 0), np.float32)
        for some in np.array_split(used, -(-len(used) // open_maps())):
            chosen = (some[0] <= segment) & (segment <= some[-1])
            out[chosen] = self._gather(some, segment[chosen], row[chosen])
        return out

    def _gather(self, used: Rows, segment: npt.NDArray[np.integer], row: Rows) -> npt.NDArray[np.floating]:
        """Gather vectors, (m, d) as stored, from at most `open_maps()` segments.

        The address range of all maps is indexed once: one call per segment, or one view per row, would take as long as
        reading the rows.
        """
        dtype, width = self.segments[0].dtype, self.segments[0].row_bytes
        with self._mapping:  # maps must stay open until everything is read
            self._map(used)
            first = self._bytes.__array_interface__["data"][0]
            found = self._bytes[self._addresses[segment] - first + row * width]
        return found.view(dtype).reshape(len(row), -1)

    def _map(self, used: Rows) -> None:
        """Map segments and make `_bytes` span all maps; a row can start at any of its bytes."""
        missing = used[self._addresses[used] == UNMAPPED]
        if not len(missing):
            return
        if len(self._maps) + len(missing) > open_maps():
            self._maps.clear()
            self._addresses[:] = UNMAPPED
            missing = used
        mapped = {index: self.segments[index].map() for index in missing.tolist()}  # all, or none if one is missing
        self._maps |= mapped
        for index, vectors in mapped.items():
            self._addresses[index] = vectors.__array_interface__["data"][0]
        first = min(self._addresses[list(self._maps)])
        end = max(self._addresses[index] + vectors.nbytes for index, vectors in self._maps.items())
        self._bytes = np.asarray(_Memory(int(first), int(end), self.segments[0].row_bytes))


class _Memory:
    """The memory between two addresses as an array with an element of `width` bytes starting at each byte.

    It does not keep the memory alive: only elements inside existing maps may be read.
    """

    def __init__(self, start: int, end: int, width: int) -> None:
        self.__array_interface__ = {
            "version": 3,
            "typestr": f"|V{width}",
            "data": (start, True),
            "shape": (end - start - width + 1,),
            "strides": (1,),
        }


@functools.cache
def open_maps() -> int:
    """Number of segments that an index keeps mapped; each needs a file descriptor.

    The limit on descriptors is raised first, so that a cache of many small segments is not mapped over and over.
    """
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if most == resource.RLIM_INFINITY else min(DESCRIPTORS, most)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
            limit = wanted
    return (DESCRIPTORS if limit == resource.RLIM_INFINITY else limit) // 4  # two indexes; half is left for other files


def as_float32(vectors: npt.NDArray[np.floating]) -> Vectors:
    """Convert float16 to float32 with torch, as numpy takes ten times as long; float32 is returned unchanged."""
    if vectors.dtype != np.float16:
        return vectors.astype(np.float32, copy=False)
    import torch  # imported here because reading float32 does not need it

    return torch.from_numpy(vectors).float().numpy()


def sort_rows(keys: Keys) -> Rows:
    """Indices, int64, that make keys (n, 32) uint8 sorted and distinct; the first of equal keys is kept."""
    return np.unique(_as_bytes(keys), return_index=True)[1].astype(np.int64)


def _as_bytes(keys: Keys) -> npt.NDArray[np.bytes_]:
    if keys.ndim != 2 or keys.shape[1] != KEY_BYTES or keys.dtype != np.uint8:
        raise ValueError(f"keys {keys.shape} {keys.dtype}, expected (n, {KEY_BYTES}) uint8")
    return np.ascontiguousarray(keys).view(f"S{KEY_BYTES}").ravel()


def _heads(flat: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint64]:
    columns = flat.view(np.uint8).reshape(-1, KEY_BYTES)[:, :8]
    return np.ascontiguousarray(columns).view(">u8").ravel().astype(np.uint64)
