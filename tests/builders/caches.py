"""Small caches, and damage to them that this program would not do."""

import fcntl
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from consistency.data.files import ImageFile
from embedcache import index
from embedcache.keys import hashtag_keys
from embedcache.segments import Keys, Vectors, build, name_of
from embedcache.store import EmbeddingCache

FIELDS = {"model": "openai/clip-vit-base-patch32", "revision": "3d74acf", "precision": "fp32"}


def keys_of(*names: object) -> Keys:
    return hashtag_keys(map(str, names))


def vectors_of(n: int, dim: int = 4, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def reopened(cache: EmbeddingCache) -> EmbeddingCache:
    return EmbeddingCache.open(cache.path.parent, cache.fields, create=False)


@contextmanager
def compacting(cache: EmbeddingCache) -> Iterator[None]:
    """What docs/cache-format.md says a compaction holds while it runs, taken by somebody else."""
    (cache.path / "tmp").mkdir(exist_ok=True)
    with (cache.path / "tmp" / "compaction.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def segments(cache: EmbeddingCache) -> list[str]:
    return sorted(name for name in os.listdir(cache.path) if name.startswith("seg-"))


def damage(path: Path, offset: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def foreign(cache: EmbeddingCache, keys: Keys, vectors: npt.NDArray[np.floating], digest: str | None = None) -> str:
    """A segment under its right name that this program would not write; its name."""
    order = index.sort_rows(keys)
    data = build("image", cache.fingerprint, keys[order], vectors[order])
    if digest:
        right = hashlib.sha256(np.ascontiguousarray(vectors[order]).data).hexdigest()
        with h5py.File(buffer := io.BytesIO(data), "r+", libver=("v110", "v110")) as file:
            assert file["vectors"].attrs["sha256"] == right.encode()
            file["vectors"].attrs["sha256"] = np.bytes_(digest)
        data = buffer.getvalue()
    (cache.path / name_of(data)).write_bytes(data)
    return name_of(data)


def image_files(names: list[str]) -> dict[str, ImageFile]:
    """Names that start with the same letter are the same image; "missing" is none."""
    return {
        name: ImageFile(name, None, None, "is missing")
        if name == "missing"
        else ImageFile(name, Path(name), hashlib.sha256(name[:1].encode()).digest(), None)
        for name in names
    }
