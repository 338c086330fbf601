"""Pairs over distinct vectors: checked, taken in part, compared by cosine."""

import numpy as np
import pytest

from consistency.backbone.embeddings import PairEmbeddings


def unit(n: int, d: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, d), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def some(n: int = 70_000) -> PairEmbeddings:
    rng = np.random.default_rng(2)
    return PairEmbeddings(unit(5, 8, 0), unit(7, 8, 1), rng.integers(0, 5, n), rng.integers(0, 7, n))


def test_cosines_are_those_of_each_pair() -> None:
    pairs = some()  # more than are computed at once
    expected = (pairs.images[pairs.image_index].astype(float) * pairs.hashtags[pairs.hashtag_index]).sum(axis=1)
    assert pairs.cosine().dtype == np.float64
    np.testing.assert_allclose(pairs.cosine(), expected, rtol=0, atol=1e-12)


def test_a_part_of_the_pairs() -> None:
    pairs, rows = some(100), np.array([5, 3, 3])
    part = pairs.take(rows)
    assert (len(part), part.dim) == (3, 8)
    assert (part.hashtag_vectors() == pairs.hashtag_vectors()[rows]).all()
    assert (part.cosine() == pairs.cosine()[rows]).all()
    assert len(pairs.take(np.zeros(100, bool))) == 0


def test_tables_and_indices_must_match() -> None:
    index = np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="embedding tables"):
        PairEmbeddings(unit(2, 8, 0), unit(2, 9, 0), index, index)
    with pytest.raises(ValueError, match="indices"):
        PairEmbeddings(unit(2, 8, 0), unit(2, 8, 0), index, index[:2])
