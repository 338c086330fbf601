"""Pairs read from tables have the features and moments of pairs written out."""

import numpy as np
import pytest
import torch

from heads.config import FEATURES
from heads.model import pair_features, post_context
from heads.pairs import Pairs
from tests.builders.head_data import make_pairs, make_posts


@pytest.mark.parametrize("kind", FEATURES)
def test_features_and_moments_are_those_of_pairs_written_out(kind):
    embeddings, labels, *_ = make_posts(n=5000, size=10)  # more than one part
    pairs = Pairs.of(embeddings, labels, dtype=torch.float64, device="cpu")
    rows = pairs.rows(np.arange(0, 5000, 2))
    expected = pair_features(
        kind,
        torch.from_numpy(embeddings.images[embeddings.image_index]).double(),
        torch.from_numpy(embeddings.hashtags[embeddings.hashtag_index]).double(),
        torch.from_numpy(post_context(embeddings)),
    )[::2]
    torch.testing.assert_close(pairs.features(kind, rows), expected)
    mean, deviation = pairs.moments(kind, rows)
    np.testing.assert_allclose(mean, expected.numpy().mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(deviation, expected.numpy().std(axis=0), atol=1e-7)


def test_a_constant_feature_is_not_scaled():
    embeddings, labels = make_pairs()
    embeddings.images[:, 3] = 0.25
    pairs = Pairs.of(embeddings, labels, dtype=torch.float32, device="cpu")
    assert pairs.moments("image", pairs.rows(np.arange(len(labels))))[1][3] == 1
