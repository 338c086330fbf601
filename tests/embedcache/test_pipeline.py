"""Batches shrink when memory runs out, and rows are written behind without being lost."""

import time

import numpy as np
import pytest

from embedcache import pipeline
from embedcache.keys import hashtag_keys
from embedcache.pipeline import Encoder, Writer
from embedcache.segments import Vectors
from embedcache.store import EmbeddingCache
from tests.builders.caches import FIELDS


def test_what_counts_as_out_of_memory() -> None:
    for error in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes")):
        failures = [error]

        def encode(batch: list[int], failures: list[Exception] = failures) -> Vectors:
            if failures:
                raise failures.pop()
            return np.ones((len(batch), 2), np.float32)

        encoder = Encoder(8)
        assert encoder(encode, [1, 2, 3, 4]).shape == (4, 2)
        assert encoder.batch_size == 2
    with pytest.raises(RuntimeError, match="shapes"):
        Encoder(8)(lambda batch: (_ for _ in ()).throw(RuntimeError("shapes do not match")), [1])


def test_the_writer_commits_in_time(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "COMMIT_SECONDS", 0.02)
    reader = EmbeddingCache.open(cache.path.parent, FIELDS)
    with Writer(cache) as writer:
        writer.put("image", hashtag_keys(["a"]), np.ones((1, 3), np.float32))
        deadline = time.monotonic() + 5
        while reader.missing("image", hashtag_keys(["a"])).all() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not reader.missing("image", hashtag_keys(["a"])).any()


def test_rows_that_are_lost_are_an_error(cache: EmbeddingCache) -> None:
    """Also those lost before the disk is reached: vectors of two widths do not make one segment."""

    def write() -> None:
        with Writer(cache) as writer:
            writer.put("image", hashtag_keys(["a"]), np.ones((1, 3), np.float32))
            writer.put("image", hashtag_keys(["b"]), np.ones((1, 4), np.float32))

    with pytest.raises(ValueError, match="dimension"):
        write()
    assert cache.missing("image", hashtag_keys(["a", "b"])).all()


def test_the_writer_commits_by_size(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "COMMIT_BYTES", 1000)
    with Writer(cache) as writer:
        for part in range(8):
            keys = hashtag_keys(f"{part} {row}" for row in range(10))
            writer.put("hashtag", keys, np.ones((10, 3), np.float32))
    assert len(list(cache.path.glob("seg-*"))) == 3  # 30 + 30 + 20 rows of 44 bytes
