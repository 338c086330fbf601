"""What is known about an image and a hashtag beside their score: ranks, labels, neighbours and a control."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from consistency.data.hashtags import hashtag_identity
from consistency.errors import InputError
from consistency.options import ImageLimits
from consistency.scale import SCORES, Floats
from koclip_consistency.scoring.images import ImageInput, read_image
from koclip_consistency.scoring.learned import Learned
from koclip_consistency.scoring.standing import ROUNDING

if TYPE_CHECKING:
    from koclip_consistency.scoring.scorer import Scorer

SHOWN = 5
NO_RUN = "without a run there are no labelled rows"
NO_CACHE = "the embedding cache has no vectors of images for this model"


@dataclass(frozen=True)
class Rank:
    """Place of a cosine, 1 for the highest, among those of `images` cached images and the same hashtag."""

    rank: int
    images: int


@dataclass(frozen=True)
class Labels:
    """Mean of `n` train labels, 1 to 5; None for none."""

    mean: float | None
    n: int


@dataclass(frozen=True)
class TextOnly:
    """What the control that reads the hashtag alone answers: its most probable score, and its expected score."""

    predicted: int
    expected_score: float


@dataclass(frozen=True)
class Neighbour:
    """A train image with the same hashtag: its label, and its cosine to the image that is asked about."""

    image: str
    score: int
    similarity: float


@dataclass(frozen=True)
class Preferred:
    """A hashtag that the system ranks high for the image: what ranks it, and its cosine."""

    hashtag: str
    value: float
    similarity: float


@dataclass(frozen=True)
class Facts:
    """Facts about a pair; None, or an empty tuple, where there is no such fact: `notes` then says why.

    Attributes
    ----------
    cosine_rank : Rank or None
        Place of the cosine among the cached images.
    hashtag_labels, image_labels : Labels or None
        Train labels of the hashtag, with any image, and of the image, with any hashtag.
    text_only : TextOnly or None
        The control text-only, trained on the train rows.
    nearest : tuple of Neighbour
        Labelled images of the hashtag, the most similar first.
    preferred : tuple of Preferred
        Hashtags that the system prefers for the image, the best first.
    notes : tuple of str
        Why facts are missing.
    """

    cosine_rank: Rank | None
    hashtag_labels: Labels | None
    image_labels: Labels | None
    text_only: TextOnly | None
    nearest: tuple[Neighbour, ...]
    preferred: tuple[Preferred, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `explain --json` prints them."""
        return asdict(self)


def find_facts(
    scorer: "Scorer",
    image: ImageInput,
    hashtag: str,
    learned: Learned | None,
    *,
    why_not: str | None = None,
    shown: int = SHOWN,
    limits: ImageLimits | None = None,
) -> Facts:
    """Collect what is known about a pair.

    Parameters
    ----------
    scorer : Scorer
        The trained system, or a backbone alone.
    image : path, bytes, PIL.Image.Image or uint8 array of shape (height, width, 3) or (height, width)
    hashtag : str
        The hashtag.
    learned : Learned or None
        The rows that the system learned from; None if they are not at hand.
    why_not : str, optional
        Why they are not at hand; by default that there is no run.
    shown : int
        Number of neighbours and of preferred hashtags.
    limits : ImageLimits, optional
        Which images are refused; the default limits if None.

    Returns
    -------
    Facts

    Raises
    ------
    InputError
        If the image or the hashtag cannot be used.
    """
    notes: list[str] = [] if learned is not None else [why_not or NO_RUN]
    cosine = float(scorer.answer(image, [hashtag], limits, alone=True).similarity[0])
    given, encoder = read_image(image), scorer.encoder
    with encoder.lock:
        vector = encoder.image(given, limits or ImageLimits())[0]
        text, cached = encoder.hashtags([hashtag])[0], encoder.reference("image")
    rank = None
    if len(cached):
        higher = int(np.count_nonzero(cached @ text > cosine + ROUNDING))
        rank = Rank(higher + 1, len(cached))
    else:
        notes.append(NO_CACHE)
    words = None
    if learned is not None and encoder.cache is None:
        words = learned.hashtags.tolist()
    preferred = _preferred(scorer, image, words, shown, limits, notes)
    if learned is None:
        return Facts(rank, None, None, None, (), preferred, tuple(notes))
    same = np.flatnonzero(learned.identities == hashtag_identity(hashtag))
    chances = learned.text_only(np.array([hashtag], dtype=object))[0]
    return Facts(
        cosine_rank=rank,
        hashtag_labels=_labels(learned, same),
        image_labels=_labels(learned, np.flatnonzero(learned.digests == given.key)),
        text_only=TextOnly(int(chances.argmax()) + 1, float(chances @ SCORES)),
        nearest=_nearest(scorer, learned, same, vector, shown, notes),
        preferred=preferred,
        notes=tuple(notes),
    )


def _labels(learned: Learned, rows: npt.NDArray[np.int64]) -> Labels:
    return Labels(float(learned.scores[rows].mean()) if len(rows) else None, len(rows))


def _nearest(
    scorer: "Scorer",
    learned: Learned,
    rows: npt.NDArray[np.int64],
    vector: npt.NDArray[np.float32],
    shown: int,
    notes: list[str],
) -> tuple[Neighbour, ...]:
    """The labelled images of some rows that are most similar to an image with this vector, (d,)."""
    if not len(rows):
        notes.append("no train row has this hashtag")
        return ()
    rows = rows[[digest is not None for digest in learned.digests[rows]]]
    with scorer.encoder.lock:
        found = scorer.encoder.stored_images(learned.digests[rows].tolist())
    there = [(row, other) for row, other in zip(rows.tolist(), found, strict=True) if other is not None]
    if not there:
        notes.append("no vector of an image with this hashtag is at hand")
        return ()
    similar: Floats = np.stack([other for _, other in there]).astype(np.float64) @ vector.astype(np.float64)
    best = [(there[place][0], float(similar[place])) for place in np.argsort(-similar, kind="stable")[:shown].tolist()]
    return tuple(Neighbour(str(learned.images[row]), int(learned.scores[row]), cosine) for row, cosine in best)


def _preferred(
    scorer: "Scorer",
    image: ImageInput,
    words: Sequence[str] | None,
    shown: int,
    limits: ImageLimits | None,
    notes: list[str],
) -> tuple[Preferred, ...]:
    try:
        hashtags, answers = scorer.suggestions(image, shown, words, limits)
    except InputError as error:
        notes.append(str(error).partition(";")[0])
        return ()
    said = zip(hashtags, answers.values.tolist(), answers.similarity.tolist(), strict=True)
    return tuple(Preferred(*each) for each in said)
