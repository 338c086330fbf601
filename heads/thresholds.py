"""Four thresholds cut one number per pair into five classes: applied, searched as published, and found exactly."""

from itertools import combinations, islice
from typing import Literal

import numpy as np
import numpy.typing as npt

from consistency.scale import CLASSES, DISTANCE, Floats, Ints, confusion, five_class_kappa, macro_f1

Objective = Literal["macro-f1", "accuracy", "mae", "qwk"]

OBJECTIVES: tuple[Objective, ...] = ("macro-f1", "accuracy", "mae", "qwk")
SIMPLE = (0.2, 0.4, 0.6, 0.8)

# The macro-F1 programme is quadratic in the number of distinct values: beyond the limit it looks at as many
# quantiles as there are bins only. The other objectives are linear and always exact.
EXACT_LIMIT = 20_000
BINS = 4096


def apply_thresholds(values: npt.ArrayLike, thresholds: npt.ArrayLike) -> Ints:
    """Class of each value, (n,) int64 in 0..4: the number of thresholds <= the value. thresholds: ascending."""
    return np.searchsorted(np.asarray(thresholds), np.asarray(values), side="right").astype(np.int64)


def score(objective: Objective, labels: Ints, predicted: Ints) -> float:
    """The figure the objective is about (for "mae" lower is better)."""
    counts = confusion(labels, predicted)
    if objective == "macro-f1":
        return float(macro_f1(counts))
    if objective == "qwk":
        return float(five_class_kappa(counts))
    if objective == "accuracy":
        return float(np.trace(counts) / len(labels))
    return float((counts * DISTANCE).sum() / len(labels))


def published_search(values: npt.ArrayLike, labels: Ints) -> Floats:
    """The published threshold search, (4,): random candidates, the first with the highest macro-F1.

    The candidates are 100 sorted draws of U(0.05, 0.95) under seed 42, and of their combinations only the first
    5,000 in lexicographic order are tried. Counts below every candidate replace 5,000 passes over the rows.

    values: (n,) float. labels: (n,) int64, 0..4.
    """
    candidates = np.sort(np.random.RandomState(42).uniform(0.05, 0.95, 100))
    tried = np.array(list(islice(combinations(range(100), 4), 5000)))
    below = np.stack(
        [np.searchsorted(np.sort(np.asarray(values)[labels == c]), candidates) for c in range(CLASSES)], axis=1
    )
    edges = np.concatenate(
        [
            np.zeros((len(tried), 1, CLASSES), dtype=np.int64),
            below[tried],
            np.broadcast_to(np.bincount(labels, minlength=CLASSES), (len(tried), 1, CLASSES)),
        ],
        axis=1,
    )
    counts = np.diff(edges, axis=1).swapaxes(1, 2)
    return candidates[tried[np.argmax(macro_f1(counts))]]


def exact_thresholds(values: npt.ArrayLike, labels: Ints, objective: Objective = "macro-f1") -> Floats:
    """The thresholds, (4,) ascending, that no others beat on these rows.

    A dynamic programme over the sorted distinct values: the classes take intervals in turn, and every objective
    is a sum over the intervals. Quadratic weighted kappa is the quotient of two such sums (the true counts are
    fixed, so chance disagreement is a sum over rows too) and is reached by Dinkelbach's iteration
    (Management Science 13:492, 1967). A threshold lies midway between neighbouring values; one that no value
    reaches, or every value does, lies 1 beyond the last.

    values: (n,) float. labels: (n,) int64, 0..4. Macro-F1 over more than 20,000 distinct values looks at 4,096
    quantiles only.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != labels.shape or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"expected finite values with a label each, got {values.shape} and {labels.shape}")
    distinct, group = np.unique(values, return_inverse=True)
    by_group = np.bincount(group * CLASSES + labels, minlength=CLASSES * len(distinct))
    below = np.zeros((len(distinct) + 1, CLASSES), dtype=np.int64)  # labels among the first j distinct values
    np.cumsum(by_group.reshape(-1, CLASSES), axis=0, out=below[1:])
    if objective == "macro-f1":
        cuts = _best_macro_f1(below)
    elif objective == "qwk":
        cuts = _best_kappa(below)
    else:
        gain = np.eye(CLASSES, dtype=np.int64) if objective == "accuracy" else -DISTANCE
        cuts = _best_sum(below @ gain)
    middle = distinct[:-1] + np.diff(distinct) / 2
    middle = np.where(middle > distinct[:-1], middle, distinct[1:])  # neighbouring floats have no middle
    return np.concatenate([[distinct[0] - 1], middle, [distinct[-1] + 1]])[cuts]


def _best_sum(gains: npt.NDArray[np.int64] | Floats) -> Ints:
    """Cuts (4,) with the greatest total, where gains[j, k] is that of the first j groups all in class k."""
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
    """chosen[k][j]: where class k starts when it ends before group j. The last class ends at the end."""
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
    # A class absent from the labels counts only if it is predicted: it takes part in the mean (with 0) or its
    # interval is empty. Every choice of such classes is one programme with a fixed divisor.
    absent = np.flatnonzero(below[-1] == 0).tolist()
    present = CLASSES - len(absent)
    best, best_cuts = -1.0, np.zeros(CLASSES - 1, dtype=np.int64)
    for used in (set(c) for size in range(len(absent) + 1) for c in combinations(absent, size)):
        total, cuts = _best_f1_total(below, empty=set(absent) - used)
        if total / (present + len(used)) > best:
            best, best_cuts = total / (present + len(used)), cuts
    return best_cuts


def _best_f1_total(below: Ints, *, empty: set[int]) -> tuple[float, Ints]:
    """The greatest sum of the classes' F1 and its cuts; the classes in `empty` take no interval."""
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
        # Class 0 starts at 0, and only the end of the last class's interval at the end of the rows is asked for.
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
