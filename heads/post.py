"""The context of a pair: what the other hashtags of its post say about it. No label is read."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.distinct import members_of, number_distinct
from consistency.scale import Floats, Ints

CONTEXT = ("others", "mean", "maximum", "centroid", "weighted", "position")
BLOCK = 512  # hashtags of a post whose cosines to all others are held at once, so that no post is too large
FLOOR = 1e-6  # least weight of a hashtag, so that a post of which no hashtag resembles its image has a mean


def with_context(
    pairs: PairEmbeddings, posts: npt.NDArray[np.object_], hashtags: npt.NDArray[np.object_]
) -> PairEmbeddings:
    """Add the context of every pair, computed from the distinct other hashtags of its post.

    Parameters
    ----------
    pairs : PairEmbeddings
        All n pairs of the posts; a pair that is left out is not part of any context.
    posts : (n,) object
        Identity of each pair's post.
    hashtags : (n,) object
        Identity of each pair's hashtag. If a post has a hashtag several times, its first pair stands for all of them.
        Pairs of a post are in the order in which the post has them, if it has one.

    Returns
    -------
    PairEmbeddings
        The same pairs with `context`, (n, 6) float64, whose columns are those of CONTEXT:

        - others: number of distinct other hashtags of the post. If it is 0, the other columns are 0 too.
        - mean, maximum: mean and largest cosine of the hashtag to the others.
        - centroid: cosine of the hashtag to the mean of the others' vectors.
        - weighted: the same with each of the others weighted by its cosine to its image, negative cosines by nearly 0.
          It is the only column for which an image is read.
        - position: logarithm of the hashtag's place among the distinct hashtags of the post, counted from 1. It is the
          only column that the order of the pairs changes; no head reads it unless that is asked for.
    """
    first, member = number_distinct(zip(posts, hashtags, strict=True))
    _, post = number_distinct(posts[first].tolist())
    context = np.zeros((len(first), len(CONTEXT)))
    own = np.clip(pairs.take(first).cosine(), FLOOR, None)
    for members in members_of(post):
        if len(members) > 1:
            vectors = pairs.hashtags[pairs.hashtag_index[first[members]]].astype(np.float64)
            context[members, :-1] = _of_post(vectors, own[members])
            context[members, -1] = np.log1p(np.arange(len(members)))
    return replace(pairs, context=context[member])


def _of_post(vectors: Floats, weights: Floats) -> Floats:
    """The context of the m distinct hashtags of one post but its position, from vectors (m, d) and weights (m,)."""
    m = len(vectors)
    total, weighted = vectors.sum(axis=0), weights @ vectors
    parts = []
    for start in range(0, m, BLOCK):
        these = np.arange(start, min(start + BLOCK, m))
        own = vectors[these]
        cosine = own @ vectors.T
        cosine[np.arange(len(these)), these] = -np.inf
        rest, rest_weighted = total - own, weighted - weights[these, None] * own
        cosine_sum = np.einsum("md,md->m", own, rest)
        parts.append(
            np.column_stack(
                [
                    np.full(len(these), m - 1.0),
                    cosine_sum / (m - 1),
                    cosine.max(axis=1),
                    cosine_sum / _length(rest),
                    np.einsum("md,md->m", own, rest_weighted) / _length(rest_weighted),
                ]
            )
        )
    return np.concatenate(parts)


def _length(vectors: Floats) -> Floats:
    return np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)


def others(pairs: PairEmbeddings) -> Ints:
    """Return the number of distinct other hashtags in the post of each pair, (n,) int64; 0 without a context."""
    if pairs.context is None:
        return np.zeros(len(pairs), np.int64)
    return pairs.context[:, CONTEXT.index("others")].astype(np.int64)
