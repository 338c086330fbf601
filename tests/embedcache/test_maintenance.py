"""Caches are described, verified, compacted and removed without losing a row."""

import errno
import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consistency import durable
from consistency.durable import System
from consistency.errors import CacheError, StorageError
from embedcache import maintenance
from embedcache.maintenance import compact, gc, info, verify
from embedcache.segments import NAME
from embedcache.store import EmbeddingCache
from tests.builders.caches import (
    FIELDS,
    compacting,
    damage,
    keys_of,
    reopened,
    segments,
    vectors_of,
)
from tests.builders.faults import Killed


def test_compaction_keeps_kinds_apart_and_is_done_once(cache: EmbeddingCache) -> None:
    for number in range(4):
        cache.append("image", keys_of(number), vectors_of(1))
        cache.append("hashtag", keys_of(number), vectors_of(1))
    compact(cache)
    names = segments(cache)
    assert len(names) == 2
    assert compact(cache) == maintenance.CompactReport(2, 2)
    assert segments(cache) == names


OVERLAPPING = st.lists(  # segments: which of ten keys each has, and how many rows of its own
    st.tuples(st.sets(st.integers(0, 9), max_size=6), st.integers(1, 9)), min_size=2, max_size=8
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=OVERLAPPING, store=st.sampled_from(["fp32", "fp16"]), killed=st.none() | st.integers(0, 6))
def test_the_same_vectors_count_before_and_after_a_compaction(
    tmp_path: Path, made: list[tuple[set[int], int]], store: str, killed: int | None
) -> None:
    """Whatever keys segments share, small or too large to be merged; and when it is killed on its way."""
    cache = EmbeddingCache.open(tmp_path / os.urandom(4).hex(), {**FIELDS, "store": store})
    names: set[object] = set()
    for number, (shared, own) in enumerate(made):
        here = [*shared, *(f"{number} {row}" for row in range(own))]
        cache.append("image", keys_of(*here), vectors_of(len(here), seed=number))
        names.update(here)
    before = reopened(cache).vectors("image", keys_of(*names))

    class Dying(System):
        removals = 0

        @classmethod
        def unlink(cls, path: Path) -> None:  # type: ignore[override]
            if cls.removals == killed and NAME.fullmatch(path.name):
                raise Killed
            cls.removals += 1
            os.unlink(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maintenance, "SEGMENT_BYTES", 20 * (32 + 4 * cache.dtype.itemsize))
        with suppress(Killed), patch.context() as dying:
            dying.setattr(durable, "system", Dying())
            compact(cache)
        assert (reopened(cache).vectors("image", keys_of(*names)) == before).all()
        compact(reopened(cache))
    after = reopened(cache)
    assert (after.vectors("image", keys_of(*names)) == before).all()
    assert sum(map(len, after.index("image").segments)) == len(names)


def test_compaction_leaves_large_segments(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "SEGMENT_BYTES", 10 * (32 + 16))
    cache.append("image", keys_of(*range(8)), vectors_of(8))
    large = segments(cache)[0]
    for number in range(100, 112):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    compact(cache)
    assert large in segments(cache)
    assert len(segments(cache)) == 3  # 10 and 2 of the small ones
    assert len(reopened(cache).index("image")) == 20


def test_compactions_exclude_one_another(cache: EmbeddingCache) -> None:
    with (
        compacting(cache),
        pytest.raises(CacheError, match="being compacted by another process; try again later"),
    ):
        compact(reopened(cache))
    compact(cache)


def test_no_compaction_without_locks(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    cache.append("image", keys_of(1), vectors_of(1))
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StorageError, match="cannot be compacted, since its file system has no locks: Function not"):
        compact(cache)


def test_verify(cache: EmbeddingCache) -> None:
    assert verify(cache) == maintenance.VerifyReport(0, 0, ())
    for number in range(3):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    assert verify(cache) == maintenance.VerifyReport(3, 3, ())
    damage(cache.path / segments(cache)[1], offset=600)
    report = verify(cache)
    assert (report.segments, report.rows, len(report.damaged)) == (2, 2, 1)
    assert report.damaged[0].endswith("run extract to encode its rows again")
    assert verify(cache) == maintenance.VerifyReport(2, 2, ())


def test_compaction_leaves_damage_out(cache: EmbeddingCache) -> None:
    for number in range(3):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    damage(cache.path / segments(cache)[1])
    other = reopened(cache)
    compact(other)
    assert len(other.quarantined) == 1
    assert len(segments(cache)) == 1
    assert other.missing("image", keys_of(0, 1, 2)).sum() == 1


def test_info(cache: EmbeddingCache) -> None:
    empty = info(cache)
    assert (empty.images, empty.segments, empty.bytes, empty.dim, empty.oldest) == (0, 0, 0, None, None)
    cache.append("image", keys_of(1, 2), vectors_of(2))
    cache.append("hashtag", keys_of(1, 2, 3), vectors_of(3))
    full = info(cache)
    assert (full.images, full.hashtags, full.dim, full.segments) == (2, 3, 4, 2)
    assert full.bytes == sum((cache.path / name).stat().st_size for name in segments(cache))
    assert json.loads(json.dumps(full.as_dict()))["fields"] == FIELDS


def test_info_beside_a_compaction(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    reader = reopened(cache)
    assert not reader.missing("image", keys_of(*range(3))).any()
    looks = [reader.listed(), reader.listed()]
    compact(cache)
    monkeypatch.setattr(reader, "listed", lambda: looks.pop())  # what was there a moment ago
    assert (info(reader).images, looks) == (3, [])


def test_gc(cache: EmbeddingCache) -> None:
    root = cache.path.parent
    other = EmbeddingCache.open(root, {**FIELDS, "precision": "bf16"})
    (root / "notes.txt").touch()
    assert gc(root, keep=[cache.fingerprint]) == [other.fingerprint]
    assert sorted(os.listdir(root)) == sorted([cache.fingerprint, "notes.txt"])
    assert gc(root / "nowhere", keep=()) == []
