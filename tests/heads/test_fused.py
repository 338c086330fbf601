"""Heads of several backbones, fused late."""

from pathlib import Path

import numpy as np
import pytest

from consistency.backbone.embeddings import PairEmbeddings, side_by_side
from consistency.errors import InputError
from heads.config import HeadConfig
from heads.fused import FusedHeads, apart
from heads.load import load_head
from heads.train import train_head

WIDTHS = (6, 4)


def unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    vectors = rng.normal(size=(n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_mean_probabilities_of_heads_that_read_their_own_backbone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, hashtags = [unit(rng, 20, dim) for dim in WIDTHS], [unit(rng, 9, dim) for dim in WIDTHS]
    index = rng.integers(0, 20, 60), rng.integers(0, 9, 60)
    labels = rng.integers(0, 5, 60)
    joined = PairEmbeddings(side_by_side(images), side_by_side(hashtags), *index)
    alone = [PairEmbeddings(*vectors, *index) for vectors in zip(images, hashtags, strict=True)]
    for part, own in zip(apart(joined, WIDTHS), alone, strict=True):
        np.testing.assert_allclose(part.images, own.images, atol=1e-6)
        np.testing.assert_allclose(part.hashtags, own.hashtags, atol=1e-6)
    members = [train_head(HeadConfig(epochs=2, hidden=(8,)), part, labels, seed=1)[0] for part in alone]
    fused = FusedHeads(tuple(members))
    expected = sum(member.predict_proba(part) for member, part in zip(members, alone, strict=True)) / 2
    said = fused.predict(joined)
    np.testing.assert_allclose(said.probabilities, expected, atol=1e-6)
    np.testing.assert_array_equal(said.predicted, said.probabilities.argmax(axis=1))
    fused.save(tmp_path)
    again = load_head(tmp_path)
    assert isinstance(again, FusedHeads)
    np.testing.assert_array_equal(again.predict_proba(joined), said.probabilities)
    with pytest.raises(InputError, match="trained on embeddings of 10 numbers, got 6"):
        fused.predict(alone[0])
