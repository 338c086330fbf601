"""Thresholds that cut one number per pair into five classes: applying them, the published search, the optimum."""

import math
from collections.abc import Sequence
from itertools import combinations, islice, pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from consistency.scale import CLASSES, DISTANCE, Floats, Ints, confusion, five_class_kappa, macro_f1

Objective = Literal["macro-f1", "accuracy", "mae", "qwk"]

OBJECTIVES: tuple[Objective, ...] = ("macro-f1", "accuracy", "mae", "qwk")
SIMPLE = (0.2, 0.4, 0.6, 0.8)

# The dynamic programme for macro-F1 is quadratic in the number of distinct values. Beyond EXACT_LIMIT of them it only
# considers BINS quantiles. The other objectives take linear time and are always exact.
EXACT_LIMIT = 20_000
BINS = 4096


def apply_thresholds(values: npt.ArrayLike, thresholds: npt.ArrayLike) -> Ints:
    """Return the class of each value, (n,) int64 from 0 to 4: the number of ascending thresholds that it reaches."""
    return np.searchsorted(np.asarray(thresholds), np.asarray(values), side="right").astype(np.int64)


def check_thresholds(thresholds: Sequence[float]) -> None:
    """Raise ValueError unless these are four ascending finite numbers, as every fit gives them."""
    rising = all(a <= b for a, b in pairwise(thresholds))
    if len(thresholds) != CLASSES - 1 or not rising or not all(map(math.isfinite, thresholds)):
        raise ValueError(f"thresholds are {list(thresholds)}, expected {CLASSES - 1} ascending numbers")


def score(objective: Objective, labels: Ints, predicted: Ints) -> float:
    """Compute an objective from classes 0 to 4, (n,) int64 each; "mae" is better when lower, the others when higher."""
    return score_counts(objective, confusion(labels, predicted))


def score_counts(objective: Objective, counts: Ints) -> float:
    """Compute an objective from confusion counts, (5, 5) int64."""
    if objective == "macro-f1":
        return float(macro_f1(counts))
    if objective == "qwk":
        return float(five_class_kappa(counts))
    if objective == "accuracy":
        return float(np.trace(counts) / counts.sum())
    return float((counts * DISTANCE).sum() / counts.sum())


def published_candidates() -> Floats:
    """The 100 ascending thresholds that the published search combines."""
    return np.sort(np.random.RandomState(42).uniform(0.05, 0.95, 100))


def published_search(values: npt.ArrayLike, labels: Ints) -> Floats:
    """Search for thresholds as published: among random candidates, the first ones with the highest macro-F1.

    The candidates are 100 sorted draws from U(0.05, 0.95) under seed 42. Of their combinations only the first 5,000 in
    lexicographic order are tried. Counting the rows below each candidate avoids 5,000 passes over the rows.

    Parameters
    ----------
    values : (n,) float
        One number per pair.
    labels : (n,) int64
        Classes, 0 to 4.

    Returns
    -------
    (4,) float64
        Ascending thresholds.
    """
    candidates = published_candidates()
    below = np.stack(
        [np.searchsorted(np.sort(np.asarray(values)[labels == c]), candidates) for c in range(CLASSES)], axis=1
    )
    return published_choice(below, np.bincount(labels, minlength=CLASSES))


def published_choice(below: Ints, truth: Ints) -> Floats:
    """Find what `published_search` does from the labels (100, 5) below each candidate and in all (5,)."""
    tried = np.array(list(islice(combinations(range(100), 4), 5000)))
    edges = np.concatenate(
        [
            np.zeros((len(tried), 1, CLASSES), dtype=np.int64),
            below[tried],
            np.broadcast_to(truth, (len(tried), 1, CLASSES)),
        ],
        axis=1,
    )
    counts = np.diff(edges, axis=1).swapaxes(1, 2)
    return published_candidates()[tried[np.argmax(macro_f1(counts))]]


