"""Rows are found and gathered as from a dict and an array, whatever segments hold them."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedcache import index
from embedcache.segments import Keys
from embedcache.store import EmbeddingCache
from tests.builders.caches import FIELDS, keys_of, vectors_of


def test_every_half_becomes_the_same_number_in_single_precision() -> None:
    halves = np.arange(65_536, dtype=np.uint16).view(np.float16)
    halves = halves[~np.isnan(halves)]
    wide = index.as_float32(halves)
    assert wide.dtype == np.float32
    assert (wide.view(np.uint32) == np.array([float(half) for half in halves], np.float32).view(np.uint32)).all()


def test_more_segments_than_may_be_mapped_at_once(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "open_maps", lambda: 3)
    for number in range(8):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    expected = np.concatenate([vectors_of(1, seed=number) for number in range(8)])
    for _ in range(2):
        assert (cache.vectors("image", keys_of(*range(8))) == expected).all()


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("dim", [1, 3, 64])
@pytest.mark.parametrize("maps", [1, 2, 100])
def test_gathers_are_plain_indexing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, dim: int, maps: int
) -> None:
    """Any rows in any order, of segments of any size, mapped before or not, all together or some at a time."""
    monkeypatch.setattr(index, "open_maps", lambda: maps)
    cache = EmbeddingCache.open(tmp_path, FIELDS | {"store": dtype})
    rng, start = np.random.default_rng(dim), 0
    parts = []
    for rows in (1, 40, 7, 300, 2):
        parts.append(rng.standard_normal((rows, dim), np.float32).astype(cache.dtype))
        cache.append("image", keys_of(*range(start, start + rows)), parts[-1].astype(np.float32))
        start += rows
    vectors = np.concatenate(parts).astype(np.float32)
    view, places = cache.find("image", keys_of(*range(start)))
    for size in (1, 5, 0, 64, 350, 700):
        asked = rng.integers(0, start, size)
        assert (view.take(places[asked]) == vectors[asked]).all()


def test_a_segment_that_is_gone_spoils_no_other(cache: EmbeddingCache) -> None:
    for number in range(3):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    view, rows = cache.find("image", keys_of(*range(3)))
    away = {number: view.segments[view.segment[rows[number]]].path for number in range(3)}[1]
    content = away.read_bytes()
    view.take(rows[:1])
    away.unlink()
    with pytest.raises(FileNotFoundError):
        view.take(rows)
    assert (view.take(rows[[2, 0]]) == np.concatenate([vectors_of(1, seed=2), vectors_of(1, seed=0)])).all()
    away.write_bytes(content)
    assert (view.take(rows) == np.concatenate([vectors_of(1, seed=number) for number in range(3)])).all()


PARTS = st.lists(st.binary(min_size=16, max_size=17).map(lambda part: b"\0" * 14 + part[14:]), max_size=30)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PARTS, PARTS)
def test_lookup_equals_a_dict(tmp_path: Path, there: list[bytes], asked: list[bytes]) -> None:
    """Also for keys that are no digests: with common beginnings, ends of zeros, all zeros."""

    def padded(parts: list[bytes]) -> Keys:
        return np.frombuffer(b"".join(part.ljust(32, b"\0") for part in parts), np.uint8).reshape(-1, 32)

    cache = EmbeddingCache.open(tmp_path / os.urandom(4).hex(), FIELDS)
    vectors = vectors_of(len(there))
    cache.append("image", padded(there), vectors)
    first = {key.tobytes(): vector for key, vector in reversed(list(zip(padded(there), vectors, strict=True)))}
    missing = cache.missing("image", padded(asked))
    assert missing.tolist() == [key.tobytes() not in first for key in padded(asked)]
    found = padded(asked)[~missing]
    if len(found):
        assert (cache.vectors("image", found) == np.array([first[key.tobytes()] for key in found])).all()
