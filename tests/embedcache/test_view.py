"""Readers beside writers and compactions, and damage that is found and set aside."""

import fcntl
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from consistency.errors import CacheError
from embedcache.maintenance import compact, gc, info, verify
from embedcache.segments import Kind, name_of
from embedcache.store import EmbeddingCache
from tests.builders.caches import (
    FIELDS,
    compacting,
    damage,
    foreign,
    keys_of,
    reopened,
    segments,
    vectors_of,
)


def test_a_reader_sees_what_others_append(cache: EmbeddingCache) -> None:
    reader = reopened(cache)
    assert reader.missing("image", keys_of(1)).all()
    cache.append("image", keys_of(1), vectors_of(1))
    assert not reader.missing("image", keys_of(1)).any()


def test_a_reader_across_compactions(cache: EmbeddingCache) -> None:
    """Opened, checked or mapped before: the rows stay readable when their segments are gone."""
    for number in range(6):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    expected = np.concatenate([vectors_of(1, seed=number) for number in range(6)])
    opened, checked, mapped = (reopened(cache) for _ in range(3))
    opened.index("image")
    checked.missing("image", keys_of(*range(6)))
    view, rows = mapped.find("image", keys_of(*range(6)))
    view.take(rows)
    report = compact(cache)
    assert (report.before, report.after, len(segments(cache))) == (6, 1, 1)
    for reader in (opened, checked, mapped):
        assert (reader.vectors("image", keys_of(*range(6))) == expected).all()
    assert (view.take(rows) == expected).all()


def test_a_reader_waits_for_nobody(cache: EmbeddingCache) -> None:
    """Neither for a compaction nor for a writer, whatever they have locked."""
    cache.append("image", keys_of(1), vectors_of(1))
    with compacting(cache), (cache.path / "tmp" / ".writing-1-a").open("w") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        code = (
            "import sys; from pathlib import Path; from embedcache.store import EmbeddingCache;"
            "from tests.builders.caches import *;"
            "cache = EmbeddingCache.open(Path(sys.argv[1]), FIELDS);"
            "assert (cache.vectors('image', keys_of(1)) == vectors_of(1)).all();"
            "cache.append('image', keys_of(2), vectors_of(1))"
        )
        command = [sys.executable, "-c", code, str(cache.path.parent)]
        subprocess.run(command, check=True, timeout=60, cwd=Path(__file__).parents[2])
    assert not cache.missing("image", keys_of(1, 2)).any()


def test_a_cache_that_is_gone(cache: EmbeddingCache) -> None:
    reader = reopened(cache)
    gc(cache.path.parent, keep=())
    with pytest.raises(CacheError, match="cannot be listed"):
        reader.missing("image", keys_of(1))


def test_damage_is_set_aside_and_its_rows_are_missing(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(1), vectors_of(1))
    damaged = segments(cache)[0]
    cache.append("image", keys_of(2), vectors_of(1, seed=2))
    damage(cache.path / damaged)
    reader = reopened(cache)
    assert reader.missing("image", keys_of(1, 2)).tolist() == [True, False]
    assert damaged in reader.quarantined[0]
    assert os.listdir(cache.path / "quarantine") == [damaged]
    with pytest.raises(CacheError, match=r"1 of 2 images are not in .*is damaged: .* quarantine/"):
        reader.vectors("image", keys_of(1, 2))
    assert info(reader).quarantined == 1
    # The same rows make the same segment, under the same name.
    reader.append("image", keys_of(1), vectors_of(1))
    assert damaged in segments(reader)
    assert (reader.vectors("image", keys_of(1)) == vectors_of(1)).all()


def test_a_sound_copy_of_a_damaged_row_is_used(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(1), vectors_of(1))
    cache.append("image", keys_of(1, 2), vectors_of(2))
    damage(cache.path / segments(cache)[0])
    reader = reopened(cache)
    assert (reader.vectors("image", keys_of(1)) == vectors_of(2)[:1]).all()


@pytest.mark.parametrize("look", [None, verify, compact])
def test_vectors_that_never_had_their_digest(
    cache: EmbeddingCache, look: Callable[[EmbeddingCache], object] | None
) -> None:
    """In a file whose name is right."""
    cache.append("image", keys_of(1), vectors_of(1))
    bad = foreign(cache, keys_of(1, 2, 3), vectors_of(3), digest="0" * 64)
    reader = reopened(cache)
    if look:
        look(reader)
    assert reader.missing("image", keys_of(1, 2, 3)).tolist() == [False, True, True]
    assert os.listdir(cache.path / "quarantine") == [bad]
    assert "the digest of its vectors differs; it was moved to quarantine/" in reader.quarantined[0]


