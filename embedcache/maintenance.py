"""Looks after caches: what they hold, whether it is sound, fewer and larger segments, other models' caches removed."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from consistency.durable import remove_replaced, sweep_temp
from consistency.errors import CacheError, StorageError
from embedcache.catalog import list_fields
from embedcache.segments import KINDS, SEGMENT_BYTES, Segment, check_file
from embedcache.table import Table

if TYPE_CHECKING:
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


def info(cache: "EmbeddingCache") -> CacheInfo:
    cache.refresh()
    stats = [path.stat() for path in cache.listed()]
    times = [stat.st_mtime for stat in stats]
    return CacheInfo(
        fingerprint=cache.fingerprint,
        path=str(cache.path),
        fields=cache.fields,
        images=len(cache.table("image")),
        hashtags=len(cache.table("hashtag")),
        dim=cache.dim,
        segments=len(stats),
        bytes=sum(stat.st_size for stat in stats),
        oldest=min(times, default=None),
        newest=max(times, default=None),
        quarantined=len(list((cache.path / "quarantine").glob("seg-*"))),
    )


def verify(cache: "EmbeddingCache") -> VerifyReport:
    before, segments = len(cache.quarantined), 0
    for path in cache.listed():
        with cache.handling(path):
            check_file(path)
            segments += 1
    cache.refresh()
    rows = sum(len(cache.table(kind)) for kind in KINDS)
    return VerifyReport(segments, rows, tuple(cache.quarantined[before:]))


@dataclass(frozen=True)
class CompactReport:
    """Segments before and after, and bytes they take less."""

    before: int
    after: int
    bytes_freed: int


def compact(cache: "EmbeddingCache") -> CompactReport:
    """Merges small segments into larger ones; one process at a time, readers and writers go on meanwhile.

    Sources go only once the merged segment is durable, and a reader that finds one gone lists again. Damaged
    segments go to quarantine and are left out.
    """
    with _locked(cache.path):
        sweep_temp(cache.path / "tmp")
        before = cache.listed()
        size_before = sum(path.stat().st_size for path in before)
        for kind in KINDS:
            table = cache.sound_table(kind)
            for group in _groups(table):
                rows = np.flatnonzero(np.isin(table.segment, group))
                sources = {table.segments[index].path for index in group}
                try:
                    if len(rows):
                        # A compaction that was killed may have left the very segment that this one makes.
                        sources.discard(cache.publish(kind, table.keys[rows], table.take(rows)))
                except FileNotFoundError as error:
                    raise CacheError(f"{error.filename} was removed meanwhile; run compact again") from error
                remove_replaced(sources, cache.path)
        cache.refresh()
        after = cache.listed()
        return CompactReport(len(before), len(after), size_before - sum(path.stat().st_size for path in after))


def _groups(table: Table) -> Iterator[list[int]]:
    """The segments to merge with one another, and those that others have made superfluous."""
    counts = np.bincount(table.segment, minlength=len(table.segments))
    yield from ([int(index)] for index in np.flatnonzero(counts == 0))
    group: list[int] = []
    size = 0
    for index in map(int, np.flatnonzero(counts)):
        nbytes = _nbytes(table.segments[index])
        if nbytes > SEGMENT_BYTES // 2:
            continue
        if size + nbytes > SEGMENT_BYTES:
            yield group
            group, size = [], 0
        group.append(index)
        size += nbytes
    if len(group) > 1:
        yield group


def _nbytes(segment: Segment) -> int:
    return segment.keys.nbytes + segment.nbytes


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The only compaction in this cache, until the block ends or the process dies."""
    try:
        fd = os.open(path / "tmp" / "compaction.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StorageError(f"{path} cannot be compacted ({error.strerror})") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CacheError(f"{path} is being compacted by another process; try again later") from None
    else:
        yield
    finally:
        os.close(fd)


def gc(root: Path, keep: Collection[str]) -> list[str]:
    """Removes the caches under `root` whose fingerprint is not in `keep`; returns the removed fingerprints."""
    removed = []
    for path, _ in list_fields(root):
        if path.name in keep:
            continue
        try:  # renamed first: never half a cache under its name
            os.rename(path, root / f".removing-{secrets.token_hex(8)}")
        except OSError as error:
            raise StorageError(f"{path} could not be removed ({error.strerror})") from error
        removed.append(path.name)
    for path in root.glob(".removing-*"):
        shutil.rmtree(path, ignore_errors=True)
    return removed
