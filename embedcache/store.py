"""The embedding cache of one backbone: what has been appended is never lost, and models are never mixed."""

import hashlib
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.distinct import number_distinct
from consistency.durable import make_folder, sweep_temp, write_file
from consistency.errors import CacheError, StorageError, os_errors_as
from embedcache import fingerprint as identity
from embedcache.catalog import check_root, list_fields, no_cache, read_fields, temp_folder, write_fields
from embedcache.index import Rows, SegmentIndex, sort_rows
from embedcache.segments import (
    KEY_BYTES,
    KINDS,
    NAME,
    DamagedSegment,
    Keys,
    Kind,
    Segment,
    Vectors,
    build,
    check_file,
    name_of,
    rows_per_segment,
)

if TYPE_CHECKING:
    from consistency.data.files import ImageFile
    from consistency.data.pairs import PairTable

STORES: dict[str, np.dtype] = {"fp32": np.dtype(np.float32), "fp16": np.dtype(np.float16)}


def image_key(file: "ImageFile") -> Keys:
    """Key of an image, (32,) uint8: SHA-256 of its content."""
    if file.digest is None:
        raise ValueError(f"{file.name} has no content and so no key: {file.problem}")
    return np.frombuffer(file.digest, np.uint8)


def image_keys(files: "Sequence[ImageFile]") -> Keys:
    """Keys of n images, (n, 32) uint8."""
    return np.frombuffer(b"".join(image_key(file).tobytes() for file in files), np.uint8).reshape(-1, KEY_BYTES)


def hashtag_keys(texts: Iterable[str]) -> Keys:
    """Keys of n hashtags, (n, 32) uint8: SHA-256 of each text in UTF-8."""
    digests = b"".join(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts)
    return np.frombuffer(digests, np.uint8).reshape(-1, KEY_BYTES)


