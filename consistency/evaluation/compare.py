"""Is one system better than another? Paired differences on the same test rows, bootstrapped over their clusters.

Both systems are measured on the same resampled images (or hashtags). `consistency.evaluation.intervals` computes the
interval and the p-value of their difference in the same way as the interval of a metric. They tell how large a
difference the choice of test images can make by chance. They do not cover that training again with another seed gives
another model: `--seeds` shows that.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.data.split_file import PROTOCOL as IMPORTED
from consistency.errors import InputError
from consistency.evaluation.intervals import (
    UNCORRECTED,
    Clusters,
    bootstrap_metrics,
    effective_clusters,
    interval,
    p_value,
)
from consistency.evaluation.results import Predictions, Result
from consistency.evaluation.systems import competes

RESAMPLES = 10_000
COMPARED = ("accuracy", "macro_f1", "mae", "qwk")


@dataclass(frozen=True)
class Difference:
    """The difference between two systems on one metric.

    Attributes
    ----------
    name, reference : str
        The two systems.
    metric : str
        Key of the metric.
    n : int
        Number of rows.
    value, reference_value : float or None
        The metric of each system; None where it is undefined.
    difference : float or None
        `value` minus `reference_value`.
    low, high : float or None
        95 % interval of the difference; None if it is undefined or there is only one cluster.
    p : float or None
        Two-sided p-value, below 0.05 if the interval excludes 0.
    p_holm : float or None
        The p-value after Holm's correction for the number of systems compared on this metric.
    """

    name: str
    reference: str
    metric: str
    n: int
    value: float | None
    reference_value: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def comparable(runs: Sequence[tuple[str, Sequence[Result]]]) -> tuple[list[Result], list[str]]:
    """Choose what to compare: every system of the later runs with the last system of the first run.

    Controls, and systems whose epoch was picked on the test rows, are left out. Out-of-fold predictions are compared
    only if the first run has no others.

    Parameters
    ----------
    runs : sequence of (str, sequence of Result)
        Each run's name and its results.

    Returns
    -------
    results : list of Result
        The reference first.
    names : list of str
        "run/system" for each of them.

    Raises
    ------
    InputError
        If there are fewer than two runs, or one of them has nothing to compare.
    """
    if len(runs) < 2:
        raise InputError(f"{len(runs)} of the runs have results, expected at least two to compare")
    chosen = [_systems(name, results) for name, results in runs]
    reference = ([result for result in chosen[0] if result.predictions.split == "test"] or chosen[0])[-1]
    protocol, split = reference.predictions.protocol, reference.predictions.split
    others, names = [], [_name(runs[0][0], reference)]
    for (run, _), results in zip(runs[1:], chosen[1:], strict=True):
        # An imported split can come from any protocol; `compare` checks that the rows are the same.
        same = [
            result
            for result in results
            if result.predictions.split == split
            and (result.predictions.protocol == protocol or IMPORTED in (result.predictions.protocol, protocol))
        ]
        if not same:
            raise InputError(
                f"{run} has no results under protocol {protocol}, split {split}, where {names[0]} was tested: "
                "compare runs of one protocol"
            )
        others += same
        names += [_name(run, result) for result in same]
    return [reference, *others], names


def compare(
    results: Sequence[Result],
    *,
    names: Sequence[str],
    metrics: Sequence[str] = COMPARED,
    resamples: int = RESAMPLES,
    seed: int = 42,
) -> list[Difference]:
    """Compare every later result with the first one, on the same resamples of the first one's clusters.

    Parameters
    ----------
    results : sequence of Result
        Results on the same rows, in any order of rows.
    names : sequence of str
        What to call them.
    metrics : sequence of str
        Keys of `consistency.evaluation.metrics.METRICS`.
    resamples, seed : int
        Number of resamples of the bootstrap, and its random seed.

    Returns
    -------
    list of Difference
        Ordered by metric, then by system.

    Raises
    ------
    InputError
        If the results are on different rows.
    """
    reference = results[0].predictions
    draws = [
        bootstrap_metrics(
            p.scores,
            p.predicted,
            p.values,
            p.probabilities,
            reference.clusters,
            resamples=resamples,
            seed=seed,
            names=metrics,
        )
        for p in (_aligned(result.predictions, reference, name) for result, name in zip(results, names, strict=True))
    ]
    differences: list[Difference] = []
    for metric in metrics:
        base = results[0].metrics[metric]
        found = [
            _difference(
                name,
                names[0],
                metric,
                reference.clusters,
                result.metrics[metric],
                base,
                drawn[metric] - draws[0][metric],
            )
            for result, name, drawn in zip(results[1:], names[1:], draws[1:], strict=True)
        ]
        corrected = iter(holm([difference.p for difference in found if difference.p is not None]))
        differences += [one if one.p is None else replace(one, p_holm=next(corrected)) for one in found]
    return differences


def _difference(
    name: str,
    reference: str,
    metric: str,
    clusters: Clusters,
    value: float | None,
    base: float | None,
    gaps: npt.NDArray[np.float64],
) -> Difference:
    n, gap = len(clusters), None if value is None or base is None else value - base
    m, corrected = effective_clusters(clusters), metric not in UNCORRECTED
    found = interval(gap, gaps, m, corrected=corrected) if m > 1 else None
    if gap is None or found is None:
        return Difference(name, reference, metric, n, value, base, gap, None, None, None, None)
    return Difference(
        name, reference, metric, n, value, base, gap, *found, p_value(gap, gaps, m, corrected=corrected), None
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values by Holm's step-down procedure, which bounds the probability of any false positive.

    Parameters
    ----------
    p_values : sequence of float
        p-values of m comparisons.

    Returns
    -------
    list of float
        Corrected p-values in the same order.

    References
    ----------
    Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6:65, 1979.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _systems(run: str, results: Sequence[Result]) -> list[Result]:
    """Return the results that are compared."""
    chosen = [result for result in results if competes(result.predictions.system)]
    if not chosen:
        there = ", ".join(dict.fromkeys(result.predictions.system for result in results))
        raise InputError(f"{run} has no learned system to compare, only {there}")
    return chosen


def _name(run: str, result: Result) -> str:
    return f"{run}/{result.predictions.system}"


def _aligned(p: Predictions, reference: Predictions, name: str) -> Predictions:
    """Return `p` in the row order of the reference; raise InputError if its rows differ."""
    order = {int(row): place for place, row in enumerate(p.rows)}
    shared = sum(int(row) in order for row in reference.rows)
    if len(p) != len(reference) or shared != len(reference):
        raise InputError(
            f"{name} was tested on {len(p)} rows, {shared} of them among the {len(reference)} of the reference: "
            "compare runs of one data set, protocol, seed and test fraction"
        )
    rows = np.array([order[int(row)] for row in reference.rows], dtype=np.int64)
    taken = replace(
        p,
        **{key: getattr(p, key)[rows] for key in ("rows", "images", "hashtags", "scores", "predicted", "values")},
        probabilities=None if p.probabilities is None else p.probabilities[rows],
    )
    for key in ("images", "hashtags", "scores"):
        if not np.array_equal(getattr(taken, key), getattr(reference, key)):
            raise InputError(
                f"{name} differs from the reference in the {key} of its rows: compare runs of one data set, or name "
                "with --relabelled the list that `data relabel` wrote"
            )
    return taken
