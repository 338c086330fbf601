"""The segments of a cache as one process sees them: found, checked, and set aside where they are damaged."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from consistency.backbone.text_recipe import TextRecipe
from consistency.errors import StorageError, os_errors_as
from embedcache import fingerprint as identity
from embedcache.index import Rows, SegmentIndex
from embedcache.segments import KINDS, NAME, DamagedSegment, ForeignSegment, Keys, Kind, Segment, Vectors, check_file
from embedcache.storage import storage_of

STORES: dict[str, np.dtype] = {"fp32": np.dtype(np.float32), "fp16": np.dtype(np.float16)}


class SegmentView:
    """What is in the folder of a cache, whoever wrote it; other processes may append and compact meanwhile.

    Parameters
    ----------
    path : Path
        Folder of the cache.
    fields : mapping of str to str
        What affects the embeddings; their fingerprint names the folder.
    recipe : TextRecipe
        As which texts hashtags are stored. Caches of all recipes share a folder: a key is that of a text.

    Attributes
    ----------
    path, fields, recipe
        As given.
    fingerprint : str
        SHA-256 of the fields in hexadecimal.
    quarantined : list of str
        One line per segment that was found damaged, unfit or foreign; its rows count as missing.
    """

    def __init__(self, path: Path, fields: Mapping[str, str], recipe: TextRecipe | None = None) -> None:
        self.path, self.recipe = path, recipe or TextRecipe()
        self.storage = storage_of(path)
        self.fields = dict(fields)
        self.fingerprint = identity.fingerprint(fields)
        self.quarantined: list[str] = []
        self._segments: dict[str, Segment] = {}  # in the order of their names
        self._sound: set[str] = set()  # names of segments whose vectors this process has checked
        self._unused: set[str] = set()  # names of foreign segments, and of damaged ones that could not be moved
        self._indexes: dict[Kind, SegmentIndex] | None = None
        self._dim: int | None = None

    @property
    def store(self) -> str:
        """Precision of the stored vectors, "fp32" or "fp16"."""
        return self.fields.get("store", "fp32")

    @property
    def dtype(self) -> np.dtype:
        return STORES[self.store]

    @property
    def dim(self) -> int | None:
        """Dimension of the vectors; None for an empty cache."""
        if self._dim is None:
            self._dim = self.index("image").dim or self.index("hashtag").dim
        return self._dim

    def index(self, kind: Kind) -> SegmentIndex:
        """Index of all rows of `kind`; unlike `find` and `sound_index`, without checking their vectors."""
        if self._indexes is None:
            self.refresh()
        assert self._indexes is not None
        return self._indexes[kind]

    def find(self, kind: Kind, keys: Keys) -> tuple[SegmentIndex, Rows]:
        """Find keys, and check every segment that holds one of them once per process.

        A damaged segment is moved to quarantine, and its rows are missing.

        Parameters
        ----------
        kind : {"image", "hashtag"}
            Kind of the keys.
        keys : (n, 32) uint8
            Keys to find.

        Returns
        -------
        index : SegmentIndex
            Index to gather vectors from.
        rows : (n,) int64
            Rows of the index, -1 for missing keys.
        """
        while True:
            index = self.index(kind)
            rows = index.find(keys)
            if (rows < 0).any() and self.refresh():
                continue  # another process has added rows
            if self._check(index.touched(rows[rows >= 0])):
                return index, rows

    def sound_index(self, kind: Kind) -> SegmentIndex:
        """Index of all rows of `kind` after checking all their segments."""
        while not self._check((index := self.index(kind)).segments):
            pass
        return index

    def missing(self, kind: Kind, keys: Keys) -> npt.NDArray[np.bool_]:
        """Which keys, (n, 32) uint8, have no intact vector: (n,) bool."""
        return self.find(kind, keys)[1] < 0

    def listed(self) -> list[Path]:
        """Paths of the current segments, sorted by name, without those known to be of no use."""
        names = self.storage.names()
        return [self.storage.place(name) for name in names if NAME.fullmatch(name) and name not in self._unused]

    def refresh(self) -> bool:
        """Update the view to what other processes have added or compacted; return whether anything changed."""
        before = list(self._segments) if self._indexes is not None else None
        while True:
            listed = self.listed()
            for name, why in self.storage.get([p.name for p in listed if p.name not in self._segments]).items():
                self._unused.add(name)
                self.quarantined.append(why)
            for path in listed:
                if path.name not in self._segments:
                    with self.handling(path):
                        self._segments[path.name] = Segment.open(path, self.fingerprint)
            self._set_misfits_aside()
            if all(path.name in self._segments for path in listed):
                break  # otherwise a segment was damaged, unfit or removed by a compaction: list again
        self._segments = {path.name: self._segments[path.name] for path in listed}
        if list(self._segments) == before:
            return False
        self._indexes = {
            kind: SegmentIndex([segment for segment in self._segments.values() if segment.kind == kind])
            for kind in KINDS
        }
        return True

    def present(self, kind: Kind, keys: Keys) -> tuple[Vectors, Rows]:
        """Gather the vectors of all keys that are in the cache.

        Parameters
        ----------
        kind : {"image", "hashtag"}
            Kind of the keys.
        keys : (n, 32) uint8
            Keys to find.

        Returns
        -------
        vectors : (p, d) float32
            Vectors of the keys found.
        rows : (n,) int64
            Row of `vectors` for each key, -1 for missing keys.
        """
        while True:
            index, rows = self.find(kind, keys)
            here = rows >= 0
            try:
                return index.take(rows[here]), np.where(here, np.cumsum(here) - 1, -1)
            except FileNotFoundError:  # a compaction has moved the rows to another segment
                self.refresh()

    def _check(self, segments: Sequence[Segment]) -> bool:
        """Whether all of `segments` are intact; if not, the view is refreshed."""
        for segment in segments:
            if segment.name not in self._sound:
                with self.handling(segment.path):
                    segment.check_vectors()
                    self._sound.add(segment.name)
        sound = all(segment.name in self._sound for segment in segments)
        if not sound:
            self.refresh()
        return sound

    @contextmanager
    def handling(self, path: Path) -> Iterator[None]:
        """Ignore a segment that a compaction has removed or that is foreign, and move a damaged one to quarantine."""
        with os_errors_as(StorageError, f"{path} cannot be read"):
            try:
                yield
            except FileNotFoundError:
                pass
            except DamagedSegment as error:
                self._set_aside(path, error)
            except ForeignSegment as error:  # it may be of use to whoever put it there: it stays
                self._forget(path)
                self._unused.add(path.name)
                self.quarantined.append(f"{error}; it is left where it is, and not used")

    def _set_misfits_aside(self) -> None:
        """Quarantine segments of another type or dimension; the dimension of most rows is right."""
        dtype, rows = self.dtype.newbyteorder("<"), Counter[int]()
        for segment in self._segments.values():
            if segment.dtype == dtype:
                rows[segment.dim] += len(segment)
        for segment in list(self._segments.values()):
            width = rows.most_common(1)[0][0] if rows else segment.dim
            if (segment.dtype, segment.dim) != (dtype, width):
                found, expected = f"{segment.dtype} of dimension {segment.dim}", f"{dtype} of dimension {width}"
                self._quarantine(segment.path, f"{segment.path} holds vectors of type {found}, expected {expected}")

    def _set_aside(self, path: Path, error: DamagedSegment) -> None:
        self._forget(path)
        with suppress(FileNotFoundError):  # moved by another process
            try:  # another process may have moved it and written the same rows again: then it is intact
                check_file(path)
                Segment.open(path, self.fingerprint).check_vectors()
            except DamagedSegment:
                self._quarantine(path, str(error))

    def _quarantine(self, path: Path, why: str) -> None:
        self._forget(path)
        done = self.storage.set_aside(path.name)
        if done is None:  # the segment stays but is not used
            self._unused.add(path.name)
        self.quarantined.append(f"{why}; {done or 'it is not used, run extract to encode its rows again'}")

    def renew(self) -> None:
        """Read everything again where copies of a store were read until now."""
        if self.storage.renew():
            self._dim, self._indexes, self._segments = None, None, {}
            self._sound.clear()
            self._unused.clear()

    def _forget(self, path: Path) -> None:
        self._dim = self._indexes = None
        self._segments.pop(path.name, None)
        self._sound.discard(path.name)
