"""How good ordinal predictions are: scikit-learn's metrics where it has them, from one answer for every row."""

import warnings

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
    check_columns(scores, predicted, values, probabilities)
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
        bins, gap = calibration_gaps(scores, probabilities)
        result["ece"] = float(np.abs(np.bincount(bins, weights=gap, minlength=ECE_BINS)).sum() / len(scores))
    return result


def confusion(scores: Ints, predicted: Ints) -> Ints:
    """(5, 5) int64 counts: rows are true scores 1..5, columns predicted ones."""
    return np.asarray(confusion_matrix(scores, predicted, labels=SCORES), dtype=np.int64)


def per_score(scores: Ints, predicted: Ints) -> tuple[tuple[float, float, float, int], ...]:
    """Precision, recall, F1 and number of true rows of each score 1..5; 0 where a ratio has no rows."""
    figures = precision_recall_fscore_support(scores, predicted, labels=SCORES, zero_division=0)
    return tuple((float(p), float(r), float(f1), int(n)) for p, r, f1, n in zip(*figures, strict=True))


def calibration_bins(scores: Ints, probabilities: Floats) -> tuple[tuple[float, float, float], ...]:
    """Of every ECE bin that has rows: mean top probability, share correct, share of all rows."""
    bins, gap = calibration_gaps(scores, probabilities)
    top = probabilities.max(axis=1)
    filled = []
    for number in np.unique(bins):
        rows = bins == number
        confidence = float(top[rows].mean())
        filled.append((confidence, confidence + float(gap[rows].mean()), float(rows.mean())))
    return tuple(filled)


def calibration_gaps(scores: Ints, probabilities: Floats) -> tuple[Ints, Floats]:
    """(n,) bin of each row's top probability, and (n,) its correctness minus that probability."""
    top = probabilities.max(axis=1)
    bins = np.clip(np.ceil(top * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    return bins, (probabilities.argmax(axis=1) + 1 == scores) - top


def check_columns(scores: Ints, predicted: Ints, values: Floats, probabilities: Floats | None) -> None:
    """Raise DataError where there are no rows, ValueError where the columns do not fit together."""
    n = len(scores)
    if n == 0:
        raise DataError("there are no rows to evaluate: the split or the skipped images left none")
    if predicted.shape != (n,) or values.shape != (n,):
        raise ValueError(f"{n} scores, but predictions {predicted.shape} and values {values.shape}")
    if probabilities is not None and probabilities.shape != (n, 5):
        raise ValueError(f"{n} scores, but probabilities {probabilities.shape}")
    for name, column in (("scores", scores), ("predictions", predicted)):
        if column.min() < 1 or column.max() > 5:
            raise ValueError(f"{name} run from {column.min()} to {column.max()}, expected 1 to 5")


def _defined(figure: float) -> float | None:
    return float(figure) if np.isfinite(figure) else None