class EmbeddingCache:
    """Embeddings of one backbone, in the folder named by their fingerprint; docs/cache-format.md describes it.

    Any number of processes may read, append and compact at the same time.

    Parameters
    ----------
    path : Path
        Folder of the cache.
    fields : mapping of str to str
        What affects the embeddings; their fingerprint names the folder.

    Attributes
    ----------
    path, fields
        As given.
    fingerprint : str
        SHA-256 of the fields in hexadecimal.
    quarantined : list of str
        One line per segment that was found damaged or unfit; its rows count as missing.
    """

    def __init__(self, path: Path, fields: Mapping[str, str]) -> None:
        self.path = path
        self.fields = dict(fields)
        self.fingerprint = identity.fingerprint(fields)
        self.quarantined: list[str] = []
        self._segments: dict[str, Segment] = {}  # in the order of their names
        self._sound: set[str] = set()  # names of segments whose vectors this process has checked
        self._damaged: set[str] = set()  # names of damaged segments that could not be moved to quarantine
        self._indexes: dict[Kind, SegmentIndex] | None = None
        self._dim: int | None = None

    @classmethod
    def open(cls, root: Path, fields: Mapping[str, str], *, create: bool = True) -> "EmbeddingCache":
        """Open the cache for some fields.

        Parameters
        ----------
        root : Path
            Folder of all caches.
        fields : mapping of str to str
            What affects the embeddings.
        create : bool
            Whether to create the cache if it does not exist.

        Returns
        -------
        EmbeddingCache

        Raises
        ------
        CacheError
            If the cache does not exist and `create` is False; the message tells in what the most similar one differs.
        InputError
            If `root` is a file.
        StorageError
            If the cache cannot be created.
        """
        cache = cls(root / identity.fingerprint(fields), fields)
        if not create:
            if read_fields(cache.path) is None:
                raise CacheError(no_cache(root, fields))
            return cache
        check_root(root)
        make_folder(cache.path)
        if read_fields(cache.path) != cache.fields:
            write_fields(cache.path, cache.fields)
        sweep_temp(cache.path / "tmp")
        return cache

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

    def vectors(self, kind: Kind, keys: Keys) -> Vectors:
        """Vectors, (n, d) float32, of keys (n, 32) uint8; raises CacheError if any is missing."""
        vectors, rows = self.present(kind, keys)
        if absent := int((rows < 0).sum()):
            damage = f" ({'; '.join(self.quarantined)})" if self.quarantined else ""
            raise CacheError(f"{absent} of {len(keys)} {kind}s are not in {self.path}{damage}; run extract")
        return vectors

    def append(self, kind: Kind, keys: Keys, vectors: Vectors) -> None:
        """Store vectors durably.

        Parameters
        ----------
        kind : {"image", "hashtag"}
            What the vectors are of.
        keys : (n, 32) uint8
            Their keys.
        vectors : (n, d) float32
            The vectors.

        Raises
        ------
        CacheError
            If vectors are not finite, zero or of another dimension; nothing is stored.
        StorageError
            If the disk fails; some rows may be missing, but none is wrong.
        """
        if len(keys) == 0:
            return
        self._check_rows(keys, vectors)
        order = sort_rows(keys)
        step = rows_per_segment(vectors.shape[1], self.dtype)
        for start in range(0, len(order), step):
            part = order[start : start + step]
            self.publish(kind, keys[part], vectors[part])
        self._dim, self._indexes = vectors.shape[1], None  # rebuilt when needed, not after every append

    def publish(self, kind: Kind, keys: Keys, vectors: Vectors) -> Path:
        """Write one segment durably, of keys (n, 32) uint8 that are sorted and distinct; return its path."""
        data = build(kind, self.fingerprint, keys, vectors.astype(self.dtype, copy=False))
        name = name_of(data)
        write_file(self.path / name, data, temp=temp_folder(self.path))
        self._damaged.discard(name)
        return self.path / name

    def features(
        self, table: "PairTable", files: "Mapping[str, ImageFile]"
    ) -> tuple[PairEmbeddings, npt.NDArray[np.bool_]]:
        """Collect the embeddings of the rows whose image and hashtag are both in the cache.

        Images with the same content share one vector, whatever their names.

        Parameters
        ----------
        table : PairTable
            The n rows.
        files : mapping of str to ImageFile
            Image file by name.

        Returns
        -------
        embeddings : PairEmbeddings
            Of the usable rows, in their order.
        usable : (n,) bool
            Which rows those are.
        """
        digests, image_of = distinct(files[name].digest or b"" for name in table.images)
        texts, hashtag_of = distinct(table.hashtags)
        with_content = np.array([bool(digest) for digest in digests], bool)
        image_keys = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, KEY_BYTES)
        images, found = self.present("image", image_keys)
        image_rows = np.full(len(digests), -1, np.int64)
        image_rows[with_content] = found
        hashtags, hashtag_rows = self.present("hashtag", hashtag_keys(texts))
        usable = (image_rows[image_of] >= 0) & (hashtag_rows[hashtag_of] >= 0)
        dim = images.shape[1] or hashtags.shape[1]
        return PairEmbeddings(
            images.reshape(len(images), dim),
            hashtags.reshape(len(hashtags), dim),
            image_rows[image_of[usable]],
            hashtag_rows[hashtag_of[usable]],
        ), usable

    def listed(self) -> list[Path]:
        """Paths of the current segments, sorted by name, without those known to be damaged."""
        with os_errors_as(CacheError, f"{self.path} cannot be listed", advice="run extract again"):
            names = sorted(entry.name for entry in os.scandir(self.path) if entry.is_file())
        return [self.path / name for name in names if NAME.fullmatch(name) and name not in self._damaged]

    def refresh(self) -> bool:
        """Update the view to what other processes have added or compacted; return whether anything changed."""
        before = list(self._segments) if self._indexes is not None else None
        while True:
            listed = self.listed()
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
        """Ignore a segment that a compaction has removed, and move a damaged one to quarantine."""
        with os_errors_as(StorageError, f"{path} cannot be read"):
            try:
                yield
            except FileNotFoundError:
                pass
            except DamagedSegment as error:
                self._set_aside(path, error)

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
        self.quarantined.append(f"{why}; it was moved to quarantine/, run extract to encode its rows again")
        try:
            make_folder(self.path / "quarantine")
            os.replace(path, self.path / "quarantine" / path.name)
        except FileNotFoundError:  # moved by another process
            pass
        except (OSError, StorageError):  # a read-only cache: the segment stays but is not used
            self._damaged.add(path.name)

    def _forget(self, path: Path) -> None:
        self._dim = self._indexes = None
        self._segments.pop(path.name, None)
        self._sound.discard(path.name)

    def _check_rows(self, keys: Keys, vectors: Vectors) -> None:
        if vectors.ndim != 2 or len(vectors) != len(keys) or vectors.shape[1] != (self.dim or vectors.shape[1]):
            raise CacheError(
                f"vectors {vectors.shape} for {len(keys)} keys, expected ({len(keys)}, {self.dim or 'd'}): "
                "the model does not fit this cache"
            )
        with np.errstate(over="ignore"):
            kept = vectors.astype(self.dtype, copy=False)
        if bad := int((~valid_rows(kept)).sum()):
            raise CacheError(f"{bad} of {len(vectors)} vectors are NaN, infinite or zero; nothing was stored")


def list_caches(root: Path) -> list[EmbeddingCache]:
    """All caches under `root` that this version can read, sorted by fingerprint."""
    return [EmbeddingCache(path, fields) for path, fields in list_fields(root) if fields.get("store", "fp32") in STORES]


def valid_rows(vectors: Vectors) -> npt.NDArray[np.bool_]:
    """Which vectors, (n, d), are finite and not zero: (n,) bool."""
    return np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)


T = TypeVar("T", bound=Hashable)


def distinct(values: Iterable[T]) -> tuple[list[T], Rows]:
    """Distinct values in the order of first appearance, and the place of each value among them, (n,) int64."""
    values = list(values)
    firsts, index = number_distinct(values)
    return [values[first] for first in firsts], index
