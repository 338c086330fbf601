"""How good ordinal predictions are: scikit-learn's metrics, and intervals from a bootstrap over pictures.

The recipe of the intervals, for whoever recomputes them from `predictions.csv` (rows of one system and split,
in file order): `names` are the distinct pictures in order of first appearance; `rng =
numpy.random.default_rng(seed)`; a resample is `rng.integers(0, len(names), len(names))` and holds all rows of
every picture drawn, as often as it was drawn; the interval of a metric is `numpy.percentile([2.5, 97.5])`
over 2,000 resamples, leaving out those in which the metric is undefined. The seed is 42, whatever the run's.
"""

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    mean_absolute_error,
    precision_recall_fscore_support,
)

from consistency.errors import DataError

METRICS = (
    "accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
    "mae",
    "qwk",
    "spearman",
    "within_one",
    "ece",
)
SCORES = np.arange(1, 6)
ECE_BINS = 15
RESAMPLES = 2000
LEVEL = 0.95
_CHUNK = 4_000_000  # numbers held at once per intermediate array

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def evaluate(scores: Ints, predicted: Ints, values: Floats, probabilities: Floats | None) -> dict[str, float | None]:
    """Every metric of METRICS over n rows; None where it is undefined.

    scores, predicted: (n,) int64 1..5. values: (n,) float64, the expected score, or whatever else ranks the
    rows (Spearman is taken on it). probabilities: (n, 5) float64, or None (no ECE). Definitions and defaults
    are scikit-learn's (averages over the scores that occur in either column, 0 where a precision has no
    rows); ECE has 15 equal-width bins, closed on the right, of the top probability. Raises DataError where
    there are no rows.
    """
    _check(scores, predicted, values, probabilities)
    result: dict[str, float | None] = {"accuracy": float(accuracy_score(scores, predicted))}
    for average in ("macro", "weighted"):
        figures = precision_recall_fscore_support(scores, predicted, average=average, zero_division=0)
        for name, figure in zip(("precision", "recall", "f1"), figures[:3], strict=True):
            result[f"{average}_{name}"] = float(figure)
    result["mae"] = float(mean_absolute_error(scores, predicted))
    with warnings.catch_warnings():  # undefined is None here, not a warning
        warnings.simplefilter("ignore")
        result["qwk"] = _defined(cohen_kappa_score(scores, predicted, weights="quadratic"))
        result["spearman"] = _defined(spearmanr(scores, values).statistic)
    result["within_one"] = float((np.abs(scores - predicted) <= 1).mean())
    result["ece"] = None
    if probabilities is not None:
        bins, gap = _calibration_gaps(scores, probabilities)
        result["ece"] = float(np.abs(np.bincount(bins, weights=gap, minlength=ECE_BINS)).sum() / len(scores))
    return result


def confusion(scores: Ints, predicted: Ints) -> Ints:
    """(5, 5) int64 counts: rows are true scores 1..5, columns predicted ones."""
    return np.asarray(confusion_matrix(scores, predicted, labels=SCORES), dtype=np.int64)


def calibration_bins(scores: Ints, probabilities: Floats) -> tuple[tuple[float, float, float], ...]:
    """Of every ECE bin that has rows: mean top probability, share correct, share of all rows."""
    bins, gap = _calibration_gaps(scores, probabilities)
    top = probabilities.max(axis=1)
    filled = []
    for number in np.unique(bins):
        rows = bins == number
        confidence = float(top[rows].mean())
        filled.append((confidence, confidence + float(gap[rows].mean()), float(rows.mean())))
    return tuple(filled)


