"""A cache in an object store keeps the promises of one in a folder: what is damaged is missing, never wrong."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consistency.errors import InputError, StorageError
from consistency.remote import RemotePath, filesystem, path_of
from embedcache.adopt import read_verdict
from embedcache.catalog import list_fields
from embedcache.maintenance import compact, gc, info, verify
from embedcache.storage import storage_of
from embedcache.store import EmbeddingCache, list_caches
from tests.builders.caches import FIELDS, keys_of, vectors_of
from tests.builders.object_store import Store, environment

WRITER = """
import sys
from consistency.remote import path_of
from embedcache.store import EmbeddingCache
from tests.builders.caches import FIELDS, keys_of, vectors_of
cache = EmbeddingCache.open(path_of(sys.argv[1]), FIELDS)
for part in range(12):
    names = [f"{sys.argv[2]}-{part}-{row}" for row in range(20)]
    cache.append("image", keys_of(*names, "shared"), vectors_of(21, seed=part))
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemotePath:
    monkeypatch.setenv("KOCLIP_MIRROR", str(tmp_path / "mirror"))
    url = path_of(f"memory://{tmp_path.name}/cache")
    assert isinstance(url, RemotePath)
    return url


@pytest.fixture
def cache(root: RemotePath) -> EmbeddingCache:
    return EmbeddingCache.open(root, FIELDS)