@pytest.mark.parametrize(
    ("vectors", "found"),
    [
        (vectors_of(3).astype(np.float16), "float16 of dimension 4, expected float32 of dimension 4"),
        (vectors_of(3, dim=8), "float32 of dimension 8, expected float32 of dimension 4"),
    ],
)
@pytest.mark.parametrize("kind", ["image", "hashtag"])
def test_vectors_that_do_not_fit_the_cache(
    cache: EmbeddingCache, vectors: npt.NDArray[np.floating], found: str, kind: Kind
) -> None:
    """Of two widths that of most rows counts, of either kind, whichever segment comes first."""
    for number in range(4):
        cache.append(kind, keys_of(number), vectors_of(1, seed=number))
    bad = foreign(cache, keys_of("a", "b", "c"), vectors)
    reader = reopened(cache)
    assert reader.missing("image", keys_of("a", "b", "c")).all()
    expected = np.concatenate([vectors_of(1, seed=number) for number in range(4)])
    assert (reader.vectors(kind, keys_of(*range(4))) == expected).all()
    assert os.listdir(cache.path / "quarantine") == [bad]
    assert len(segments(cache)) == 4
    assert reader.quarantined == [
        f"{cache.path / bad} holds vectors of type {found}; "
        "it was moved to quarantine/, run extract to encode its rows again"
    ]


def test_a_repair_by_another_process_is_not_set_aside(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(1), vectors_of(1))
    path = cache.path / segments(cache)[0]
    sound = path.read_bytes()
    damage(path)
    reader = reopened(cache)
    opened = reader.index("image").segments[0]
    with reader.handling(path):
        try:
            opened.check_vectors()
        finally:
            path.write_bytes(sound)  # meanwhile another process has made the rows again
    assert not reader.quarantined
    assert (reader.vectors("image", keys_of(1)) == vectors_of(1)).all()


def test_damage_that_cannot_be_set_aside(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(1), vectors_of(1))
    damage(cache.path / segments(cache)[0])
    (cache.path / "quarantine").touch()
    reader = reopened(cache)
    assert reader.missing("image", keys_of(1)).all()
    reader.append("image", keys_of(1), vectors_of(1))
    assert (reader.vectors("image", keys_of(1)) == vectors_of(1)).all()


def test_a_complete_cache_needs_no_folders_to_be_read(cache: EmbeddingCache) -> None:
    """As copying may leave empty ones out, and make all of it read-only."""
    cache.append("image", keys_of(1), vectors_of(1))
    for name in ("tmp", "quarantine"):
        if (cache.path / name).exists():
            (cache.path / name).rmdir()
    there = sorted(os.listdir(cache.path))
    reader = EmbeddingCache.open(cache.path.parent, FIELDS)
    assert (reader.vectors("image", keys_of(1)) == vectors_of(1)).all()
    assert info(reader).images == 1
    assert verify(reader).segments == 1
    assert sorted(os.listdir(cache.path)) == there
    reader.append("image", keys_of(2), vectors_of(1, seed=2))
    assert not cache.missing("image", keys_of(1, 2)).any()
    (cache.path / "tmp").rmdir()
    compact(reader)
    damage(cache.path / segments(cache)[0])
    assert reopened(cache).missing("image", keys_of(1, 2)).all()
    assert len(os.listdir(cache.path / "quarantine")) == 1


def test_foreign_segments_are_passed_over(cache: EmbeddingCache) -> None:
    """A segment of another cache and another HDF5 file, both under their right names: the rest answers."""
    cache.append("image", keys_of(1), vectors_of(1))
    other = EmbeddingCache.open(cache.path.parent, FIELDS | {"precision": "bf16"})
    other.append("image", keys_of(2), vectors_of(1))
    strange = [(other.path / name).read_bytes() for name in segments(other)]
    with h5py.File(buffer := io.BytesIO(), "w") as file:
        file["x"] = 1
    strange.append(buffer.getvalue())
    names = [name_of(data) for data in strange]
    for name, data in zip(names, strange, strict=True):
        (cache.path / name).write_bytes(data)
    reader = reopened(cache)
    assert reader.missing("image", keys_of(1, 2)).tolist() == [False, True]
    assert (reader.vectors("image", keys_of(1)) == vectors_of(1)).all()
    assert len(reader.quarantined) == 2
    for name in names:
        (said,) = [line for line in reader.quarantined if name in line]
        assert "it is left where it is, and not used" in said
    with pytest.raises(CacheError, match=r"1 of 1 images are not in .* intact but cannot be used"):
        reader.vectors("image", keys_of(2))
    reader.append("image", keys_of(2), vectors_of(1, seed=5))
    compact(reader)
    assert (reopened(cache).vectors("image", keys_of(1, 2)) == [vectors_of(1)[0], vectors_of(1, seed=5)[0]]).all()
    assert set(names) < set(segments(cache))
