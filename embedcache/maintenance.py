"""Maintains caches: shows and checks their content, merges small segments, and removes unused caches."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from consistency.durable import remove_replaced, sweep_temp
from consistency.errors import CacheError, InputError, StorageError, os_errors_as
from consistency.remote import RemotePath
from embedcache.catalog import list_fields
from embedcache.index import SegmentIndex
from embedcache.segments import KINDS, SEGMENT_BYTES, Kind, Segment, check_file
from embedcache.storage import remove_folder, temp_folder
from embedcache.store import EmbeddingCache


@dataclass(frozen=True)
class CacheInfo:
    """Content of a cache.

    Attributes
    ----------
    fingerprint, path : str
        Name and folder of the cache.
    fields : dict of str to str
        What affects its embeddings.
    images, hashtags : int
        Number of embeddings.
    dim : int or None
        Their dimension; None if the cache is empty.
    segments : int
        Number of segments.
    bytes : int
        Their size.
    oldest, newest : float or None
        Times of the first and last segment, in seconds since 1970; None if the cache is empty.
    quarantined : int
        Number of segments in quarantine.
    """

    fingerprint: str
    path: str
    fields: dict[str, str]
    images: int
    hashtags: int
    dim: int | None
    segments: int
    bytes: int
    oldest: float | None
    newest: float | None
    quarantined: int

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class VerifyReport:
    """Result of checking a cache.

    Attributes
    ----------
    segments, rows : int
        Numbers of intact segments and rows.
    damaged : tuple of str
        One line per segment that was moved to quarantine now.
    """

    segments: int
    rows: int
    damaged: tuple[str, ...]


def info(cache: EmbeddingCache) -> CacheInfo:
    """Summarise a cache without reading vectors."""
    cache.refresh()
    stats = []
    for path in cache.listed():
        with suppress(FileNotFoundError):  # removed by a compaction
            stats.append(path.stat())
    times = [stat.st_mtime for stat in stats]
    return CacheInfo(
        fingerprint=cache.fingerprint,
        path=str(cache.path),
        fields=cache.fields,
        images=len(cache.index("image")),
        hashtags=len(cache.index("hashtag")),
        dim=cache.dim,
        segments=len(stats),
        bytes=sum(stat.st_size for stat in stats),
        oldest=min(times, default=None),
        newest=max(times, default=None),
        quarantined=0 if isinstance(cache.path, RemotePath) else len(list((cache.path / "quarantine").glob("seg-*"))),
    )


def verify(cache: EmbeddingCache) -> VerifyReport:
    """Check every byte of a cache; damaged segments are moved to quarantine, and `extract` encodes their rows again."""
    before = len(cache.quarantined)
    cache.renew()
    for path in cache.listed():
        with cache.handling(path):
            check_file(path)
    cache.refresh()
    rows = sum(len(cache.sound_index(kind)) for kind in KINDS)
    return VerifyReport(len(cache.listed()), rows, tuple(cache.quarantined[before:]))


@dataclass(frozen=True)
class CompactReport:
    """Number of segments before and after a compaction."""

    before: int
    after: int


def compact(cache: EmbeddingCache) -> CompactReport:
    """Merge small segments into larger ones, while other processes may read and append.

    Segments are removed only when the merged one is durable, and a reader that misses one lists them again. Damaged
    segments are moved to quarantine. For a key that occurs twice, the same vector counts before and after.

    Parameters
    ----------
    cache : EmbeddingCache
        Cache to compact.

    Returns
    -------
    CompactReport

    Raises
    ------
    CacheError
        If another process is compacting the cache.
    InputError
        If the cache is on an object store.
    StorageError
        If the disk fails; no rows are lost.
    """
    if isinstance(cache.path, RemotePath):
        raise InputError(
            f"{cache.path} is on an object store, which has no locks, so it cannot be compacted there: copy it to a "
            "local folder, compact that, and upload it under another name"
        )
    with _locked(cache.path):
        sweep_temp(cache.path / "tmp")
        before = cache.listed()
        for kind in KINDS:
            # A merged segment can sort after another one that shares a key, so first each key is left in one segment.
            for groups in (_overlapping, _small):
                cache.refresh()
                index = cache.sound_index(kind)
                for group in groups(index):
                    _merge(cache, kind, index, group)
        cache.refresh()
        return CompactReport(len(before), len(cache.listed()))


def _merge(cache: EmbeddingCache, kind: Kind, index: SegmentIndex, group: Sequence[int]) -> None:
    """Replace the segments of `group` by one that holds their rows of the index, or by none if there are no rows."""
    rows = np.flatnonzero(np.isin(index.segment, group))
    sources = {index.segments[number].path for number in group}
    try:
        if len(rows):
            # A killed compaction may have left the same segment that this one creates.
            sources.discard(cache.publish(kind, index.keys[rows], index.take(rows)))
    except FileNotFoundError as error:
        raise CacheError(f"{error.filename} was removed in the meantime; run compact again") from error
    remove_replaced(sources, cache.path)


def _overlapping(index: SegmentIndex) -> Iterator[list[int]]:
    """Segments with keys that an earlier segment has, the last one first, so that their other keys are unique."""
    counts = np.bincount(index.segment, minlength=len(index.segments))
    for number in reversed(range(len(index.segments))):
        if counts[number] < len(index.segments[number]) or not counts[number]:
            yield [number]


def _small(index: SegmentIndex) -> Iterator[list[int]]:
    """Groups of small segments to merge."""
    group: list[int] = []
    size = 0
    for number, segment in enumerate(index.segments):
        nbytes = _nbytes(segment)
        if nbytes > SEGMENT_BYTES // 2:
            continue
        if size + nbytes > SEGMENT_BYTES:
            yield group
            group, size = [], 0
        group.append(number)
        size += nbytes
    if len(group) > 1:
        yield group


def _nbytes(segment: Segment) -> int:
    return segment.keys.nbytes + segment.nbytes


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the cache against other compactions until the block ends or the process dies."""
    with os_errors_as(StorageError, f"{path} cannot be compacted"):
        fd = os.open(temp_folder(path) / "compaction.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with os_errors_as(StorageError, f"{path} cannot be compacted, since its file system has no locks"):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CacheError(f"{path} is being compacted by another process; try again later") from None
        yield
    finally:
        os.close(fd)


def gc(root: Path, keep: Collection[str]) -> list[str]:
    """Remove caches.

    Parameters
    ----------
    root : Path
        Folder of all caches.
    keep : collection of str
        Fingerprints of the caches to keep.

    Returns
    -------
    list of str
        Fingerprints of the removed caches.

    Raises
    ------
    StorageError
        If a cache cannot be removed.
    """
    removed = []
    for path, _ in list_fields(root):
        if path.name in keep:
            continue
        if isinstance(path, RemotePath):
            remove_folder(path)
            removed.append(path.name)
            continue
        with os_errors_as(StorageError, f"{path} could not be removed"):  # renamed first: none is ever half removed
            os.rename(path, root / f".removing-{secrets.token_hex(8)}")
        removed.append(path.name)
    for path in () if isinstance(root, RemotePath) else root.glob(".removing-*"):
        shutil.rmtree(path, ignore_errors=True)
    return removed
