"""How a system errs on each hashtag: the mean of predicted score minus label, and how unusual it is."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from consistency.data.hashtags import identities
from consistency.evaluation.results import Predictions

NAMED = 6  # hashtags that a figure names
LEAST_ROWS = 3  # of a hashtag that it names
LEAST_FOR_INTERVAL = 8  # rows; below, a mean of whole numbers says too little
LIMITS = {"95 %": 1.959964, "99.8 %": 3.090232}  # of a funnel, in standard errors


@dataclass(frozen=True)
class HashtagError:
    """The errors on a hashtag.

    Attributes
    ----------
    hashtag : str
        Its first spelling.
    n : int
        Number of its rows.
    label, predicted : float
        Means of the label and of the predicted score.
    error : float
        Mean of predicted score minus label.
    interval : (float, float) or None
        95 % interval of `error` (Student's t over rows, which are of different images); None below LEAST_FOR_INTERVAL
        rows, or where all errors are equal.
    z : float
        Distance of `error` from the mean over all rows, in standard errors.
    unfamiliar : bool
        Whether it is unlike every hashtag that the system was trained on.
    number : int
        Its number in a figure, from 1; 0 if the figure does not name it.
    """

    hashtag: str
    n: int
    label: float
    predicted: float
    error: float
    interval: tuple[float, float] | None
    z: float
    unfamiliar: bool = False
    number: int = 0


def hashtag_errors(p: Predictions, unfamiliar: Collection[str] = ()) -> tuple[HashtagError, ...]:
    """Measure the errors on each hashtag, the farthest from the mean over all rows first.

    Those of LEAST_ROWS rows or more beyond the wider of LIMITS, at most NAMED of them, have a number.
    """
    error = (p.predicted - p.scores).astype(np.float64)
    mean, deviation = float(error.mean()), float(error.std(ddof=1)) if len(p) > 1 else 0.0
    rows: dict[str, list[int]] = {}
    for row, identity in enumerate(identities(p.hashtags)):
        rows.setdefault(identity, []).append(row)
    found = []
    for some in rows.values():
        own, n = error[some], len(some)
        z = (float(own.mean()) - mean) * n**0.5 / deviation if deviation else 0.0
        half = float(stdtrit(n - 1, 0.975) * own.std(ddof=1) / n**0.5) if n >= LEAST_FOR_INTERVAL else 0.0
        found.append(
            HashtagError(
                hashtag=str(p.hashtags[some[0]]),
                n=n,
                label=float(p.scores[some].mean()),
                predicted=float(p.predicted[some].mean()),
                error=float(own.mean()),
                interval=(float(own.mean()) - half, float(own.mean()) + half) if half else None,
                z=z,
                unfamiliar=any(p.hashtags[row] in unfamiliar for row in some),
            )
        )
    found.sort(key=lambda each: (-abs(each.z), each.hashtag))
    far = [each for each in found if each.n >= LEAST_ROWS and abs(each.z) > max(LIMITS.values())][:NAMED]
    return tuple(replace(each, number=far.index(each) + 1) if each in far else each for each in found)
