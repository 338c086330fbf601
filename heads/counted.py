"""Thresholds on similarities that do not fit into memory, from counts of their distinct values in ascending order."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from consistency.options import Method
from consistency.scale import CLASSES, Floats, Ints
from heads.similarity import SimilarityModel
from heads.thresholds import (
    BINS,
    EXACT_LIMIT,
    SIMPLE,
    Objective,
    apply_thresholds,
    best_cuts,
    midway,
    published_candidates,
    published_choice,
    quantiles_note,
    score_counts,
)

# Distinct ascending values (m,) float64 with the number of labels of each class (m, 5) int64, part by part.
Counted = Iterable[tuple[Floats, Ints]]


def fit_counted(
    methods: Sequence[Method], counted: Callable[[], Counted], objective: Objective
) -> tuple[dict[str, SimilarityModel], str | None]:
    """Fit thresholds as `similarity.fit` does, to training rows that are read three times.

    Parameters
    ----------
    methods : sequence of {"simple", "search", "exact"}
        How to find thresholds.
    counted : callable
        Reads the training rows from the beginning.
    objective : {"macro-f1", "accuracy", "mae", "qwk"}
        What "exact" optimises. Beyond EXACT_LIMIT distinct values it considers BINS quantiles of them, which are those
        of `thresholds.exact_thresholds` for macro-F1; for the other objectives, that function considers every value.

    Returns
    -------
    models : dict of str to SimilarityModel
        By system.
    note : str or None
        One line saying that only quantiles were considered; None if every value was, or there is no "exact".
    """
    candidates, distinct, truth = published_candidates(), 0, np.zeros(CLASSES, np.int64)
    below = np.zeros((len(candidates), CLASSES), np.int64)
    for values, counts in counted():
        summed = np.concatenate([[truth], truth + np.cumsum(counts, axis=0)])
        lower = np.searchsorted(values, candidates)
        below[lower > 0] = summed[lower[lower > 0]]
        distinct, truth = distinct + len(values), summed[-1]
    binned = distinct > EXACT_LIMIT
    thresholds: dict[Method, Floats] = {}
    for method in methods:
        if method == "simple":
            thresholds[method] = np.array(SIMPLE)
        elif method == "search":
            thresholds[method] = published_choice(below, truth)
        else:
            quantiles = np.linspace(0, truth.sum(), BINS + 1) if binned else None
            edges, possible = _possible(counted(), quantiles)
            thresholds[method] = possible[best_cuts(edges, objective)]
    confusions = {method: np.zeros((CLASSES, CLASSES), np.int64) for method in methods}
    for values, counts in counted():
        for method, matrix in confusions.items():
            np.add.at(matrix.T, apply_thresholds(values, thresholds[method]), counts)
    models = {
        f"similarity-{method}": SimilarityModel(
            method, tuple(map(float, thresholds[method])), objective, score_counts(objective, matrix)
        )
        for method, matrix in confusions.items()
    }
    return models, quantiles_note(distinct) if binned and "exact" in methods else None


def _possible(counted: Counted, quantiles: Floats | None) -> tuple[Ints, Floats]:
    """The labels below each possible threshold, (k, 5), and the thresholds (k,): all, or the first at each quantile."""
    below, lows, highs = [np.zeros((1, CLASSES), np.int64)], [np.empty(0)], [np.empty(0)]
    total, last, waiting = below[0][0], 0.0, True  # the first threshold has no value below it
    for values, counts in counted:
        if waiting:
            highs.append(values[:1])
        summed = total + np.cumsum(counts, axis=0)
        at = np.arange(len(values))
        if quantiles is not None:
            rows = summed.sum(axis=1)
            due = quantiles[(quantiles > total.sum()) & (quantiles <= rows[-1])]
            at = np.unique(np.searchsorted(rows, due))
        below.append(summed[at])
        lows.append(values[at])
        highs.append(values[at[at + 1 < len(values)] + 1])
        waiting = bool(len(at)) and int(at[-1]) == len(values) - 1
        total, last = summed[-1], float(values[-1])
    low, high = np.concatenate(lows), np.concatenate(highs)
    return np.concatenate(below), np.concatenate([high[:1] - 1, midway(low[:-1], high[1:]), [last + 1]])
