"""Simulated annotators, who score the pairs of the demo with a stated noise: their agreement is known."""

import random
from collections.abc import Sequence

import numpy as np

from consistency.data.hashtags import hashtag_identity
from consistency.scale import CLASSES, SCORES, Floats, Ints

NOISE = 0.3
Scored = tuple[str, str, int]  # image, hashtag and clean score of a row


def column_names(annotators: int) -> tuple[str, ...]:
    """The columns of so many annotators."""
    return tuple(f"annotator_{number}" for number in range(1, annotators + 1))


def annotate(
    rows: Sequence[Scored], annotators: int, *, seed: int, noise: float = NOISE, missing: float = 0.0
) -> list[tuple[int | None, ...]]:
    """Draw the scores of annotators who err independently of each other.

    Parameters
    ----------
    rows : sequence of (str, str, int)
        Image, hashtag and clean score of each row. Rows of the same pair get the same scores.
    annotators : int
        Number of annotators.
    seed : int
        Random seed; the scores of one annotator do not depend on how many others there are.
    noise : float
        Share of the scores that are moved by one, up or down with equal chances, and clipped to 1 to 5.
    missing : float
        Share of the pairs that an annotator leaves out.

    Returns
    -------
    list of tuple of int or None
        The scores of each row, one for each annotator.
    """
    columns = []
    for number in range(1, annotators + 1):
        rng = random.Random(f"demo/{seed}/annotator/{number}")
        own: dict[tuple[str, str], int | None] = {}
        for image, hashtag, clean in rows:
            pair = image, hashtag_identity(hashtag)
            if pair not in own:
                score = clean + (rng.choice((-1, 1)) if rng.random() < noise else 0)
                own[pair] = None if rng.random() < missing else min(CLASSES, max(1, score))
        columns.append([own[image, hashtag_identity(hashtag)] for image, hashtag, _ in rows])
    return list(zip(*columns, strict=True))


def expected_confusion(clean: Ints, noise: float = NOISE) -> Floats:
    """Compute the confusion counts of two annotators that are expected for pairs of known clean scores.

    Parameters
    ----------
    clean : (n,) int64
        Clean scores, 1 to 5.
    noise : float
        As for `annotate`.

    Returns
    -------
    (5, 5) float64
        `consistency.evaluation.agreement.kappa` of it is the known kappa of the panel.
    """
    chances = (1 - noise) * np.eye(CLASSES)  # of each score, given the clean one
    for move in (-1, 1):
        moved = np.clip(SCORES + move, 1, CLASSES) - 1
        chances[np.arange(CLASSES), moved] += noise / 2
    counts = np.bincount(clean, minlength=CLASSES + 1)[1:]
    return np.einsum("c,ci,cj->ij", counts, chances, chances)
