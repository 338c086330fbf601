"""A small cache, and a pair table of which it holds a part."""

from pathlib import Path

import numpy as np
import pytest

from consistency.data.files import ImageFile
from consistency.data.pairs import PairTable
from embedcache.keys import hashtag_keys, image_key
from embedcache.store import EmbeddingCache
from tests.builders.caches import FIELDS, image_files, vectors_of
from tests.builders.crash_workers import pair_table


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache.open(tmp_path / "cache", FIELDS)


@pytest.fixture
def pairs(cache: EmbeddingCache) -> tuple[PairTable, dict[str, ImageFile]]:
    """a1 and a2 are one image; b is not cached, one hashtag neither."""
    table = pair_table(["a1", "a2", "b", "missing", "c", "c"], ["#x", "#y", "#x", "#x", "#nowhere", "#y"])
    files = image_files(list(table.images))
    cache.append("image", np.array([image_key(files["a1"]), image_key(files["c"])]), vectors_of(2))
    cache.append("hashtag", hashtag_keys(["#y", "#x"]), vectors_of(2, seed=1))
    return table, files
