"""The cache through its public face: rows, readers beside a compaction, damage, features."""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from consistency.data.files import ImageFile
from consistency.data.pairs import PairTable
from consistency.errors import CacheError
from embedcache import store
from embedcache.maintenance import compact, gc, info, verify
from embedcache.segments import Kind
from embedcache.store import EmbeddingCache, hashtag_keys, image_key
from tests.builders.caches import (
    FIELDS,
    compacting,
    damage,
    foreign,
    image_files,
    keys_of,
    reopened,
    segments,
    vectors_of,
)
from tests.builders.crash_workers import pair_table


def test_keys_are_contents() -> None:
    digest = hashlib.sha256(b"pixels").digest()
    names = [ImageFile(name, Path(name), digest, None) for name in ("a.png", "b.png")]
    assert (image_key(names[0]) == image_key(names[1])).all()
    assert image_key(names[0]).tobytes() == digest
    assert hashtag_keys(["#카페"])[0].tobytes() == hashlib.sha256("#카페".encode()).digest()
    assert len({key.tobytes() for key in hashtag_keys(["#카페", "카페", "#카페 ", normalize("NFD", "#카페")])}) == 4
    assert hashtag_keys([]).shape == (0, 32)


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
