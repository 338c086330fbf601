"""Doubtful labels: rows ranked by how much better another score fits than their label.

The probabilities must come from heads that have not seen the image of the row. Confident learning (Northcutt, Jiang &
Chuang, Confident Learning, JAIR 70, 2021) ranks by the margin p(k) - p(y) of the best other class k over the label y.
Scores are ordered, and most labelling errors are off by one: where a head is sure of a 5 and the label is 1, the head
is more often wrong than the label. The margin is therefore divided by the distance between the two scores.
`benchmarks/audit.py` compares this rule with others.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.data.distinct import number_distinct
from consistency.evaluation.intervals import BOOTSTRAP_SEED, RESAMPLES, effective_clusters, interval, resampled
from consistency.scale import Floats, Ints


def doubts(probabilities: Floats, labels: Ints) -> tuple[Floats, Ints]:
    """Compute how doubtful each label is, and the class that fits better: the maximum of (p(k) - p(y)) / |k - y|.

    Parameters
    ----------
    probabilities : (n, K) float64
        Out-of-fold probabilities of the classes.
    labels : (n,) int64
        Classes, 0 to K - 1.

    Returns
    -------
    doubt : (n,) float64
        The maximum, from -1 (sure of the label) to 1; above 0 if another class is more probable than the label.
    suggested : (n,) int64
        The class k of the maximum, never the label itself; the lower class in a tie.
    """
    n, classes = probabilities.shape
    distance = np.abs(np.arange(classes) - labels[:, None])
    margin = probabilities - probabilities[np.arange(n), labels][:, None]
    per_step = np.where(distance > 0, margin / np.maximum(distance, 1), -np.inf)
    best = per_step.argmax(axis=1)
    return per_step[np.arange(n), best], best.astype(np.int64)


def ranking(doubt: Floats) -> Ints:
    """Return the row indices, (n,) int64, the most doubtful first; ties keep the order of the table."""
    return np.argsort(-doubt, kind="stable")


@dataclass(frozen=True)
class Precision:
    """How many labels that are known to be wrong are among the most doubtful ones.

    Attributes
    ----------
    n : int
        Number of rows.
    moved : int
        Rows whose label is known to be wrong.
    found : int
        Those of them among the first `moved` ranks.
    precision : float
        found / moved.
    low, high : float
        95 % interval of the precision over resampled images (see `consistency.evaluation.intervals`).
    chance : float
        Expected precision of a random order, moved / n.
    """

    n: int
    moved: int
    found: int
    precision: float
    low: float
    high: float
    chance: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def precision_at_moved(
    doubt: Floats,
    moved: npt.NDArray[np.bool_],
    images: npt.NDArray[np.object_],
    *,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> Precision | None:
    """Measure a ranking against known labels.

    Each resample is cut at its own number of moved rows; the cut may fall within a row that was drawn several times.

    Parameters
    ----------
    doubt : (n,) float64
        Doubt of each row.
    moved : (n,) bool
        Whether its label is known to be wrong.
    images : (n,) object
        Images, whose rows are resampled together.
    resamples, seed : int
        Number of resamples of the bootstrap, and its random seed.

    Returns
    -------
    Precision or None
        None if no label was moved.

    Raises
    ------
    ValueError
        If there is only one image.
    """
    n, count = len(moved), int(moved.sum())
    if not count:
        return None
    order = ranking(doubt)
    hits = moved[order].astype(np.float64)
    found = int(hits[:count].sum())
    image = number_distinct(images.tolist())[1][order]
    precisions = []
    for (drawn,) in resampled(int(image.max()) + 1, resamples, seed=seed, chunk=1):
        times = drawn[image]
        cut = times @ hits
        inside = np.clip(cut - (np.cumsum(times) - times), 0, times)
        if cut:
            precisions.append((inside @ hits) / cut)
    m = effective_clusters(images)
    ends = interval(found / count, np.array(precisions), m) if m > 1 else None
    if ends is None:
        raise ValueError("one image has no interval")
    return Precision(n, count, found, found / count, *ends, count / n)
