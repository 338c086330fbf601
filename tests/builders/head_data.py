"""A pair table's embeddings, made up: images and hashtags of a few concepts, scores by how near the concepts are."""

from dataclasses import replace

import numpy as np

from consistency.backbone.embeddings import PairEmbeddings
from heads.post import with_context


def make_pairs(n=300, *, images=40, hashtags=120, dim=12, concepts=8, noise=0.6, seed=0):
    """(embeddings, labels (n,) int64 0..4, all five present)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(concepts, dim))
    of_image, of_hashtag = rng.integers(0, concepts, images), rng.integers(0, concepts, hashtags)

    def table(of, offset):
        vectors = centres[of] + noise * rng.normal(size=(len(of), dim)) + offset
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    embeddings = PairEmbeddings(
        table(of_image, 1), table(of_hashtag, -1), rng.integers(0, images, n), rng.integers(0, hashtags, n)
    )
    apart = centres[of_image[embeddings.image_index]] - centres[of_hashtag[embeddings.hashtag_index]]
    distance = (apart**2).sum(axis=1) + rng.normal(0, 1, n)
    labels = np.searchsorted(np.quantile(-distance, [0.06, 0.16, 0.32, 0.58]), -distance)
    return embeddings, labels.astype(np.int64)


def make_posts(n=300, *, size=6, seed=0, **settings):
    """(embeddings with a context, labels (n,), posts (n,), hashtags (n,)), all of a post's rows with one image."""
    embeddings, labels = make_pairs(n, images=n // size, seed=seed, **settings)
    posts = (np.arange(n) // size).astype(object)
    pairs = replace(embeddings, image_index=np.arange(n) // size)
    hashtags = np.array([f"tag {index}" for index in embeddings.hashtag_index], dtype=object)
    return with_context(pairs, posts, hashtags), labels, posts, hashtags
