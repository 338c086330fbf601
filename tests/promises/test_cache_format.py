"""The embedding cache as a program reads it that knows docs/cache-format.md and nothing of ours."""

import ast
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from consistency.data.files import find_images
from consistency.data.pairs import read_pairs
from embedcache.keys import hashtag_keys
from embedcache.maintenance import compact
from embedcache.store import EmbeddingCache, list_caches
from tests.builders import outside_reader
from tests.builders.caches import FIELDS, keys_of, vectors_of
from tests.builders.commands import rows_of

READER = Path(outside_reader.__file__)


def test_the_reader_imports_nothing_of_ours() -> None:
    """In a process of its own that has no way to this program."""
    tree = ast.parse(READER.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - sys.stdlib_module_names == {"h5py", "numpy"}


def test_every_vector_of_a_real_cache_is_read(trained: Path, small_demo: Path) -> None:
    """All images and hashtags of the data set, by keys that the reader computes from the files and the table."""
    command = [sys.executable, "-I", str(READER), str(trained / "cache")]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    ((name, found),) = outside_reader.read_cache(trained / "cache").items()
    rows = rows_of(small_demo / "combined_data.csv")
    images = {hashlib.sha256((small_demo / "image" / row["Image Filename"]).read_bytes()).digest() for row in rows}
    hashtags = {row["Hashtag"] for row in rows}
    assert set(found.rows["image"]) == images
    assert set(found.rows["hashtag"]) == {hashlib.sha256(text.encode()).digest() for text in hashtags}
    assert found.texts == hashtags
    assert told == {
        name: {"segments": found.segments, "texts": len(hashtags), "image": len(images), "hashtag": len(hashtags)}
    }
    (cache,) = list_caches(trained / "cache")
    table = read_pairs(small_demo / "combined_data.csv")
    embeddings, usable = cache.features(table, find_images(table.images, small_demo / "image"))
    assert usable.all()
    keys = [key.tobytes() for key in hashtag_keys(table.hashtags)]
    expected = np.array([found.rows["hashtag"][key] for key in keys])
    assert (embeddings.hashtags[embeddings.hashtag_index] == expected).all()


@pytest.mark.parametrize("store", ["fp32", "fp16"])
def test_repeated_keys_and_compactions(tmp_path: Path, store: str) -> None:
    """Where segments repeat a key with another vector, the reader and the cache use the same one, before and after."""
    cache = EmbeddingCache.open(tmp_path, {**FIELDS, "store": store})
    for seed, names in enumerate(("abc", "cde", "ab", "ef")):
        cache.append("hashtag", keys_of(*names), vectors_of(len(names), seed=seed))
    for segments in (4, 1):
        ((name, found),) = outside_reader.read_cache(tmp_path).items()
        assert (name, found.segments) == (cache.fingerprint, segments)
        read = np.array([found.rows["hashtag"][key.tobytes()] for key in keys_of(*"abcdef")], np.float32)
        assert (cache.vectors("hashtag", keys_of(*"abcdef")) == read).all()
        compact(cache)


def test_the_reader_refuses_what_the_page_excludes(tmp_path: Path) -> None:
    cache = EmbeddingCache.open(tmp_path, FIELDS)
    cache.append("image", keys_of("a"), vectors_of(1))
    (path,) = cache.path.glob("seg-*.h5")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(outside_reader.Refused, match="its SHA-256 is not the one in its name"):
        outside_reader.read_cache(tmp_path)
