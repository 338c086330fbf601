"""Counts the test rows whose image, pair or hashtag a system has already seen in training.

Hashtags are compared by identity, so a leading # or a different Unicode form does not hide a match.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consistency.data.hashtags import identities
from consistency.data.splits import Split

Pairs = tuple[npt.NDArray[np.object_], npt.NDArray[np.object_]]


@dataclass(frozen=True)
class Leakage:
    """Number of test rows whose image, pair or hashtag also occurs in the training rows.

    Attributes
    ----------
    n : int
        Number of test rows.
    image, pair, hashtag : int
        Number of test rows whose image, pair of image and hashtag, or hashtag occurs in the training rows.
    near : int or None
        Number whose image or a near-duplicate of it occurs there; None if near-duplicates were not searched for.
    """

    n: int
    image: int
    pair: int
    hashtag: int
    near: int | None = None

    def __str__(self) -> str:
        near = "" if self.near is None else f", {self.near:,} their image or a near-duplicate of it"
        return (
            f"of {self.n:,} test rows {self.image:,} have their image in train, "
            f"{self.pair:,} their exact pair, {self.hashtag:,} their hashtag{near}"
        )


def leakage(
    split: Split,
    identity: npt.NDArray[np.object_],
    hashtags: npt.NDArray[np.object_],
    scenes: npt.NDArray[np.object_] | None = None,
) -> Leakage:
    """Count the test rows that overlap with the other kept rows.

    Parameters
    ----------
    split : Split
        Sides, folds and kept rows of the n rows.
    identity : (n,) object
        Identity of each row's image.
    hashtags : (n,) object
        Hashtags as in the table.
    scenes : (n,) object, optional
        Group of near-duplicate images of each row; None if near-duplicates were not searched for.

    Returns
    -------
    Leakage
        Counts over the test rows.
    """
    return _leakage_of([split.kept & (split.side == "test")], split, identity, hashtags, scenes)


def fold_leakage(
    split: Split,
    identity: npt.NDArray[np.object_],
    hashtags: npt.NDArray[np.object_],
    scenes: npt.NDArray[np.object_] | None = None,
) -> Leakage:
    """Count the rows of each fold that overlap with the other folds, summed over all folds; see `leakage`."""
    tested = [split.kept & (split.fold == fold) for fold in range(int(split.fold.max()) + 1)]
    return _leakage_of(tested, split, identity, hashtags, scenes)


def seen_before(test: Pairs, rest: Pairs) -> Leakage:
    """Count the test pairs whose image, pair or hashtag occurs in `rest`.

    Parameters
    ----------
    test, rest : pair of (n,) object
        Image identities and hashtags.

    Returns
    -------
    Leakage
        Counts over the test pairs, without near-duplicates.
    """
    asked, known = (list(zip(images, identities(hashtags), strict=True)) for images, hashtags in (test, rest))
    images, hashtags = {image for image, _ in known}, {hashtag for _, hashtag in known}
    pairs = set(known)
    return Leakage(
        n=len(asked),
        image=sum(image in images for image, _ in asked),
        pair=sum(pair in pairs for pair in asked),
        hashtag=sum(hashtag in hashtags for _, hashtag in asked),
    )


def _leakage_of(
    tested: Sequence[npt.NDArray[np.bool_]],
    split: Split,
    identity: npt.NDArray[np.object_],
    hashtags: npt.NDArray[np.object_],
    scenes: npt.NDArray[np.object_] | None,
) -> Leakage:
    """Sum the counts over all masks in `tested`, (n,) bool each; every other kept row is a training row."""
    n = image = pair = hashtag = near = 0
    for test in tested:
        rest = split.kept & ~test
        seen = seen_before((identity[test], hashtags[test]), (identity[rest], hashtags[rest]))
        n, image, pair, hashtag = n + seen.n, image + seen.image, pair + seen.pair, hashtag + seen.hashtag
        if scenes is not None:
            known = set(scenes[rest])
            near += sum(scene in known for scene in scenes[test])
    return Leakage(n, image, pair, hashtag, None if scenes is None else near)
