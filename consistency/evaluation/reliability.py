"""Reliability diagrams: in bins of confidence with equally many rows, how often the most probable score is right.

The metric `ece` has 15 bins of equal width. Where rows are few, most of those bins hold too few rows to show anything,
so the diagram takes at most BINS bins of equal mass, and gives each an interval.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consistency.data.distinct import number_distinct
from consistency.evaluation.intervals import (
    BOOTSTRAP_SEED,
    RESAMPLES,
    Clusters,
    effective_clusters,
    interval,
    resampled,
)
from consistency.scale import Floats, Ints

BINS = 5
LEAST_ROWS = 20  # in a bin, unless there are fewer in all
_CHUNK = 500  # resamples held at once


@dataclass(frozen=True)
class Bin:
    """Rows of similar confidence, which is the probability of the most probable score.

    Attributes
    ----------
    confidence : float
        Its mean.
    correct : float
        Share of the rows whose most probable score is the label.
    share : float
        Share of all rows that are in this bin.
    interval : (float, float) or None
        95 % interval of `correct` over resampled clusters; None where the rows are of one cluster, or where all or
        none are correct, so that no resample differs.
    """

    confidence: float
    correct: float
    share: float
    interval: tuple[float, float] | None


def reliability(
    scores: Ints, probabilities: Floats, clusters: Clusters, *, resamples: int = RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> tuple[Bin, ...]:
    """Measure how often answers of each confidence are right.

    The intervals come from the same resamples as those of the metrics (`consistency.evaluation.intervals`); the edges
    of the bins stay as they are in the data.

    Parameters
    ----------
    scores : (n,) int64
        Labels, 1 to 5.
    probabilities : (n, 5) float64
        Of the scores 1 to 5.
    clusters : (n,)
        Equal where rows are drawn together: images, or hashtags where hashtags are tested.
    resamples, seed : int
        Number of resamples and their random seed.

    Returns
    -------
    tuple of Bin
        In order of confidence.
    """
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) + 1 == scores).astype(np.float64)
    number = equal_mass_bins(confidence)
    cluster = number_distinct(clusters.tolist())[1]
    size, bins = int(cluster.max()) + 1, int(number.max()) + 1
    rows, hits = np.zeros((size, bins)), np.zeros((size, bins))
    np.add.at(rows, (cluster, number), 1)
    np.add.at(hits, (cluster, number), right)
    shares = []
    for times in resampled(size, resamples, seed=seed, chunk=_CHUNK):
        drawn = times @ rows
        shares.append(np.divide(times @ hits, drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0))
    draws = np.concatenate(shares)
    found = []
    for b in range(bins):
        inside = number == b
        correct, m = float(right[inside].mean()), effective_clusters(cluster[inside])
        ends = interval(correct, draws[:, b], m) if m > 1 and 0 < correct < 1 else None
        found.append(Bin(float(confidence[inside].mean()), correct, float(inside.mean()), ends))
    return tuple(found)


def equal_mass_bins(confidence: Floats) -> npt.NDArray[np.int64]:
    """The bin of each row, (n,) int64 from 0: about equally many rows in each, in order of confidence, (n,) float64.

    There are at most BINS bins with at least LEAST_ROWS rows, and rows of equal confidence share one.
    """
    n = len(confidence)
    wanted = min(BINS, max(n // LEAST_ROWS, 1))
    _, place, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    number, start, current = np.empty(len(counts), dtype=np.int64), 0, 0
    for i, end in enumerate(np.cumsum(counts).tolist()):
        number[i] = current
        due = end * wanted // n > start * wanted // n  # a multiple of n / wanted rows is reached
        if due and end - start >= LEAST_ROWS and n - end >= LEAST_ROWS:
            start, current = end, current + 1
    return number[place]
