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

Step 2 is Efron's bias correction (Better Bootstrap Confidence Intervals, JASA 82, 1987, section 2): macro-F1 of a
resample is lower on average than that of the rows, because a resample misses some rare scores. ECE goes without: it
is a sum of absolute values, and the correction overshoots. Step 3 widens the percentiles to what Student's t has where
there are few clusters (Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69, 2015,
section 5.2); m is the number of equally large clusters that say as much as these (Kish, Survey Sampling, 1965; Carter,
Schnepel & Steigerwald, Review of Economics and Statistics 99, 2017). `benchmarks/coverage.py` measures the coverage.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from consistency.evaluation.metrics import (
    ECE_BINS,
    METRICS,
    SCORES,
    Floats,
    Ints,
    calibration_gaps,
    check_columns,
    evaluate,
)

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
    resamples: int = RESAMPLES,
    seed: int = 42,
    level: float = LEVEL,
) -> dict[str, tuple[float, float] | None]:
    """The interval of every metric over resampled clusters; None where the metric is undefined.

    Columns as `evaluate` takes them; clusters: (n,), equal where rows belong together. Rows of one image share its
    difficulty, so images are drawn, not rows. With a single cluster there is nothing to resample and every interval
    is None. The recipe is in the head of this module.
    """
    if (m := effective_clusters(clusters)) == 1:
        return dict.fromkeys(METRICS)
    figures = evaluate(scores, predicted, values, probabilities)
    draws = bootstrap_metrics(scores, predicted, values, probabilities, clusters, resamples=resamples, seed=seed)
    return {name: interval(figures[name], draws[name], m, level, corrected=name not in UNCORRECTED) for name in METRICS}


def effective_clusters(clusters: Clusters) -> float:
    """How many clusters of equal numbers of rows say as much as these: (sum of rows)² / (sum of rows²)."""
    rows = np.bincount(numbered(clusters)).astype(np.float64)
    return float(rows.sum() ** 2 / (rows**2).sum())


def numbered(clusters: Clusters) -> Ints:
    """(n,) int64: clusters as 0, 1, ... in order of first appearance."""
    order: dict[object, int] = {}
    return np.array([order.setdefault(cluster, len(order)) for cluster in clusters.tolist()], dtype=np.int64)


