"""Looks after caches: what they hold, whether it is sound, fewer and larger segments, other models' caches removed."""

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
from consistency.errors import CacheError, StorageError, os_errors_as
from embedcache.catalog import list_fields, temp_folder
from embedcache.index import SegmentIndex
from embedcache.segments import KINDS, SEGMENT_BYTES, Kind, Segment, check_file
from embedcache.store import EmbeddingCache


@dataclass(frozen=True)
class CacheInfo:
    """What one cache holds; times are seconds since 1970, None where it is empty."""

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
    """segments, rows: what is intact. damaged: one line per segment moved to quarantine now."""

    segments: int
    rows: int
    damaged: tuple[str, ...]


def info(cache: EmbeddingCache) -> CacheInfo:
    """What `cache` holds now; no vector is read."""
    cache.refresh()
    stats = []
    for path in cache.listed():
        with suppress(FileNotFoundError):  # a compaction has replaced it meanwhile
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
        quarantined=len(list((cache.path / "quarantine").glob("seg-*"))),
    )


def verify(cache: EmbeddingCache) -> VerifyReport:
    """Check every byte of every segment; damaged ones go to quarantine, and `extract` encodes their rows again."""
    before = len(cache.quarantined)
    for path in cache.listed():
        with cache.handling(path):
            check_file(path)
    cache.refresh()
    rows = sum(len(cache.sound_index(kind)) for kind in KINDS)
    return VerifyReport(len(cache.listed()), rows, tuple(cache.quarantined[before:]))


@dataclass(frozen=True)
class CompactReport:
    """Numbers of segments."""

    before: int
    after: int


def compact(cache: EmbeddingCache) -> CompactReport:
    """Merges small segments into larger ones; one process at a time, readers and writers go on meanwhile.

    Sources go only once the merged segment is durable, and a reader that finds one gone lists again. Damaged
    segments go to quarantine and are left out. Of a key that is there twice the same vector counts before and after.
    """
    with _locked(cache.path):
        sweep_temp(cache.path / "tmp")
        before = cache.listed()
        for kind in KINDS:
            # A merged segment may sort behind one that had a key of it, too: so first every key is in one segment only.
            for groups in (_overlapping, _small):
                cache.refresh()
                index = cache.sound_index(kind)
                for group in groups(index):
                    _merge(cache, kind, index, group)
        cache.refresh()
        return CompactReport(len(before), len(cache.listed()))


def _merge(cache: EmbeddingCache, kind: Kind, index: SegmentIndex, group: Sequence[int]) -> None:
    """Puts one segment of the rows that count in place of the segments of `group`, or none where there are no rows."""
    rows = np.flatnonzero(np.isin(index.segment, group))
    sources = {index.segments[number].path for number in group}
    try:
        if len(rows):
            # A compaction that was killed may have left the very segment that this one makes.
            sources.discard(cache.publish(kind, index.keys[rows], index.take(rows)))
    except FileNotFoundError as error:
        raise CacheError(f"{error.filename} was removed meanwhile; run compact again") from error
    remove_replaced(sources, cache.path)


def _overlapping(index: SegmentIndex) -> Iterator[list[int]]:
    """Segments with keys that count in an earlier one, the last first: what is left of each is then nowhere else."""
    counts = np.bincount(index.segment, minlength=len(index.segments))
    for number in reversed(range(len(index.segments))):
        if counts[number] < len(index.segments[number]) or not counts[number]:
            yield [number]


def _small(index: SegmentIndex) -> Iterator[list[int]]:
    """The segments to merge with one another."""
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
    """The only compaction in this cache, until the block ends or the process dies."""
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
    """Removes the caches under `root` whose fingerprint is not in `keep`; returns the removed fingerprints."""
    removed = []
    for path, _ in list_fields(root):
        if path.name in keep:
            continue
        with os_errors_as(StorageError, f"{path} could not be removed"):  # renamed first: never half a cache
            os.rename(path, root / f".removing-{secrets.token_hex(8)}")
        removed.append(path.name)
    for path in root.glob(".removing-*"):
        shutil.rmtree(path, ignore_errors=True)
    return removed
