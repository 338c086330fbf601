"""The cache through its public face: rows and features."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from consistency.data.files import ImageFile
from consistency.data.pairs import PairTable
from consistency.errors import CacheError
from embedcache import store
from embedcache.keys import hashtag_keys
from embedcache.maintenance import compact
from embedcache.store import EmbeddingCache
from tests.builders.caches import (
    FIELDS,
    damage,
    image_files,
    keys_of,
    reopened,
    segments,
    vectors_of,
)
from tests.builders.crash_workers import pair_table


def test_append_and_read(cache: EmbeddingCache) -> None:
    keys, vectors = keys_of(*range(100)), vectors_of(100)
    assert cache.missing("image", keys).all()
    cache.append("image", keys, vectors)
    for reader in (cache, reopened(cache)):
        assert not reader.missing("image", keys).any()
        assert reader.missing("hashtag", keys).all()
        order = np.random.default_rng(1).integers(0, 100, 300)
        got = reader.vectors("image", keys[order])
        assert got.dtype == np.float32
        assert (got == vectors[order]).all()
        with pytest.raises(CacheError, match=r"1 of 2 images are not in .*; run extract"):
            reader.vectors("image", keys_of(3, "absent"))


def test_nothing_is_no_segment(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(), vectors_of(0))
    assert segments(cache) == []
    assert cache.vectors("image", keys_of()).shape == (0, 0)
    assert cache.missing("image", keys_of()).shape == (0,)


def test_repeated_keys_keep_the_first(cache: EmbeddingCache) -> None:
    vectors = vectors_of(3)
    cache.append("image", keys_of("a", "b", "a"), vectors)
    assert (cache.vectors("image", keys_of("a", "b")) == vectors[:2]).all()
    assert len(cache.index("image")) == 2


def test_a_key_twice_is_the_first_segment_in_the_order_of_names(cache: EmbeddingCache) -> None:
    for seed in range(5):
        cache.append("image", keys_of("a"), vectors_of(1, seed=seed))
    with h5py.File(cache.path / segments(cache)[0], "r") as file:
        first = file["vectors"][()]
    assert (reopened(cache).vectors("image", keys_of("a")) == first).all()
    compact(cache)
    assert (reopened(cache).vectors("image", keys_of("a")) == first).all()
    assert len(segments(cache)) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_vectors_no_model_should_give(cache: EmbeddingCache, bad: float) -> None:
    vectors = vectors_of(3)
    vectors[1] = 0.0 if bad == 0.0 else vectors[1]
    vectors[1, 0] = bad
    with pytest.raises(CacheError, match="1 of 3 vectors are NaN, infinite or zero; nothing was stored"):
        cache.append("image", keys_of(1, 2, 3), vectors)
    assert segments(cache) == []


def test_another_width_is_refused(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(1), vectors_of(1, dim=4))
    for kind, vectors in (("image", vectors_of(1, dim=5)), ("hashtag", vectors_of(1, dim=3)), ("image", vectors_of(2))):
        with pytest.raises(CacheError, match=r"expected \(1, 4\): the model does not fit this cache"):
            cache.append(kind, keys_of(2), vectors)  # type: ignore[arg-type]


def test_half_precision_is_a_cache_of_its_own(cache: EmbeddingCache) -> None:
    half = EmbeddingCache.open(cache.path.parent, {**FIELDS, "store": "fp16"})
    assert half.fingerprint != cache.fingerprint
    vectors = vectors_of(50)
    half.append("image", keys_of(*range(50)), vectors)
    assert (half.vectors("image", keys_of(*range(50))) == vectors.astype(np.float16).astype(np.float32)).all()
    half.append("image", keys_of("more"), vectors_of(1))
    compact(half)
    with h5py.File(half.path / segments(half)[0], "r") as file:
        assert file["vectors"].dtype == np.float16
    assert (half.vectors("image", keys_of(*range(50))) == vectors.astype(np.float16)).all()
    with pytest.raises(CacheError, match="infinite"):
        half.append("image", keys_of("large"), np.full((1, 4), 1e6, np.float32))


def test_large_appends_become_several_segments(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "rows_per_segment", lambda dim, dtype: 30)
    cache.append("image", keys_of(*range(100)), vectors_of(100))
    assert len(segments(cache)) == 4
    assert (reopened(cache).vectors("image", keys_of(*range(100))) == vectors_of(100)).all()


def test_features(cache: EmbeddingCache, pairs: tuple[PairTable, dict[str, ImageFile]]) -> None:
    embeddings, usable = cache.features(*pairs)
    assert usable.tolist() == [True, True, False, False, False, True]
    assert (embeddings.images == vectors_of(2)).all()  # two images, not three pairs
    y, x = vectors_of(2, seed=1)
    assert (embeddings.images[embeddings.image_index] == vectors_of(2)[[0, 0, 1]]).all()
    assert (embeddings.hashtags[embeddings.hashtag_index] == np.array([x, y, y])).all()


def test_features_of_an_empty_cache(cache: EmbeddingCache) -> None:
    table = pair_table(["a", "missing"], ["#x", "#y"])
    embeddings, usable = cache.features(table, image_files(list(table.images)))
    assert len(embeddings) == 0
    assert not usable.any()
    cache.append("hashtag", hashtag_keys(["#x"]), vectors_of(1))
    embeddings, usable = cache.features(table, image_files(list(table.images)))
    assert (embeddings.dim, usable.any()) == (4, False)


def test_the_store_imports_nothing_heavy() -> None:
    code = "import sys, embedcache.extract, embedcache.export; print({'torch', 'transformers'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert ran.stdout == "set()\n"


def test_many_rows_open_without_their_vectors_being_read(cache: EmbeddingCache) -> None:
    """A damaged vector is no concern of opening; it is found at the first touch of its own segment."""
    keys = np.random.default_rng(0).integers(0, 256, (20_000, 32), np.uint8)
    cache.append("image", keys, np.ones((20_000, 4), np.float32))
    damage(cache.path / segments(cache)[0])
    reader = reopened(cache)
    assert len(reader.index("image")) == 20_000
    assert not reader.quarantined
    assert reader.missing("image", keys[:1]).all()
    assert len(reader.quarantined) == 1