def resampled(clusters: int, resamples: int, *, seed: int, chunk: int) -> Iterator[Ints]:
    """How often each of the `clusters` is drawn, (at most `chunk`, clusters) int64 at a time, `resamples` in all."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, chunk):
        drawn = rng.integers(0, clusters, size=(min(chunk, resamples - start), clusters))
        offsets = np.arange(len(drawn))[:, None] * clusters
        yield np.bincount((drawn + offsets).ravel(), minlength=drawn.size).reshape(drawn.shape)


def interval(
    figure: float | None, draws: Floats, m: float, level: float = LEVEL, *, corrected: bool = True
) -> tuple[float, float] | None:
    """Steps 2 to 4 of the recipe: `figure` with its (B,) resampled figures, over m > 1 effective clusters."""
    defined = draws[~np.isnan(draws)]
    if figure is None or len(defined) == 0:
        return None
    shift = 2 * _below(defined, figure) if corrected else 0.0
    z = t.ppf((1 + level) / 2, m - 1) * np.sqrt(m / (m - 1))
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
    index = numbered(clusters)
    count = int(index.max()) + 1
    measure = counted_metrics(scores, predicted, values, probabilities, index, names=names)
    chunk = max(1, _CHUNK // max(count, len(scores)))
    parts = [measure(times.astype(np.float64)) for times in resampled(count, resamples, seed=seed, chunk=chunk)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def counted_metrics(
    scores: Ints,
    predicted: Ints,
    values: Floats,
    probabilities: Floats | None,
    index: Ints,
    *,
    names: Collection[str] = METRICS,
) -> Callable[[Floats], dict[str, Floats]]:
    """A function from how often each cluster is counted, (B, clusters) float64, to the metrics, (B,) float64 each.

    index: (n,) int64, the cluster of each row, 0..clusters-1. NaN where a metric is undefined. names: those wanted; of
    all the time Spearman takes nine tenths.
    """
    clusters = int(index.max()) + 1
    cells = np.zeros((clusters, 25))
    np.add.at(cells, (index, (scores - 1) * 5 + predicted - 1), 1)
    gaps: Floats | None = None
    if probabilities is not None:
        bins, gap = calibration_gaps(scores, probabilities)
        gaps = np.zeros((clusters, ECE_BINS))
        np.add.at(gaps, (index, bins), gap)
    spearman = _spearman_of(scores, values, index) if "spearman" in names else None

    def measure(times: Floats) -> dict[str, Floats]:
        matrices = (times @ cells).reshape(-1, 5, 5)
        figures = _from_confusion(matrices)
        if spearman is not None:
            figures["spearman"] = spearman(times)
        rows = matrices.sum(axis=(1, 2))
        figures["ece"] = np.full(len(rows), np.nan) if gaps is None else np.abs(times @ gaps).sum(axis=1) / rows
        return {name: figures[name] for name in names}

    return measure


def _from_confusion(matrices: Floats) -> dict[str, Floats]:
    """The metrics that need only counts, for (B, 5, 5) confusion matrices of floats, (B,) each."""
    total = matrices.sum(axis=(1, 2))
    true, guessed = matrices.sum(axis=2), matrices.sum(axis=1)
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    present = (true + guessed) > 0
    distance = np.abs(SCORES[:, None] - SCORES[None])

    precision, recall = _ratio(hits, guessed), _ratio(hits, true)
    f1 = _ratio(2 * hits, true + guessed)
    figures = {"accuracy": hits.sum(axis=1) / total}
    for name, per_score in (("precision", precision), ("recall", recall), ("f1", f1)):
        figures[f"macro_{name}"] = (per_score * present).sum(axis=1) / present.sum(axis=1)
        figures[f"weighted_{name}"] = (per_score * true).sum(axis=1) / total
    figures["mae"] = (matrices * distance).sum(axis=(1, 2)) / total
    figures["within_one"] = (matrices * (distance <= 1)).sum(axis=(1, 2)) / total

    # scikit-learn's kappa numbers the scores that occur 0, 1, ...: a score nobody has leaves no gap.
    place = np.cumsum(present, axis=1) - 1
    weights = (place[:, :, None] - place[:, None, :]) ** 2
    expected = true[:, :, None] * guessed[:, None, :] / total[:, None, None]
    chance = (weights * expected).sum(axis=(1, 2))
    observed = (weights * matrices).sum(axis=(1, 2))
    figures["qwk"] = 1 - np.divide(observed, chance, out=np.full(len(total), np.nan), where=chance > 0)
    return figures


def _spearman_of(scores: Ints, values: Floats, index: Ints) -> Callable[[Floats], Floats]:
    """A function from (B, clusters) times each cluster was drawn to (B,) rank correlations of scores and values."""
    by_value = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[by_value]) != 0])
    value_of = np.empty(len(values), dtype=np.int64)
    value_of[by_value] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(values)]))

    def correlations(times: Floats) -> Floats:
        rows = times[:, index]
        of_value = np.add.reduceat(rows[:, by_value], starts, axis=1)
        of_score = np.stack([rows[:, scores == score].sum(axis=1) for score in SCORES], axis=1)
        total = of_score.sum(axis=1)
        # Centred average ranks; a tie of m rows that starts after c others has rank c + (m + 1) / 2.
        middle = (total[:, None] + 1) / 2
        value_rank = np.cumsum(of_value, axis=1) - (of_value - 1) / 2 - middle
        score_rank = np.cumsum(of_score, axis=1) - (of_score - 1) / 2 - middle
        together = np.einsum("bn,bn,bn->b", rows, value_rank[:, value_of], score_rank[:, scores - 1])
        spread = (of_value * value_rank**2).sum(axis=1) * (of_score * score_rank**2).sum(axis=1)
        return np.divide(together, np.sqrt(spread), out=np.full(len(times), np.nan), where=spread > 0)

    return correlations


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
