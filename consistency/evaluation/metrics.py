"""The metrics of ordinal predictions, each defined once, on counted rows, with scikit-learn's definitions and defaults.

A metric is computed from the number of times that each cluster of rows counts. `evaluate` counts each row once, and the
bootstrap of `consistency.evaluation.intervals` counts each cluster as often as it was drawn.
"""

from collections.abc import Callable, Collection, Iterable

import numpy as np

from consistency.errors import DataError
from consistency.scale import CLASSES, DISTANCE, SCORES, Floats, Ints, confusion, macro_f1, qwk

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
ECE_BINS = 15


def evaluate(scores: Ints, predicted: Ints, values: Floats, probabilities: Floats | None) -> dict[str, float | None]:
    """Compute every metric of METRICS over n rows.

    Averages are over the scores that occur in labels or predictions, and a precision without rows is 0, as in
    scikit-learn. ECE has 15 bins of equal width, closed on the right, of the highest probability.

    Parameters
    ----------
    scores, predicted : (n,) int64
        Labels and predictions, 1 to 5.
    values : (n,) float64
        Expected scores or similarities, for Spearman's correlation.
    probabilities : (n, 5) float64 or None
        Probabilities of the scores; with None there is no ECE.

    Returns
    -------
    dict
        A float for each metric, None where it is undefined.

    Raises
    ------
    DataError
        If there are no rows.
    ValueError
        If the columns have different lengths or scores outside 1 to 5.
    """
    check_columns(scores, predicted, values, probabilities)
    once = counted_metrics(scores, predicted, values, probabilities, np.zeros(len(scores), dtype=np.int64))
    figures = once(np.ones((1, 1)))
    return {name: _defined(figures[name][0]) for name in METRICS}


def counted_metrics(
    scores: Ints,
    predicted: Ints,
    values: Floats,
    probabilities: Floats | None,
    index: Ints,
    *,
    names: Collection[str] = METRICS,
) -> Callable[[Floats], dict[str, Floats]]:
    """Prepare the metrics of rows that count by cluster.

    Parameters
    ----------
    scores, predicted, values, probabilities
        As for `evaluate`.
    index : (n,) int64
        Cluster of each row, 0 to clusters - 1.
    names : collection of str
        The metrics to compute. Spearman takes nine tenths of the time.

    Returns
    -------
    callable
        From the number of times that each cluster counts, (B, clusters) float64, to {metric: (B,) float64}, NaN where
        undefined.
    """
    clusters = int(index.max()) + 1
    cells = np.zeros((clusters, CLASSES**2))
    np.add.at(cells, (index, (scores - 1) * CLASSES + predicted - 1), 1)
    gaps: Floats | None = None
    if probabilities is not None:
        bins, gap = calibration_gaps(scores, probabilities)
        gaps = np.zeros((clusters, ECE_BINS))
        np.add.at(gaps, (index, bins), gap)
    spearman = _spearman_of(scores, values, index) if "spearman" in names else None
    return cell_metrics(cells, gaps, spearman, names=names)


def cell_metrics(
    cells: Floats,
    gaps: Floats | None = None,
    spearman: Callable[[Floats], Floats] | None = None,
    *,
    names: Collection[str] = METRICS,
) -> Callable[[Floats], dict[str, Floats]]:
    """Prepare the metrics of rows that were counted.

    Parameters
    ----------
    cells : (clusters, 25) float64
        Rows of each cluster by score and prediction: confusion counts row by row.
    gaps : (clusters, bins) float64, optional
        Sums of `calibration_gaps`; with None there is no ECE.
    spearman : callable, optional
        From the counts of the clusters to the correlations; with None they are undefined.
    names : collection of str
        The metrics to compute.

    Returns
    -------
    callable
        As `counted_metrics` returns it.
    """

    def measure(times: Floats) -> dict[str, Floats]:
        matrices = (times @ cells).reshape(-1, CLASSES, CLASSES)
        figures = _of_counts(matrices)
        rows = matrices.sum(axis=(1, 2))
        figures["spearman"] = np.full(len(rows), np.nan) if spearman is None else spearman(times)
        figures["ece"] = np.full(len(rows), np.nan) if gaps is None else np.abs(times @ gaps).sum(axis=1) / rows
        return {name: figures[name] for name in names}

    return measure


def _of_counts(matrices: Floats) -> dict[str, Floats]:
    """Compute the metrics that depend only on confusion counts, (B, 5, 5); (B,) each."""
    total = matrices.sum(axis=(1, 2))
    true, guessed = matrices.sum(axis=2), matrices.sum(axis=1)
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    present = (true + guessed) > 0

    figures = {"accuracy": hits.sum(axis=1) / total}
    ratios = {"precision": _ratio(hits, guessed), "recall": _ratio(hits, true), "f1": _ratio(2 * hits, true + guessed)}
    for name, of_score in ratios.items():
        figures[f"macro_{name}"] = of_score.sum(axis=1) / present.sum(axis=1)
        figures[f"weighted_{name}"] = (of_score * true).sum(axis=1) / total
    figures["macro_f1"] = macro_f1(matrices)
    figures["mae"] = (matrices * DISTANCE).sum(axis=(1, 2)) / total
    figures["within_one"] = (matrices * (DISTANCE <= 1)).sum(axis=(1, 2)) / total
    figures["qwk"] = qwk(matrices)
    return figures


