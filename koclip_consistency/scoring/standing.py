"""Where the cosine of a pair stands: among the hashtags of its post, and among the hashtags of the cache."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.distinct import number_distinct
from consistency.scale import Floats, Ints

Vectors = npt.NDArray[np.float32]

ROUNDING = 1e-6  # of cosines in float32: a hashtag of the cache is not lower than itself
BLOCK = 256  # images whose cosines to all reference hashtags are held at once


@dataclass(frozen=True, eq=False)
class Standing:
    """Places of m pairs; a cosine alone says little, since its level differs from model to model and image to image.

    Attributes
    ----------
    rank : (m,) int64
        1 for the hashtag of the post with the highest cosine; equal cosines share the better rank.
    rank_of : (m,) int64
        Number of distinct hashtags of the post.
    percentile : (m,) float64 or None
        Share in % of the reference hashtags whose cosine to the same image is lower; None without any.
    """

    rank: Ints
    rank_of: Ints
    percentile: Floats | None


def find_standing(
    pairs: PairEmbeddings, posts: Iterable[object], hashtags: Iterable[object], reference: Vectors
) -> Standing:
    """Find the place of every pair.

    Parameters
    ----------
    pairs : PairEmbeddings
        All m pairs of the posts.
    posts, hashtags : iterable of m hashable
        Which post and which hashtag each pair belongs to; repeats of a hashtag in a post count once.
    reference : (r, d) float32
        Vectors of unit norm of the reference hashtags.
    """
    cosine = pairs.cosine()
    named = list(posts)
    firsts, member = number_distinct(zip(named, hashtags, strict=True))
    _, post = number_distinct(named[first] for first in firsts.tolist())
    order = np.lexsort((-cosine[firsts], post))
    starts = np.flatnonzero(np.diff(post[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    equal = np.flatnonzero((np.diff(cosine[firsts][order]) == 0) & (np.diff(post[order]) == 0)) + 1
    for at in equal.tolist():
        place[at] = place[at - 1]
    rank, rank_of = np.empty_like(place), np.empty_like(place)
    rank[order], rank_of[order] = place + 1, np.repeat(sizes, sizes)
    return Standing(rank[member], rank_of[member], _percentiles(pairs, cosine, reference))


def _percentiles(pairs: PairEmbeddings, cosine: Floats, reference: Vectors) -> Floats | None:
    if not len(reference):
        return None
    percentile = np.empty(len(pairs))
    order = np.argsort(pairs.image_index, kind="stable")
    images, starts = np.unique(pairs.image_index[order], return_index=True)
    members = np.split(order, starts[1:])
    for start in range(0, len(images), BLOCK):
        these = slice(start, start + BLOCK)
        levels = np.sort(pairs.images[images[these]] @ reference.T, axis=1)
        for rows, level in zip(members[these], levels, strict=True):
            percentile[rows] = 100 * np.searchsorted(level, cosine[rows] - ROUNDING) / len(reference)
    return percentile
