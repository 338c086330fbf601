"""Remembers the digests of images from run to run, so that an unchanged file is not read again.

The memo is a convenience beside the embedding cache: whatever of it is missing or damaged is computed again.
docs/cache.md says which changes of a file it cannot see.
"""

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from consistency.data.archives import Member
from consistency.data.sources import read_digest
from consistency.durable import make_folder, sweep_temp, write_file
from consistency.errors import StorageError
from consistency.remote import RemotePath, mirror_of

SETTLED = 2.0  # seconds since the last change of a file after which a further change gets another time
SAVE_ROWS, SAVE_SECONDS = 65_536, 60.0  # what a killed run forgets at most
MOST_PARTS = 16  # files, beyond which they are merged
MOST_ROWS = 4 << 20  # images remembered, of 48 bytes each; beyond them some of the files written first are dropped
NAME = re.compile(r"part-(\d+)-([0-9a-f]{32})\.bin")
ROW = np.dtype([("stamp", "S16"), ("digest", "V32")])

Rows = npt.NDArray[np.void]


class DigestMemo:
    """Digests of local image files, by path, size, times and inode. Any number of processes may use one memo.

    Parameters
    ----------
    root : Path
        Folder of the embedding caches, in which `memo/` holds the memo.

    Notes
    -----
    A file whose last change is less than SETTLED seconds old when it is read is not remembered: it could change again
    within the resolution of its time stamps. The memo is a set of immutable files named by size and digest, as the
    segments of a cache are, so writers need no lock.
    """

    def __init__(self, root: Path) -> None:
        root = mirror_of(root) if isinstance(root, RemotePath) else root
        self._root, self._folder = root, root / "memo"
        self._known = _merged(map(_read, _listed(self._folder)))
        self._stamps = np.ascontiguousarray(self._known["stamp"])
        self._new: dict[bytes, bytes] = {}
        self._saved = time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> "DigestMemo":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.save()

    def digest(self, path: Path, member: Member | None = None) -> bytes:
        """SHA-256 of an image, 32 bytes, which is read only if the memo does not know it.

        Raises
        ------
        ImageError
            If it has to be read and cannot be.
        OSError
            If the file is not there.
        """
        before, now = os.stat(path), time.time()
        stamp = _stamp(path, member, before)
        at = int(np.searchsorted(self._stamps, stamp))
        if at < len(self._stamps) and self._stamps[at] == stamp.rstrip(b"\0"):
            return bytes(self._known["digest"][at])
        digest = read_digest(path, member)
        if now - max(before.st_mtime, before.st_ctime) > SETTLED and _stamp(path, member, os.stat(path)) == stamp:
            self._remember(stamp, digest)
        return digest

    def save(self, *, create: bool = False) -> None:
        """Write what is new, unless there is no cache beside it yet. A memo that cannot be written is left out."""
        with self._lock:
            new, self._new, self._saved = self._new, {}, time.monotonic()
        if not new or not (create or self._root.is_dir()):
            self._new = {**new, **self._new}
            return
        rows = np.array(list(new.items()), ROW)
        with suppress(StorageError, OSError):  # a full disk, a folder that is read-only
            make_folder(self._folder)
            sweep_temp(self._folder)
            _write(self._folder, _merged([rows]))
            if len(listed := _listed(self._folder)) > MOST_PARTS:
                merged = _write(self._folder, _merged(map(_read, listed)))
                for path in {*listed} - {merged}:  # what another process writes meanwhile stays
                    path.unlink(missing_ok=True)

    def _remember(self, stamp: bytes, digest: bytes) -> None:
        with self._lock:
            self._new[stamp] = digest
            due = len(self._new) >= SAVE_ROWS or time.monotonic() - self._saved > SAVE_SECONDS
        if due:
            self.save(create=True)


def _stamp(path: Path, member: Member | None, status: os.stat_result) -> bytes:
    """16 bytes that change whenever the file does."""
    what = (str(path), member, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return hashlib.sha256(repr(what).encode("utf-8", "surrogatepass")).digest()[:16]


def _listed(folder: Path) -> list[Path]:
    """The files of a memo, the last written first."""
    found: list[tuple[int, Path]] = []
    with suppress(OSError):  # there is none yet, or a file was merged meanwhile
        entries = [entry for entry in os.scandir(folder) if NAME.fullmatch(entry.name)]
        found = [(entry.stat().st_mtime_ns, Path(entry.path)) for entry in entries]
    return [path for _, path in sorted(found, reverse=True)]


def _read(path: Path) -> Rows:
    """The rows of a file of the memo; none if it is damaged."""
    with suppress(OSError):
        if path.stat().st_size <= MOST_ROWS * ROW.itemsize and _name_of(data := path.read_bytes()) == path.name:
            return np.frombuffer(data, ROW, len(data) // ROW.itemsize)
    return np.empty(0, ROW)


def _merged(parts: Iterable[Rows]) -> Rows:
    """The rows of some parts, sorted by stamp and distinct: at most MOST_ROWS, the first ones."""
    kept, room = [np.empty(0, ROW)], MOST_ROWS
    for rows in parts:
        kept.append(rows[:room])
        room -= len(kept[-1])
    rows = np.concatenate(kept)
    return rows[np.unique(rows["stamp"], return_index=True)[1]]


def _write(folder: Path, rows: Rows) -> Path:
    data = rows.tobytes()
    path = folder / _name_of(data)
    write_file(path, data)
    return path


def _name_of(data: bytes) -> str:
    return f"part-{len(data)}-{hashlib.sha256(data).hexdigest()[:32]}.bin"
