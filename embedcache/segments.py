"""Segments: immutable HDF5 files of keys and vectors, named by their size and SHA-256.

docs/cache-format.md describes the format.
"""

import errno
import functools
import hashlib
import io
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5a, h5d, h5f, h5p, h5s

from consistency.errors import CacheError, os_reason
from embedcache.fingerprint import SCHEMA_VERSION

Kind = Literal["image", "hashtag"]
KINDS: tuple[Kind, ...] = get_args(Kind)
KEY_BYTES = 32
ALIGNMENT = 64  # bytes, of the datasets in the file, so that mapped vectors are aligned too
SEGMENT_BYTES = 64 << 20  # largest segment, to bound memory
NAME = re.compile(r"seg-(\d+)-([0-9a-f]{32})\.h5")

Keys = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]


class DamagedSegment(CacheError):
    """Raised if the content of a segment does not match its name or its digests."""


class ForeignSegment(CacheError):
    """Raised if a file is intact and named like a segment, but is none of this cache and version."""


def build(kind: Kind, fingerprint: str, keys: Keys, vectors: npt.NDArray[np.floating]) -> bytes:
    """Build the content of a segment; the same rows give the same bytes.

    It is built in memory, so that libhdf5 never has to handle a failing disk.

    Parameters
    ----------
    kind : {"image", "hashtag"}
        What the vectors are of.
    fingerprint : str
        Fingerprint of the cache.
    keys : (n, 32) uint8
        Sorted and distinct keys.
    vectors : (n, d) float32 or float16
        Their vectors.

    Returns
    -------
    bytes
    """
    # Object headers of HDF5 1.10 have checksums, so libhdf5 detects a flipped bit in its own structures. Strings have a
    # fixed length, which keeps them in those headers: string heaps have no checksum, and damage there can hang libhdf5.
    buffer = io.BytesIO()
    layout = {"libver": ("v110", "v110"), "alignment_threshold": 1, "alignment_interval": ALIGNMENT}
    with h5py.File(buffer, "w", **layout) as file:
        file.attrs.update({"kind": np.bytes_(kind), "fingerprint": np.bytes_(fingerprint), "schema": SCHEMA_VERSION})
        for name, array in (("keys", keys), ("vectors", vectors.astype(vectors.dtype.newbyteorder("<"), copy=False))):
            data = np.ascontiguousarray(array)
            file.create_dataset(name, data=data).attrs["sha256"] = np.bytes_(hashlib.sha256(data.data).hexdigest())
    return buffer.getvalue()