def exact_thresholds(values: npt.ArrayLike, labels: Ints, objective: Objective = "macro-f1") -> Floats:
    """Find the optimal thresholds on these rows.

    A dynamic programme runs over the sorted distinct values: each class takes an interval of them in turn, and each
    objective is a sum over the intervals. Quadratic weighted kappa is a ratio of two such sums, because the true counts
    are fixed and chance disagreement is a sum over rows too; Dinkelbach's iteration maximises it. A threshold lies
    midway between neighbouring values, or 1 beyond the last value if all values are on one side of it.

    Parameters
    ----------
    values : (n,) float
        One number per pair.
    labels : (n,) int64
        Classes, 0 to 4.
    objective : {"macro-f1", "accuracy", "mae", "qwk"}
        What to optimise. Macro-F1 over more than 20,000 distinct values considers only 4,096 quantiles of them.

    Returns
    -------
    (4,) float64
        Ascending thresholds.

    Raises
    ------
    ValueError
        If the values are not finite or do not match the labels.

    References
    ----------
    Dinkelbach, On Nonlinear Fractional Programming, Management Science 13:492, 1967.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != labels.shape or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"expected finite values with a label each, got {values.shape} and {labels.shape}")
    distinct, group = np.unique(values, return_inverse=True)
    by_group = np.bincount(group * CLASSES + labels, minlength=CLASSES * len(distinct))
    below = np.zeros((len(distinct) + 1, CLASSES), dtype=np.int64)  # labels among the first j distinct values
    np.cumsum(by_group.reshape(-1, CLASSES), axis=0, out=below[1:])
    middle = midway(distinct[:-1], distinct[1:])
    return np.concatenate([[distinct[0] - 1], middle, [distinct[-1] + 1]])[best_cuts(below, objective)]


def best_cuts(below: Ints, objective: Objective) -> Ints:
    """Find the best four cuts, (4,) ascending indices into `below`, (k, 5): the labels before each possible cut."""
    if objective == "macro-f1":
        return _best_macro_f1(below)
    if objective == "qwk":
        return _best_kappa(below)
    gain = np.eye(CLASSES, dtype=np.int64) if objective == "accuracy" else -DISTANCE
    return _best_sum(below @ gain)


def midway(low: Floats, high: Floats) -> Floats:
    """The thresholds between neighbouring values; each (n,)."""
    middle = low + (high - low) / 2
    return np.where(middle > low, middle, high)  # neighbouring floats have no middle


def describe_quantiles(values: npt.ArrayLike, objective: Objective) -> str | None:
    """One line saying that `exact_thresholds` considers only quantiles of these values; None if it considers all."""
    if objective != "macro-f1" or (distinct := len(np.unique(np.asarray(values)))) <= EXACT_LIMIT:
        return None
    return quantiles_note(distinct)


def quantiles_note(distinct: int) -> str:
    """One line saying that only quantiles of so many distinct values are considered."""
    return f"thresholds: the best among {BINS:,} quantiles of {distinct:,} distinct similarities"


def _best_sum(gains: npt.NDArray[np.int64] | Floats) -> Ints:
    """Return the cuts, (4,), with the greatest total; gains[j, k] is the gain of the first j groups, all in class k."""
    best = gains[:, 0]
    chosen = []
    for k in range(1, CLASSES):
        before = best - gains[:, k]
        highest = np.maximum.accumulate(before)
        is_new = np.concatenate([[True], before[1:] > highest[:-1]])
        chosen.append(np.maximum.accumulate(np.where(is_new, np.arange(len(before)), 0)))
        best = gains[:, k] + highest
    return _trace_back(chosen)


def _trace_back(chosen: list[Ints]) -> Ints:
    """Return the cuts; chosen[k][j] is the start of class k if it ends before group j."""
    cuts, end = [], len(chosen[0]) - 1
    for start in reversed(chosen):
        end = int(start[end])
        cuts.append(end)
    return np.array(cuts[::-1])


def _best_kappa(below: Ints) -> Ints:
    truth = below[-1]
    disagreement = below @ DISTANCE**2
    chance = np.outer(below.sum(axis=1), truth @ DISTANCE**2 / truth.sum())
    ratio = 1.0
    while True:
        cuts = _best_sum(ratio * chance - disagreement)
        edges = np.concatenate([[0], cuts, [len(below) - 1]])
        classes = np.arange(CLASSES)
        observed = (disagreement[edges[1:], classes] - disagreement[edges[:-1], classes]).sum()
        expected = (chance[edges[1:], classes] - chance[edges[:-1], classes]).sum()
        if expected == 0 or observed / expected >= ratio - 1e-12:
            return cuts
        ratio = observed / expected


def _best_macro_f1(below: Ints) -> Ints:
    if len(below) - 1 > EXACT_LIMIT:
        quantiles = np.linspace(0, below[-1].sum(), BINS + 1)
        kept = np.unique(np.searchsorted(below.sum(axis=1), quantiles))
        return kept[_best_macro_f1(below[kept])]
    # A class without labels counts, with an F1 of 0, only if it is predicted. Each choice of which of these classes
    # are predicted gives one programme with a fixed divisor.
    absent = np.flatnonzero(below[-1] == 0).tolist()
    present = CLASSES - len(absent)
    best, best_cuts = -1.0, np.zeros(CLASSES - 1, dtype=np.int64)
    for used in (set(c) for size in range(len(absent) + 1) for c in combinations(absent, size)):
        total, cuts = _best_f1_total(below, empty=set(absent) - used)
        if total / (present + len(used)) > best:
            best, best_cuts = total / (present + len(used)), cuts
    return best_cuts


def _best_f1_total(below: Ints, *, empty: set[int]) -> tuple[float, Ints]:
    """Return the greatest sum of the F1 of all classes, and its cuts; classes in `empty` take no interval."""
    truth, rows = below[-1], below.sum(axis=1)
    ends = np.arange(len(below))
    best = np.where(ends == 0, 0.0, -np.inf)  # before any class nothing may be taken
    chosen = []
    for k in range(CLASSES):
        if k in empty:
            chosen.append(ends)
            continue
        hits, fixed = 2.0 * below[:, k], truth[k] - rows
        following, start = np.empty(len(below)), np.empty(len(below), dtype=np.int64)
        # Class 0 starts at the first row, and the last class ends at the last one.
        starts = slice(0, 1) if k == 0 else slice(None)
        for j in ends if k < CLASSES - 1 else ends[-1:]:
            span = slice(0, min(j + 1, starts.stop or j + 1))
            occurring = np.maximum(fixed[span] + rows[j], 1)
            total = best[span] + (hits[j] - hits[span]) / occurring
            start[j] = np.argmax(total)
            following[j] = total[start[j]]
        best = following
        chosen.append(start)
    return float(best[-1]), _trace_back(chosen)[1:]