def _spearman_of(scores: Ints, values: Floats, index: Ints) -> Callable[[Floats], Floats]:
    """Return a function from counts of the clusters, (B, clusters), to rank correlations of scores and values, (B,)."""
    by_value = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[by_value]) != 0])
    value_of = np.empty(len(values), dtype=np.int64)
    value_of[by_value] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(values)]))

    def correlations(times: Floats) -> Floats:
        rows = times[:, index]
        of_value = np.add.reduceat(rows[:, by_value], starts, axis=1)
        of_score = np.stack([rows[:, scores == score].sum(axis=1) for score in SCORES], axis=1)
        total = of_score.sum(axis=1)
        # Centred average ranks: m tied rows after c lower ones have rank c + (m + 1) / 2.
        middle = (total[:, None] + 1) / 2
        value_rank = np.cumsum(of_value, axis=1) - (of_value - 1) / 2 - middle
        score_rank = np.cumsum(of_score, axis=1) - (of_score - 1) / 2 - middle
        together = np.einsum("bn,bn,bn->b", rows, value_rank[:, value_of], score_rank[:, scores - 1])
        spread = (of_value * value_rank**2).sum(axis=1) * (of_score * score_rank**2).sum(axis=1)
        return np.divide(together, np.sqrt(spread), out=np.full(len(times), np.nan), where=spread > 0)

    return correlations


def spearman_of_groups(groups: Iterable[Ints], truth: Ints) -> float:
    """Compute Spearman's correlation of scores and values from counted rows, NaN where it is undefined.

    Parameters
    ----------
    groups : iterable of (m, 5) int64
        The rows of each score with one value, values ascending.
    truth : (5,) int64
        The rows of each score in all.
    """
    middle = (truth.sum() + 1) / 2
    score_rank = np.cumsum(truth) - (truth - 1) / 2 - middle
    lower, together, spread = 0, 0.0, 0.0
    for counts in groups:
        rows = counts.sum(axis=1)
        rank = lower + np.cumsum(rows) - (rows - 1) / 2 - middle
        together += float(rank @ (counts @ score_rank))
        spread += float(rows @ rank**2)
        lower += int(rows.sum())
    spread *= float(truth @ score_rank**2)
    return together / float(np.sqrt(spread)) if spread > 0 else np.nan


def per_score(scores: Ints, predicted: Ints) -> tuple[tuple[float, float, float, int], ...]:
    """Compute precision, recall, F1 and the number of labels for each score; scores, predicted: (n,) int64, 1 to 5."""
    return per_score_counts(confusion(scores - 1, predicted - 1))


def per_score_counts(counts: Ints) -> tuple[tuple[float, float, float, int], ...]:
    """Compute what `per_score` does from confusion counts, (5, 5) int64.

    Returns
    -------
    tuple of five (precision, recall, F1, labels)
        For the scores 1 to 5. A ratio without rows is 0.
    """
    cells = counts.astype(np.float64)
    hits, true, guessed = np.diagonal(cells), cells.sum(axis=1), cells.sum(axis=0)
    columns = _ratio(hits, guessed), _ratio(hits, true), _ratio(2 * hits, true + guessed), true
    return tuple((float(p), float(r), float(f1), int(n)) for p, r, f1, n in zip(*columns, strict=True))


def calibration_gaps(scores: Ints, probabilities: Floats) -> tuple[Ints, Floats]:
    """Return the ECE bin of the highest probability of each row, (n,), and its correctness minus it, (n,)."""
    top = probabilities.max(axis=1)
    bins = np.clip(np.ceil(top * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    return bins, (probabilities.argmax(axis=1) + 1 == scores) - top


def check_columns(scores: Ints, predicted: Ints, values: Floats, probabilities: Floats | None) -> None:
    """Raise DataError if there are no rows, and ValueError if the columns do not match or scores are outside 1 to 5."""
    n = len(scores)
    if n == 0:
        raise DataError("there are no rows to evaluate: the split or the skipped images left none")
    if predicted.shape != (n,) or values.shape != (n,):
        raise ValueError(f"{n} scores, but predictions {predicted.shape} and values {values.shape}")
    if probabilities is not None and probabilities.shape != (n, CLASSES):
        raise ValueError(f"{n} scores, but probabilities {probabilities.shape}")
    for name, column in (("scores", scores), ("predictions", predicted)):
        if column.min() < 1 or column.max() > CLASSES:
            raise ValueError(f"{name} run from {column.min()} to {column.max()}, expected 1 to {CLASSES}")


def _defined(figure: float) -> float | None:
    return float(figure) if np.isfinite(figure) else None


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