def rows_per_segment(dim: int, dtype: np.dtype) -> int:
    """Number of rows that fit into the largest segment."""
    return max(1, SEGMENT_BYTES // (KEY_BYTES + dim * dtype.itemsize))


def name_of(data: bytes) -> str:
    """File name of a segment with this content."""
    return f"seg-{len(data)}-{hashlib.sha256(data).hexdigest()[:32]}.h5"


@dataclass(frozen=True, eq=False)
class Segment:
    """An open segment of n rows.

    Attributes
    ----------
    path : Path
        Its file.
    kind : {"image", "hashtag"}
        What the vectors are of.
    keys : (n, 32) uint8
        Sorted and distinct keys, in memory.
    dim : int
        Dimension d of the vectors.
    dtype : numpy.dtype
        Type of the stored vectors.
    offset : int
        Position of the vectors in the file, in bytes.
    digest : str
        SHA-256 of the vectors in hexadecimal.
    """

    path: Path
    kind: Kind
    keys: Keys = field(repr=False)
    dim: int
    dtype: np.dtype
    offset: int
    digest: str

    @classmethod
    def open(cls, path: Path, fingerprint: str) -> "Segment":
        """Read the header and the keys, but not the vectors.

        Parameters
        ----------
        path : Path
            File of the segment.
        fingerprint : str
            Fingerprint of the cache that it must belong to.

        Returns
        -------
        Segment

        Raises
        ------
        DamagedSegment
            If the file is damaged.
        ForeignSegment
            If the file is intact but belongs to another cache or version.
        FileNotFoundError
            If a compaction has removed the file.
        """
        _check_size(path)
        try:
            return cls._read(path, fingerprint)
        except (FileNotFoundError, MemoryError):
            raise
        except Exception as error:  # libhdf5 raises many kinds of errors for damaged headers
            check_file(path)
            raise ForeignSegment(
                f"{path} is intact but cannot be used ({error}); it was written for another cache or by another version"
            ) from error

    @classmethod
    def _read(cls, path: Path, fingerprint: str) -> "Segment":
        # h5py's low-level interface opens a cache of many segments in half the time.
        file = h5f.open(os.fsencode(path), h5f.ACC_RDONLY, _access())
        try:
            kind, written_for = _text(file, b"kind"), _text(file, b"fingerprint")
            schema = _attribute(file, b"schema").item()
            keyed, vectors = h5d.open(file, b"keys"), h5d.open(file, b"vectors")
            # A dataset can claim more rows than its file has bytes, which libhdf5 would make up.
            if math.prod(keyed.shape) * keyed.dtype.itemsize > path.stat().st_size:
                raise ValueError(f"its keys are {keyed.shape} {keyed.dtype}, more than its bytes")
            keys: Keys = np.empty(keyed.shape, keyed.dtype)
            keyed.read(h5s.ALL, h5s.ALL, keys)
            keys_digest, digest = _text(keyed, b"sha256"), _text(vectors, b"sha256")
            shape, dtype, offset = vectors.shape, vectors.dtype, vectors.get_offset()
        finally:
            file.close()
        if schema != SCHEMA_VERSION:
            raise ValueError(f"schema {schema}, not {SCHEMA_VERSION}")
        segment = cls(path, _kind(kind), keys, shape[1], dtype, offset, digest)
        if written_for != fingerprint:
            raise ValueError(f"fingerprint {written_for[:12]}, not {fingerprint[:12]}")
        if keys.shape != (shape[0], KEY_BYTES) or keys.dtype != np.uint8 or dtype.kind != "f":
            raise ValueError(f"keys {keys.shape} {keys.dtype}, vectors {shape} {dtype}")
        if hashlib.sha256(keys.data).hexdigest() != keys_digest:
            raise ValueError("the digest of the keys differs")
        # Reading mapped memory beyond the end of a file would kill the process.
        if offset is None or offset + segment.nbytes > path.stat().st_size:
            raise ValueError("the vectors extend beyond the end of the file")
        return segment

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def row_bytes(self) -> int:
        return self.dim * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Size of the vectors in bytes."""
        return len(self.keys) * self.row_bytes

    def check_vectors(self) -> None:
        """Raise DamagedSegment unless the vectors match their digest."""
        # Read, not mapped: a bad sector then raises an error rather than a signal.
        if _digest(self.path, self.offset, self.nbytes) != self.digest:
            raise DamagedSegment(f"{self.path} is damaged: the digest of its vectors differs")

    def map(self) -> npt.NDArray[np.floating]:
        """Memory-map the vectors, (n, d); raises FileNotFoundError if a compaction has removed the file."""
        return np.asarray(np.memmap(self.path, self.dtype, "r", self.offset, (len(self), self.dim)))


def check_file(path: Path) -> None:
    """Raise DamagedSegment unless the whole file matches the size and digest in its name."""
    _check_size(path)
    match = NAME.fullmatch(path.name)
    if match is None or not _digest(path, 0, path.stat().st_size).startswith(match[2]):
        raise DamagedSegment(f"{path} is damaged: its SHA-256 is not the one in its name")


def _check_size(path: Path) -> None:
    match, size = NAME.fullmatch(path.name), path.stat().st_size
    if match is None or size != int(match[1]):
        raise DamagedSegment(f"{path} is damaged: it has {size} bytes, not the number in its name")


def _digest(path: Path, offset: int, nbytes: int) -> str:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(nbytes, 1 << 20)))
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            while nbytes and (read := file.readinto(buffer[:nbytes])):
                digest.update(buffer[:read])
                nbytes -= read
    except OSError as error:
        if error.errno == errno.EIO:
            raise DamagedSegment(f"{path} is damaged: it cannot be read ({os_reason(error)})") from error
        raise
    return digest.hexdigest()


@functools.cache
def _access() -> h5p.PropFAID:
    """Access without locks, since segments never change, that closes the file with everything opened in it."""
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_file_locking(False, False)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    return access


def _attribute(item: h5f.FileID | h5d.DatasetID, name: bytes) -> npt.NDArray[Any]:
    stored = h5a.open(item, name)
    value = np.empty(stored.shape, stored.dtype)
    stored.read(value)
    return value


def _text(item: h5f.FileID | h5d.DatasetID, attribute: bytes) -> str:
    return str(_attribute(item, attribute).item().decode("ascii"))


def _kind(text: str) -> Kind:
    for kind in KINDS:
        if kind == text:
            return kind
    raise ValueError(f"kind {text!r}, expected one of {', '.join(KINDS)}")