def elsewhere(cache: EmbeddingCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddingCache:
    """The cache as another machine sees it, without copies."""
    monkeypatch.setenv("KOCLIP_MIRROR", str(tmp_path / "another machine"))
    return EmbeddingCache.open(cache.path.parent, FIELDS, create=False)


def objects(cache: EmbeddingCache) -> list[str]:
    return [name for name in cache.storage.names() if name.startswith("seg-")]


def flip(cache: EmbeddingCache, name: str) -> bytes:
    """Flip a bit of an object; its content before."""
    place, system = str(cache.path / name), filesystem(cache.path)  # type: ignore[arg-type]
    data = bytearray(good := system.cat_file(place))
    data[len(data) // 2] ^= 1
    system.pipe_file(place, bytes(data))
    return bytes(good)


def test_what_one_machine_appends_another_reads(
    cache: EmbeddingCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.append("image", keys_of(*range(50)), vectors_of(50))
    cache.append("hashtag", keys_of("a"), vectors_of(1))
    cache.record_texts(["#바다", "a"])
    there = elsewhere(cache, tmp_path, monkeypatch)
    assert (there.vectors("image", keys_of(*range(50))) == vectors_of(50)).all()
    assert there.texts() == ["a"]
    found = info(there)
    assert (found.images, found.hashtags, found.segments, found.path) == (50, 1, 2, str(cache.path))
    assert [fields for _, fields in list_fields(cache.path.parent)] == [FIELDS]
    assert [each.fingerprint for each in list_caches(cache.path.parent)] == [cache.fingerprint]
    there.append("image", keys_of("later"), vectors_of(1, seed=2))
    assert not cache.missing("image", keys_of("later")).any()
    assert read_verdict(cache.path, "0" * 64) is None


def test_a_flipped_bit_is_missing_and_an_append_repairs_it(
    cache: EmbeddingCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.append("image", keys_of(*range(20)), vectors_of(20))
    cache.append("image", keys_of("other"), vectors_of(1, seed=9))
    name = max(objects(cache), key=lambda each: int(each.split("-")[1]))
    good = flip(cache, name)
    there = elsewhere(cache, tmp_path, monkeypatch)
    assert there.missing("image", keys_of(*range(20))).all()
    assert (there.vectors("image", keys_of("other")) == vectors_of(1, seed=9)).all()
    assert there.quarantined == [
        f"{cache.path / name} is damaged: its content is not that of its name; it stays there and is not used, "
        "run extract to encode its rows again"
    ]
    report = verify(EmbeddingCache.open(cache.path.parent, FIELDS, create=False))
    assert (report.segments, report.rows, len(report.damaged)) == (1, 1, 1)
    there.append("image", keys_of(*range(20)), vectors_of(20))
    assert filesystem(there.path).cat_file(str(there.path / name)) == good  # type: ignore[arg-type]
    for reader in (there, EmbeddingCache.open(cache.path.parent, FIELDS, create=False)):
        assert (reader.vectors("image", keys_of(*range(20))) == vectors_of(20)).all()
    assert verify(there).damaged == ()
    assert verify(there).rows == 21


def test_a_damaged_copy_is_fetched_again(cache: EmbeddingCache, tmp_path: Path) -> None:
    cache.append("image", keys_of(*range(20)), vectors_of(20))
    (copy,) = (tmp_path / "mirror").rglob("seg-*")
    for damage in (b"", copy.read_bytes()[:-1] + b"!"):
        copy.write_bytes(damage)
        reader = EmbeddingCache.open(cache.path.parent, FIELDS, create=False)
        assert (reader.vectors("image", keys_of(*range(20))) == vectors_of(20)).all()
    copy.unlink()
    assert not EmbeddingCache.open(cache.path.parent, FIELDS, create=False).missing("image", keys_of(3)).any()


def test_segments_of_another_width_are_left_in_the_store(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(*range(20)), vectors_of(20))
    EmbeddingCache.open(cache.path.parent, FIELDS).publish("image", keys_of("odd"), vectors_of(1, dim=7))
    reader = EmbeddingCache.open(cache.path.parent, FIELDS, create=False)
    assert reader.missing("image", keys_of("odd")).all()
    assert (reader.vectors("image", keys_of(*range(20))) == vectors_of(20)).all()
    assert len(objects(cache)) == 2


def test_two_writers_at_once_and_a_damaged_object(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{store.bucket('writers')}/cache"
    monkeypatch.setenv("KOCLIP_MIRROR", str(tmp_path / "mirror"))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, who],
            env={**environment(store), "KOCLIP_MIRROR": str(tmp_path / who)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in ("one", "two")
    ]
    for writer in writers:
        _, said = writer.communicate(timeout=120)
        assert writer.returncode == 0, said
    names = [f"{who}-{part}-{row}" for who in ("one", "two") for part in range(12) for row in range(20)]
    expected = np.concatenate([vectors_of(21, seed=part)[:20] for _ in range(2) for part in range(12)])
    cache = EmbeddingCache.open(path_of(url), FIELDS, create=False)
    assert (cache.vectors("image", keys_of(*names)) == expected).all()
    assert len(cache.index("image")) == 481
    name = objects(cache)[0]
    flip(cache, name)
    reader = elsewhere(cache, tmp_path, monkeypatch)
    missing = reader.missing("image", keys_of(*names))
    assert 20 <= missing.sum() <= 21
    start = len(store.requests)
    again = EmbeddingCache.open(path_of(url), FIELDS, create=False)
    assert (again.missing("image", keys_of(*names)) == missing).all()
    assert not [request for request in store.requests[start:] if name in request]  # what is damaged is remembered
    reader.append("image", keys_of(*names)[missing], expected[missing])
    assert (reader.vectors("image", keys_of(*names)) == expected).all()
    third = elsewhere(cache, tmp_path / "third", monkeypatch)
    assert (third.vectors("image", keys_of(*names)) == expected).all()


def test_what_a_store_cannot_do_is_refused(cache: EmbeddingCache) -> None:
    with pytest.raises(InputError, match="has no locks, so it cannot be compacted there: copy it"):
        compact(cache)
    with pytest.raises(InputError, match="hf://datasets/me/x cannot hold a cache"):
        storage_of(path_of("hf://datasets/me/x"))


def test_gc_removes_a_cache_and_its_copies(cache: EmbeddingCache, tmp_path: Path) -> None:
    other = EmbeddingCache.open(cache.path.parent, {**FIELDS, "store": "fp16"})
    for each in (cache, other):
        each.append("image", keys_of(1), vectors_of(1))
    assert gc(cache.path.parent, {cache.fingerprint}) == [other.fingerprint]
    assert [path.name for path, _ in list_fields(cache.path.parent)] == [cache.fingerprint]
    assert other.storage.names() == []
    assert not list((tmp_path / "mirror").rglob(f"{other.fingerprint}*"))
    assert not cache.missing("image", keys_of(1)).any()


class Failing:
    """A store that lists, and does nothing else."""

    def __init__(self, system: Any) -> None:
        self.ls, self.info = system.ls, system.info

    def __getattr__(self, name: str) -> Any:
        raise ConnectionError("the bucket is out of reach")


def test_a_put_that_fails_is_not_acknowledged(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    system = filesystem(cache.path)  # type: ignore[arg-type]
    monkeypatch.setattr("embedcache.storage.filesystem", lambda path: Failing(system))
    with pytest.raises(StorageError, match="cannot be reached .the bucket is out of reach.: check the network"):
        cache.append("image", keys_of(1), vectors_of(1))
    monkeypatch.undo()
    assert cache.missing("image", keys_of(1)).all()
