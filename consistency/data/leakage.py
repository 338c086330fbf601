"""Counts the test rows whose image, pair or hashtag a system has already seen in training.

Hashtags are compared by identity, so that a leading # or another Unicode form hides nothing.
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
    """Of the test rows, how many have their image, pair or hashtag among the other rows.

    Attributes
    ----------
    n : int
        Test rows.
    image, pair, hashtag : int
        Those whose image, pair of image and hashtag, or hashtag is there.
    near : int or None
        Those whose image or a near-duplicate of it is there; None where near-duplicates were not looked for.
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
    """How many test rows were seen before. identity, hashtags, scenes: (n,) object, hashtags as in the table."""
    return _leakage_of([split.kept & (split.side == "test")], split, identity, hashtags, scenes)


def fold_leakage(
    split: Split,
    identity: npt.NDArray[np.object_],
    hashtags: npt.NDArray[np.object_],
    scenes: npt.NDArray[np.object_] | None = None,
) -> Leakage:
    """How many rows were seen before if each fold is tested after training on the others; the sum over folds."""
    tested = [split.kept & (split.fold == fold) for fold in range(int(split.fold.max()) + 1)]
    return _leakage_of(tested, split, identity, hashtags, scenes)


def seen_before(test: Pairs, rest: Pairs) -> Leakage:
    """How many `test` pairs have their image, pair or hashtag in `rest`; each (images, hashtags)."""
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
    """Of all `tested`, (n,) bool each, against the kept rows beside them."""
    n = image = pair = hashtag = near = 0
    for test in tested:
        rest = split.kept & ~test
        seen = seen_before((identity[test], hashtags[test]), (identity[rest], hashtags[rest]))
        n, image, pair, hashtag = n + seen.n, image + seen.image, pair + seen.pair, hashtag + seen.hashtag
        if scenes is not None:
            known = set(scenes[rest])
            near += sum(scene in known for scene in scenes[test])
    return Leakage(n, image, pair, hashtag, None if scenes is None else near)