def bootstrap_intervals(
    scores: Ints,
    predicted: Ints,
    values: Floats,
    probabilities: Floats | None,
    images: npt.NDArray[np.object_],
    *,
    resamples: int = RESAMPLES,
    seed: int = 42,
    level: float = LEVEL,
) -> dict[str, tuple[float, float] | None]:
    """The percentile interval of every metric over resampled pictures; None where the metric is undefined.

    Rows of one picture share its difficulty, so pictures are drawn, not rows. With a single picture there is
    nothing to resample and every interval is None. The recipe is in the head of this module.
    """
    if len(set(images)) < 2:
        return dict.fromkeys(METRICS)
    draws = bootstrap_metrics(scores, predicted, values, probabilities, images, resamples=resamples, seed=seed)
    return {name: percentile_interval(draws[name], level) for name in METRICS}


def percentile_interval(draws: Floats, level: float = LEVEL) -> tuple[float, float] | None:
    """The central `level` of the defined ones of (B,) resampled figures."""
    defined = draws[~np.isnan(draws)]
    if len(defined) == 0:
        return None
    low, high = np.percentile(defined, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def bootstrap_metrics(
    scores: Ints,
    predicted: Ints,
    values: Floats,
    probabilities: Floats | None,
    images: npt.NDArray[np.object_],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Floats]:
    """Every metric on every resample, (resamples,) float64 each, NaN where undefined.

    What `evaluate` gives on the rows of each resample, computed without touching rows: a metric of a resample
    needs only how often each picture was drawn and the confusion counts of each picture. Equal seeds and
    equal pictures draw equal resamples, so that two systems on the same rows can be compared draw by draw.
    """
    _check(scores, predicted, values, probabilities)
    order: dict[object, int] = {}
    index = np.array([order.setdefault(name, len(order)) for name in images], dtype=np.int64)
    pictures = len(order)
    cells = np.zeros((pictures, 25))
    np.add.at(cells, (index, (scores - 1) * 5 + predicted - 1), 1)
    gaps: Floats | None = None
    if probabilities is not None:
        bins, gap = _calibration_gaps(scores, probabilities)
        gaps = np.zeros((pictures, ECE_BINS))
        np.add.at(gaps, (index, bins), gap)
    spearman = _spearman_of(scores, values, index)

    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // max(pictures, len(scores)))
    parts: list[dict[str, Floats]] = []
    for start in range(0, resamples, chunk):
        drawn = rng.integers(0, pictures, size=(min(chunk, resamples - start), pictures))
        offsets = np.arange(len(drawn))[:, None] * pictures
        times = np.bincount((drawn + offsets).ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)
        matrices = (times @ cells).reshape(-1, 5, 5)
        figures = _from_confusion(matrices)
        figures["spearman"] = spearman(times)
        rows = matrices.sum(axis=(1, 2))
        figures["ece"] = np.full(len(rows), np.nan) if gaps is None else np.abs(times @ gaps).sum(axis=1) / rows
        parts.append(figures)
    return {name: np.concatenate([part[name] for part in parts]) for name in METRICS}


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
    """A function from (B, pictures) times each picture was drawn to (B,) rank correlations of scores and
    values.
    """
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


def _calibration_gaps(scores: Ints, probabilities: Floats) -> tuple[Ints, Floats]:
    """(n,) bin of each row's top probability, and (n,) its correctness minus that probability."""
    top = probabilities.max(axis=1)
    bins = np.clip(np.ceil(top * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    return bins, (probabilities.argmax(axis=1) + 1 == scores) - top


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _defined(figure: float) -> float | None:
    return float(figure) if np.isfinite(figure) else None


def _check(scores: Ints, predicted: Ints, values: Floats, probabilities: Floats | None) -> None:
    n = len(scores)
    if n == 0:
        raise DataError("there are no rows to evaluate: the split or the skipped pictures left none")
    if predicted.shape != (n,) or values.shape != (n,):
        raise ValueError(f"{n} scores, but predictions {predicted.shape} and values {values.shape}")
    if probabilities is not None and probabilities.shape != (n, 5):
        raise ValueError(f"{n} scores, but probabilities {probabilities.shape}")
    for name, column in (("scores", scores), ("predictions", predicted)):
        if column.min() < 1 or column.max() > 5:
            raise ValueError(f"{name} run from {column.min()} to {column.max()}, expected 1 to 5")
