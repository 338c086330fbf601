"""A cache that cannot be written: what is encoded is found in memory, and nothing is written."""

from pathlib import Path

import numpy as np
import pytest

from consistency import durable
from consistency.errors import CacheError, InputError
from embedcache import fallback
from embedcache.fallback import FallbackCache
from embedcache.store import EmbeddingCache
from tests.builders.caches import FIELDS, keys_of, vectors_of
from tests.builders.read_only import ReadOnly


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(durable, "system", ReadOnly(tmp_path))
    return tmp_path


def check_contents(cache: FallbackCache) -> None:
    """It holds the images 0 to 5, of which it is given 0 to 2 first, and the hashtag 0."""
    keys, vectors = keys_of(*range(6)), vectors_of(6)
    assert not cache.missing("image", keys).any()
    assert cache.missing("image", keys_of(0, "absent", 5)).tolist() == [False, True, False]
    got, rows = cache.present("image", keys_of(5, "absent", 0, 3, 0))
    assert rows[1] == -1
    np.testing.assert_array_equal(got[rows[[0, 2, 3, 4]]], vectors[[5, 0, 3, 0]])
    np.testing.assert_array_equal(cache.vectors("image", keys), vectors)
    assert cache.missing("hashtag", keys_of(0, 1)).tolist() == [False, True]
    sample = cache.sample("image", 100)
    assert sorted(map(tuple, sample.tolist())) == sorted(map(tuple, vectors.tolist()))
    assert len(cache.sample("image", 4)) == 4


def fill(cache: EmbeddingCache) -> None:
    keys, vectors = keys_of(*range(6)), vectors_of(6)
    cache.append("image", keys[3:], vectors[3:])
    cache.append("hashtag", keys[:1], vectors[:1])
    cache.record_texts(["0"])


def test_a_read_only_copy_of_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    EmbeddingCache.open(tmp_path, FIELDS).append("image", keys_of(0, 1, 2), vectors_of(6)[:3])
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(durable, "system", ReadOnly(tmp_path))
    cache = FallbackCache(tmp_path, FIELDS)
    cache.create()
    assert cache.unwritten is None
    fill(cache)
    assert "Read-only file system" in str(cache.unwritten)
    check_contents(cache)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_cannot_be_created(read_only: Path) -> None:
    cache = FallbackCache(read_only / "cache", FIELDS)
    assert cache.missing("image", keys_of(0, 1)).all()
    assert len(cache.sample("hashtag", 10)) == 0
    assert cache.texts() == []
    cache.create()
    assert "Read-only file system" in str(cache.unwritten)
    cache.append("image", keys_of(0, 1, 2), vectors_of(6)[:3])
    fill(cache)
    check_contents(cache)
    assert list(read_only.iterdir()) == []


def test_a_cache_that_can_be_written_is_a_cache(tmp_path: Path) -> None:
    cache = FallbackCache(tmp_path, FIELDS)
    cache.create()
    cache.append("image", keys_of(0, 1, 2), vectors_of(6)[:3])
    fill(cache)
    check_contents(cache)
    assert cache.unwritten is None
    stored = EmbeddingCache.open(tmp_path, FIELDS, create=False)
    np.testing.assert_array_equal(stored.vectors("image", keys_of(*range(6))), vectors_of(6))
    assert stored.texts() == ["0"]


def test_memory_is_bounded_between_tables(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FallbackCache(read_only, FIELDS)
    cache.append("image", keys_of(*range(6)), vectors_of(6))
    cache.forget()
    assert not cache.missing("image", keys_of(*range(6))).any()
    monkeypatch.setattr(fallback, "HELD", 2)
    cache.forget()
    assert cache.missing("image", keys_of(*range(6))).tolist() == [True] * 4 + [False] * 2  # the oldest are gone


def test_vectors_are_rounded_as_they_would_be_stored(read_only: Path, tmp_path: Path) -> None:
    cache = FallbackCache(read_only, {**FIELDS, "store": "fp16"})
    cache.append("image", keys_of(0), vectors_of(1))
    np.testing.assert_array_equal(cache.vectors("image", keys_of(0)), vectors_of(1).astype(np.float16))


def test_other_errors_are_not_hidden(tmp_path: Path) -> None:
    cache = FallbackCache(tmp_path, FIELDS)
    cache.create()
    with pytest.raises(CacheError, match="NaN, infinite or zero"):
        cache.append("image", keys_of(0), np.zeros((1, 4), np.float32))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file, expected the folder of the embeddings"):
        FallbackCache(tmp_path / "file", FIELDS).create()
