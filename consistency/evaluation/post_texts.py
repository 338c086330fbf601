"""What the controls read of a post: the texts of its hashtags, how alike they are, and in which order they stand.

No label is a feature. `refuse_sorted` finds tables in which the order of a post is that of its scores.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import normalize

from consistency.data.distinct import members_of, number_distinct
from consistency.data.hashtags import identities
from consistency.errors import DataError
from consistency.scale import Floats, Ints, Objects

SORTED = 0.7  # |gamma| from which the order of a post's hashtags tells their scores
_COSINES = 8_000_000  # held at once for a post with very many hashtags

Numbers = npt.NDArray[np.object_] | npt.NDArray[np.int64]  # equal for rows of one post or group


@dataclass(frozen=True, eq=False)
class PostTexts:
    """What the control reads of n rows.

    Attributes
    ----------
    tags : (n,) int64
        Number of each row's hashtag, by identity.
    text : (n, 2**18) sparse float64
        Character 1- to 4-grams of the hashtag, L2-normalised.
    post : (n,) int64 or None
        Each row's row of `post_text`; None if the control does not read the other hashtags.
    post_text : (p, 2**18) sparse float64
        Sum of `text` over the distinct hashtags of each post.
    features : (n, k) float64
        The row's place in its post; k is 0 if the control reads the hashtag alone.
    """

    tags: Ints
    text: csr_matrix
    post: Ints | None
    post_text: csr_matrix
    features: Floats

    @classmethod
    def of(cls, hashtags: Objects, posts: Numbers, *, context: bool = True, order: Ints | None = None) -> "PostTexts":
        """Read n rows, which should be all rows of their posts that are trained on or predicted.

        Parameters
        ----------
        hashtags : (n,) object str
            Raw hashtags.
        posts : (n,)
            Equal for rows of one post.
        context : bool, default True
            Whether to compare the hashtag with the others of the post, see `context_features`.
        order : (n,) int64, optional
            Numbers that ascend in the order in which a post has its hashtags. The position is a feature if given.
        """
        tags = number_distinct(identities(hashtags))[1]
        firsts, tag = number_distinct(tags.tolist())
        vectorizer = HashingVectorizer(
            analyzer="char_wb", ngram_range=(1, 4), n_features=2**18, alternate_sign=False, norm="l2"
        )
        text = vectorizer.transform(identities(hashtags[firsts]))[tag].tocsr()
        features = [np.zeros((len(tags), 0))]
        if context:
            features.append(context_features(text, tags, posts))
        if order is not None:
            features.append(position_features(tags, posts, order))
        post = number_distinct(posts.tolist())[1]
        firsts, _, post_of = _distinct_pairs(tags, posts)
        member = csr_matrix((np.ones(len(firsts)), (post_of, firsts)), shape=(int(post.max()) + 1, len(tags)))
        return cls(tags, text, post if context else None, member @ text, np.hstack(features))

    def take(self, rows: Ints) -> "PostTexts":
        """Select rows by index."""
        post = None if self.post is None else self.post[rows]
        return replace(self, tags=self.tags[rows], text=self.text[rows], post=post, features=self.features[rows])

    def others(self) -> csr_matrix:
        """Character n-grams of the other hashtags of the post, (n, 2**18), L2-normalised; zeros if there are none."""
        return normalize((self.post_text[self.post] - self.text).maximum(0))

    def __len__(self) -> int:
        return len(self.tags)


def context_features(text: csr_matrix, tags: Ints, posts: Numbers) -> Floats:
    """Compare each row's hashtag with the distinct other hashtags of its post.

    Repeated rows count once, since the number of repeats tells the score.

    Parameters
    ----------
    text : (n, d) sparse float64
        Unit vectors of the hashtags.
    tags : (n,) int64
        Equal for rows of one hashtag.
    posts : (n,)
        Equal for rows of one post.

    Returns
    -------
    (n, 4) float64
        Mean and maximum of the cosines to the others, cosine to their sum (0 without others), and the logarithm of the
        number of distinct hashtags.
    """
    firsts, pair_of, post_of = _distinct_pairs(tags, posts)
    found = np.zeros((len(firsts), 4))
    for members in members_of(post_of):
        size = len(members)
        vectors = text[firsts[members]]
        found[members, 3] = np.log(size)
        if size == 1:
            continue
        toward = np.empty(size)  # sum of the cosines to the others
        step = max(_COSINES // size, 1)
        for start in range(0, size, step):
            cosines = (vectors[start : start + step] @ vectors.T).toarray()
            own = np.arange(len(cosines)), start + np.arange(len(cosines))
            toward[start : start + step] = cosines.sum(axis=1) - cosines[own]
            cosines[own] = -1
            found[members[start : start + step], 1] = cosines.max(axis=1)
        of_others = np.sum(toward + 1) - 2 * toward - 1  # squared length of the sum of the others
        found[members, 0] = toward / (size - 1)
        found[members, 2] = toward / np.sqrt(np.maximum(of_others, 1e-12))
    return found[pair_of]


def position_features(tags: Ints, posts: Numbers, order: Ints) -> Floats:
    """Return where each row's hashtag stands among the distinct hashtags of its post.

    Parameters
    ----------
    tags, posts
        As for `context_features`.
    order : (n,) int64
        Numbers that ascend in the order of a post's hashtags; a repeated hashtag stands where it is first.

    Returns
    -------
    (n, 2) float64
        Logarithm of the position counted from 1, and the position as a fraction, from 0 to 1.
    """
    ascending = np.argsort(order, kind="stable")
    _, pair_of, post_of = _distinct_pairs(tags[ascending], posts[ascending])
    found = np.zeros((len(post_of), 2))
    for members in members_of(post_of):
        place = np.arange(len(members))
        found[members] = np.stack([np.log1p(place), place / max(len(members) - 1, 1)], axis=1)
    positions = np.empty((len(tags), 2))
    positions[ascending] = found[pair_of]
    return positions


def order_gamma(labels: Ints, posts: Numbers, order: Ints) -> float:
    """Measure how the scores run along the posts.

    Parameters
    ----------
    labels : (n,) int64
        Classes or scores.
    posts, order
        As for `position_features`.

    Returns
    -------
    float
        Goodman and Kruskal's gamma over the pairs of rows of one post with different scores: 1 if the later row always
        has the higher score, -1 if it always has the lower one; 0 if there are no such pairs.
    """
    ascending = np.argsort(order, kind="stable")
    rising = falling = 0
    for members in members_of(number_distinct(posts[ascending].tolist())[1]):
        earlier = np.zeros(int(labels.max()) + 1, dtype=np.int64)
        for label in labels[ascending[members]]:
            rising += int(earlier[:label].sum())
            falling += int(earlier[label + 1 :].sum())
            earlier[label] += 1
    return (rising - falling) / (rising + falling) if rising + falling else 0.0


def refuse_sorted(labels: Ints, posts: Numbers, order: Ints) -> float:
    """Return `order_gamma`; raise DataError if the rows of a post are sorted by score, so that a position tells it.

    Raises
    ------
    DataError
        If the absolute value is 0.7 or more.
    """
    gamma = order_gamma(labels, posts, order)
    if abs(gamma) >= SORTED:
        raise DataError(
            f"the rows of a post are sorted by score (gamma {gamma:.2f}, expected less than {SORTED} either way), so "
            "their positions would tell the scores: leave out --ordered, or restore the order of the posts"
        )
    return gamma


def _distinct_pairs(tags: Ints, posts: Numbers) -> tuple[Ints, Ints, Ints]:
    """First row of each distinct pair of post and hashtag, each row's pair, and each pair's post."""
    post = number_distinct(posts.tolist())[1]
    firsts, pair_of = number_distinct(zip(post.tolist(), tags.tolist(), strict=True))
    return firsts, pair_of, post[firsts]
