"""95 % intervals of metrics and of their differences: a bias-corrected bootstrap over clusters of rows.

A cluster is a set of rows that are not independent of each other: all rows of an image or, if whole hashtags were
tested, of a hashtag. It is the last column of `predictions.csv`.

To recompute an interval from `predictions.csv`, take the rows of one system and split in the order of the file:

1. `names` are the n distinct clusters in order of first appearance; `rng = numpy.random.default_rng(seed)`. A resample
   is `rng.integers(0, n, n)` and contains all rows of each cluster as often as the cluster was drawn. There are 2,000
   resamples; the seed is 42, whatever the run's seed. Resamples in which the metric is undefined are left out.
2. `share` is the share of the B resampled values that are below the metric's own value, counting values within 1e-9 of
   it as half, and clipped to 1 / (B + 1) .. B / (B + 1). `z0 = norm.ppf(share)`. For ECE `z0 = 0`.
3. `m = sum(rows)**2 / sum(rows**2)` over the numbers of rows in the clusters; `z = t.ppf(0.975, m - 1) *
   sqrt(m / (m - 1))`.
4. The interval is `numpy.percentile(resampled, 100 * norm.cdf([2 * z0 - z, 2 * z0 + z]))`.

A two-way interval is for new images and new hashtags at once, because rows of one hashtag share its difficulty too.
Steps 1 to 3 are done over images, over hashtags and over (image, hashtag) pairs. The variance of a metric is that over
images plus that over hashtags minus that over pairs, which the other two both include (Cameron, Gelbach & Miller,
Robust Inference With Multiway Clustering, Journal of Business & Economic Statistics 29, 2011). The interval is taken
over images or over hashtags, whichever has the larger variance, with the smaller m, and z is multiplied by
sqrt(two-way variance / larger variance), or by 1 if that is less.

Step 2 is Efron's bias correction (Better Bootstrap Confidence Intervals, JASA 82, 1987, section 2): macro-F1 of a
resample is lower on average than that of the rows, because a resample misses some rare scores. ECE is not corrected: it
is a sum of absolute values, for which the correction overshoots. Step 3 widens the percentiles, as Student's t does, if
there are few clusters (Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69, 2015,
section 5.2); m is the number of clusters of equal size that carry as much information (Kish, Survey Sampling, 1965;
Carter, Schnepel & Steigerwald, Review of Economics and Statistics 99, 2017). `benchmarks/coverage.py` measures the
coverage.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from consistency.data.distinct import number_distinct
from consistency.evaluation.metrics import METRICS, cell_metrics, check_columns, counted_metrics, evaluate
from consistency.scale import Floats, Ints

RESAMPLES = 2000
BOOTSTRAP_SEED = 42  # whatever --seed is: intervals of two runs share their resamples
LEVEL = 0.95
TIE = 1e-9  # values closer than this count as equal: they differ only by rounding
UNCORRECTED = ("ece",)
_CHUNK = 4_000_000  # numbers in an intermediate array

Clusters = npt.NDArray[Any]


def bootstrap_intervals(
    scores: Ints,
    predicted: Ints,
    values: Floats,
    probabilities: Floats | None,
    clusters: Clusters,
    *,
    crossed: Clusters | None = None,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
    level: float = LEVEL,
    names: Collection[str] = METRICS,
) -> dict[str, tuple[float, float] | None]:
    """Compute the interval of each metric over resampled clusters, as described at the top of this module.

    Rows of one image share its difficulty, so images are resampled, not rows.

    Parameters
    ----------
    scores, predicted, values, probabilities
        As for `consistency.evaluation.metrics.evaluate`.
    clusters : (n,)
        Equal for rows that belong together.
    crossed : (n,), optional
        A second grouping of the same rows, by hashtag if `clusters` are images. The interval is then two-way.
    resamples, seed : int
        Number of resamples of the bootstrap, and its random seed.
    level : float, default 0.95
        Nominal coverage.
    names : collection of str
        The metrics to compute.

    Returns
    -------
    dict
        (low, high) by metric; None where the metric is undefined, and for all metrics if there is only one cluster.
    """
    m = effective_clusters(clusters)
    if crossed is not None:
        m = min(m, effective_clusters(crossed))
    if m == 1:
        return dict.fromkeys(names)
    columns = (scores, predicted, values, probabilities)
    figures = evaluate(*columns)

    def drawn(of: Clusters) -> dict[str, Floats]:
        return bootstrap_metrics(*columns, of, resamples=resamples, seed=seed, names=names)

    draws, stretch = drawn(clusters), dict.fromkeys(names, 1.0)
    if crossed is not None:
        both = number_distinct(zip(clusters.tolist(), crossed.tolist(), strict=True))[1]
        other, shared = drawn(crossed), drawn(both)
        for name in names:
            draws[name], stretch[name] = _two_way(draws[name], other[name], shared[name])
    return {
        name: interval(figures[name], draws[name], m, level, corrected=name not in UNCORRECTED, stretch=stretch[name])
        for name in names
    }


def counted_intervals(
    figures: Mapping[str, float | None], cells: Ints, gaps: Floats | None = None
) -> dict[str, tuple[float, float] | None]:
    """Compute the intervals of `bootstrap_intervals` from counted rows, all but that of Spearman's correlation.

    Parameters
    ----------
    figures : mapping of str to float or None
        The metrics on all rows.
    cells : (clusters, 25) int64
        Confusion counts of each cluster, in the order of the clusters' first rows.
    gaps : (clusters, bins) float64, optional
        As for `metrics.cell_metrics`.

    Returns
    -------
    dict
        (low, high) by metric; None where the metric is undefined, and for Spearman's correlation.
    """
    m = _equal_clusters(cells.sum(axis=1))
    if m == 1:
        return dict.fromkeys(METRICS)
    measure = cell_metrics(cells.astype(np.float64), gaps)
    chunk = max(1, _CHUNK // len(cells))
    times = resampled(len(cells), RESAMPLES, seed=BOOTSTRAP_SEED, chunk=chunk)
    parts = [measure(some.astype(np.float64)) for some in times]
    draws = {name: np.concatenate([part[name] for part in parts]) for name in METRICS}
    return {name: interval(figures[name], draws[name], m, corrected=name not in UNCORRECTED) for name in METRICS}


def _two_way(one: Floats, other: Floats, both: Floats) -> tuple[Floats, float]:
    """Return the draws with the larger variance, and the factor by which both ways together widen their interval."""
    defined = [draws[~np.isnan(draws)] for draws in (one, other, both)]
    variances = [float(np.var(draws)) if len(draws) else 0.0 for draws in defined]
    wider, largest = (one, variances[0]) if variances[0] >= variances[1] else (other, variances[1])
    together = max(variances[0] + variances[1] - variances[2], largest)
    return wider, float(np.sqrt(together / largest)) if largest else 1.0


def effective_clusters(clusters: Clusters) -> float:
    """Compute the number of clusters of equal size that carry as much information: (sum of rows)² / (sum of rows²).

    Parameters
    ----------
    clusters : (n,)
        Cluster of each row.
    """
    return _equal_clusters(np.bincount(number_distinct(clusters.tolist())[1]))


def _equal_clusters(rows: Ints) -> float:
    sizes = rows.astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def resampled(clusters: int, resamples: int, *, seed: int, chunk: int) -> Iterator[Ints]:
    """Draw resamples of clusters.

    Parameters
    ----------
    clusters : int
        Number of clusters.
    resamples : int
        Number of resamples.
    seed : int
        Random seed.
    chunk : int
        Largest number of resamples in an array.

    Yields
    ------
    (at most chunk, clusters) int64
        How often each cluster is drawn.
    """
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, chunk):
        drawn = rng.integers(0, clusters, size=(min(chunk, resamples - start), clusters))
        offsets = np.arange(len(drawn))[:, None] * clusters
        yield np.bincount((drawn + offsets).ravel(), minlength=drawn.size).reshape(drawn.shape)


def interval(
    figure: float | None,
    draws: Floats,
    m: float,
    level: float = LEVEL,
    *,
    corrected: bool = True,
    stretch: float = 1.0,
) -> tuple[float, float] | None:
    """Compute an interval from resampled values: steps 2 to 4 at the top of this module.

    Parameters
    ----------
    figure : float or None
        The value on all rows.
    draws : (B,) float64
        The values on the resamples, NaN where undefined.
    m : float
        Number of effective clusters, above 1.
    level : float, default 0.95
        Nominal coverage.
    corrected : bool, default True
        Whether to correct for bias (step 2).
    stretch : float, default 1
        Factor for z in a two-way interval.

    Returns
    -------
    (float, float) or None
        None if the value, or every resampled value, is undefined.
    """
    defined = draws[~np.isnan(draws)]
    if figure is None or len(defined) == 0:
        return None
    shift = 2 * _below(defined, figure) if corrected else 0.0
    z = stdtrit(m - 1, (1 + level) / 2) * np.sqrt(m / (m - 1)) * stretch
    low, high = np.percentile(defined, 100 * ndtr([shift - z, shift + z]))
    return float(low), float(high)


def p_value(difference: float, draws: Floats, m: float, *, corrected: bool = True) -> float:
    """Compute the two-sided p-value of no difference: the largest 1 - level whose interval still contains 0.

    Parameters
    ----------
    difference : float
        The difference on all rows.
    draws : (B,) float64
        The differences on the resamples, NaN where undefined.
    m : float
        Number of effective clusters, above 1.
    corrected : bool, default True
        Whether to correct for bias (step 2).
    """
    defined = draws[~np.isnan(draws)]
    shift = 2 * _below(defined, difference) if corrected else 0.0
    # If an end of the interval lies on draws of 0, the interval contains 0. So draws of 0 count as below 0 for the
    # lower end, and as above 0 for the upper end.
    z = max(shift - _below(defined, 0.0, ties=1), _below(defined, 0.0, ties=0) - shift, 0.0)
    return float(2 * stdtr(m - 1, -z / np.sqrt(m / (m - 1))))


def _below(draws: Floats, figure: float, *, ties: float = 0.5) -> float:
    """Return the finite normal quantile of the share of draws below `figure`; equal draws count `ties` each."""
    gap = draws - figure
    share = ((gap < -TIE).sum() + ties * (np.abs(gap) <= TIE).sum()) / len(draws)
    edge = 1 / (len(draws) + 1)
    return float(ndtri(np.clip(share, edge, 1 - edge)))


def bootstrap_metrics(
    scores: Ints,
    predicted: Ints,
    values: Floats,
    probabilities: Floats | None,
    clusters: Clusters,
    *,
    resamples: int,
    seed: int,
    names: Collection[str] = METRICS,
) -> dict[str, Floats]:
    """Compute metrics on each resample.

    The results equal those of `evaluate` on the rows of each resample, but need only the number of times that each
    cluster was drawn and its confusion counts. The same seed and clusters give the same resamples, so two systems on
    the same rows can be compared resample by resample.

    Parameters
    ----------
    scores, predicted, values, probabilities, clusters, resamples, seed, names
        As for `bootstrap_intervals`.

    Returns
    -------
    dict
        (resamples,) float64 by metric, NaN where undefined.
    """
    check_columns(scores, predicted, values, probabilities)
    firsts, index = number_distinct(clusters.tolist())
    count = len(firsts)
    measure = counted_metrics(scores, predicted, values, probabilities, index, names=names)
    chunk = max(1, _CHUNK // max(count, len(scores)))
    parts = [measure(times.astype(np.float64)) for times in resampled(count, resamples, seed=seed, chunk=chunk)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
