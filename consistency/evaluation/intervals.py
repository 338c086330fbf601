"""95 % intervals of metrics and of their differences: a bias-corrected bootstrap over clusters of rows.

A cluster is what may not be taken for independent: all rows of an image or, where whole hashtags were tested, of a
hashtag. `predictions.csv` names it in its last column.

The recipe, for whoever recomputes an interval from `predictions.csv` (rows of one system and split, in file order):

1. `names` are the n distinct clusters in order of first appearance; `rng = numpy.random.default_rng(seed)`; a resample
   is `rng.integers(0, n, n)` and holds all rows of every cluster drawn, as often as it was drawn. 2,000 resamples; the
   seed is 42, whatever the run's. Resamples in which the metric is undefined are left out.
2. `share` is the share of resampled figures below the metric's own figure, those within 1e-9 of it counting half,
   kept within 1 / (B + 1) .. B / (B + 1); `z0 = norm.ppf(share)`. For ECE `z0 = 0`.
3. `m = sum(rows)**2 / sum(rows**2)` over the clusters' numbers of rows; `z = t.ppf(0.975, m - 1) * sqrt(m / (m - 1))`.
4. The interval is `numpy.percentile(resampled, 100 * norm.cdf([2 * z0 - z, 2 * z0 + z]))`.

A two-way interval asks about new images and new hashtags at once: rows of one hashtag share its difficulty too. Steps
1 to 3 are made over images, over hashtags and over (image, hashtag) pairs. The variance of a metric is that over images
plus that over hashtags minus that over pairs, which both hold (Cameron, Gelbach & Miller, Robust Inference With
Multiway Clustering, Journal of Business & Economic Statistics 29, 2011). The interval is that of the images or of the
hashtags, whichever varies more, with z taken sqrt(variance / its variance) times as far, at least once, and the smaller
m.

Step 2 is Efron's bias correction (Better Bootstrap Confidence Intervals, JASA 82, 1987, section 2): macro-F1 of a
resample is lower on average than that of the rows, because a resample misses some rare scores. ECE goes without: it
is a sum of absolute values, and the correction overshoots. Step 3 widens the percentiles to what Student's t has where
there are few clusters (Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69, 2015,
section 5.2); m is the number of equally large clusters that say as much as these (Kish, Survey Sampling, 1965; Carter,
Schnepel & Steigerwald, Review of Economics and Statistics 99, 2017). `benchmarks/coverage.py` measures the coverage.
"""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from consistency.data.distinct import number_distinct
from consistency.evaluation.metrics import METRICS, check_columns, counted_metrics, evaluate
from consistency.scale import Floats, Ints

RESAMPLES = 2000
LEVEL = 0.95
TIE = 1e-9  # figures nearer than this are one figure: they differ by rounding alone
UNCORRECTED = ("ece",)
_CHUNK = 4_000_000  # numbers held at once per intermediate array

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
    seed: int = 42,
    level: float = LEVEL,
    names: Collection[str] = METRICS,
) -> dict[str, tuple[float, float] | None]:
    """The interval of every metric over resampled clusters, by the recipe in the head of this module.

    Rows of one image share its difficulty, so images are drawn, not rows.

    Parameters
    ----------
    scores, predicted, values, probabilities
        As for `consistency.evaluation.metrics.evaluate`.
    clusters : (n,)
        Equal where rows belong together.
    crossed : (n,), optional
        A second grouping of the same rows, by hashtag where `clusters` are images. The interval is then two-way.
    resamples, seed : int
        Of the bootstrap.
    level : float, default 0.95
        How often the interval is meant to hold the truth.
    names : collection of str
        The metrics wanted.

    Returns
    -------
    dict
        (low, high) by metric; None where the metric is undefined, and everywhere if there is a single cluster.
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


def _two_way(one: Floats, other: Floats, both: Floats) -> tuple[Floats, float]:
    """Of two ways to resample the draws that vary more, and how much farther out the two ways together reach."""
    variances = [float(np.var(part[~np.isnan(part)])) if (~np.isnan(part)).any() else 0.0 for part in (one, other)]
    wider = int(variances[1] > variances[0])
    defined = both[~np.isnan(both)]
    shared = float(np.var(defined)) if len(defined) else 0.0
    together = max(sum(variances) - shared, variances[wider])
    stretch = float(np.sqrt(together / variances[wider])) if variances[wider] else 1.0
    return (one, other)[wider], stretch


def effective_clusters(clusters: Clusters) -> float:
    """How many clusters of equal numbers of rows say as much as these: (sum of rows)² / (sum of rows²)."""
    rows = np.bincount(number_distinct(clusters.tolist())[1]).astype(np.float64)
    return float(rows.sum() ** 2 / (rows**2).sum())


def resampled(clusters: int, resamples: int, *, seed: int, chunk: int) -> Iterator[Ints]:
    """How often each of the `clusters` is drawn, (at most `chunk`, clusters) int64 at a time, `resamples` in all."""
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
    """Steps 2 to 4 of the recipe: `figure` with its (B,) resampled figures, over m > 1 effective clusters.

    stretch: how much farther out percentiles are taken, in a two-way interval.
    """
    defined = draws[~np.isnan(draws)]
    if figure is None or len(defined) == 0:
        return None
    shift = 2 * _below(defined, figure) if corrected else 0.0
    z = t.ppf((1 + level) / 2, m - 1) * np.sqrt(m / (m - 1)) * stretch
    low, high = np.percentile(defined, 100 * norm.cdf([shift - z, shift + z]))
    return float(low), float(high)


def p_value(difference: float, draws: Floats, m: float, *, corrected: bool = True) -> float:
    """Two-sided p-value of no difference: the largest 1 - level whose interval of `difference` still holds 0."""
    defined = draws[~np.isnan(draws)]
    shift = 2 * _below(defined, difference) if corrected else 0.0
    # An end of the interval may lie on draws of 0, and the interval then holds 0: for the lower end they count as
    # below 0, for the upper end as above.
    z = max(shift - _below(defined, 0.0, ties=1), _below(defined, 0.0, ties=0) - shift, 0.0)
    return float(2 * t.sf(z / np.sqrt(m / (m - 1)), m - 1))


def _below(draws: Floats, figure: float, *, ties: float = 0.5) -> float:
    """The normal quantile of the share of `draws` below `figure`, of those level with it the share `ties`; finite."""
    gap = draws - figure
    share = ((gap < -TIE).sum() + ties * (np.abs(gap) <= TIE).sum()) / len(draws)
    edge = 1 / (len(draws) + 1)
    return float(norm.ppf(np.clip(share, edge, 1 - edge)))


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
    """The metrics `names` on every resample, (resamples,) float64 each, NaN where undefined.

    What `evaluate` gives on the rows of each resample, computed without touching rows: a metric of a resample
    needs only how often each cluster was drawn and the confusion counts of each cluster. Equal seeds and
    equal clusters draw equal resamples, so that two systems on the same rows can be compared draw by draw.
    """
    check_columns(scores, predicted, values, probabilities)
    firsts, index = number_distinct(clusters.tolist())
    count = len(firsts)
    measure = counted_metrics(scores, predicted, values, probabilities, index, names=names)
    chunk = max(1, _CHUNK // max(count, len(scores)))
    parts = [measure(times.astype(np.float64)) for times in resampled(count, resamples, seed=seed, chunk=chunk)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
