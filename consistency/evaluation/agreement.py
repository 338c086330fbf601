"""How far several raters agree on the five ordered scores: kappas by pairs, Krippendorff's alpha for all, intervals.

All figures come from counts that add up over rows: the confusion counts of two raters, and the coincidences of all. A
bootstrap over images (`consistency.evaluation.intervals`) therefore adds the counts of the images that are drawn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from consistency.data.distinct import number_distinct
from consistency.evaluation.intervals import BOOTSTRAP_SEED, RESAMPLES, effective_clusters, interval, resampled
from consistency.scale import CLASSES, DISTANCE, Floats, Ints

Interval = tuple[float, float] | None
WEIGHTS: Mapping[str, npt.NDArray[np.int64]] = {
    "kappa_unweighted": (DISTANCE > 0).astype(np.int64),
    "kappa_linear": DISTANCE,
    "kappa_quadratic": DISTANCE**2,
}
PAIR_FIGURES = (*WEIGHTS, "agreement", "within_one")
CHUNK = 250  # resamples at once


@dataclass(frozen=True, eq=False)
class PairAgreement:
    """Agreement of two raters on the rows that both have scored.

    Attributes
    ----------
    first, second : str
        The raters, or a system and a rater.
    n, images : int
        Number of rows and of their images.
    figures : dict of str to float or None
        By PAIR_FIGURES; None where undefined.
    ci95 : dict of str to (float, float) or None
        95 % intervals over images.
    confusion : (5, 5) int64
        Rows: scores of the first, columns: scores of the second.
    """

    first: str
    second: str
    n: int
    images: int
    figures: dict[str, float | None]
    ci95: dict[str, Interval]
    confusion: Ints


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's ordinal alpha of all raters, over the `n` rows with two scores or more."""

    n: int
    images: int
    value: float | None
    ci95: Interval


@dataclass(frozen=True)
class Ceiling:
    """A system beside people, on the rows that the system and at least two people have scored.

    Attributes
    ----------
    system : str
        The system.
    n, images : int
        Number of rows and of their images.
    model, people : float or None
        Mean quadratic kappa of the system with each rater, and of the raters with each other.
    difference : float or None
        `model` minus `people`.
    ci95 : (float, float) or None
        95 % interval of the difference, over images.
    """

    system: str
    n: int
    images: int
    model: float | None
    people: float | None
    difference: float | None
    ci95: Interval


def kappa(counts: Ints | Floats, weights: npt.NDArray[np.int64]) -> Floats:
    """Compute Cohen's weighted kappa from confusion counts.

    The distance of two scores does not depend on which scores occur: scikit-learn gives the same with
    `labels=[1, 2, 3, 4, 5]`. The metric `qwk` differs where a score is absent.

    Parameters
    ----------
    counts : (..., 5, 5)
        Confusion counts.
    weights : (5, 5) int64
        Disagreement of two scores, 0 on the diagonal.

    Returns
    -------
    (...) float64
        NaN where it is undefined, because both raters gave one and the same score.

    References
    ----------
    Cohen, Weighted Kappa, Psychological Bulletin 70, 1968.
    """
    total = np.maximum(counts.sum(axis=(-2, -1)), 1)
    expected = np.einsum("...i,ij,...j->...", counts.sum(axis=-1), weights, counts.sum(axis=-2)) / total
    return _one_minus((counts * weights).sum(axis=(-2, -1)), expected)


def ordinal_alpha(coincidences: Floats) -> Floats:
    """Compute Krippendorff's alpha with the ordinal metric from coincidences.

    Parameters
    ----------
    coincidences : (..., 5, 5) float64
        From `coincidence_counts`, added up over rows.

    Returns
    -------
    (...) float64
        NaN where it is undefined.

    References
    ----------
    Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.
    """
    values = coincidences.sum(axis=-1)
    upto = np.cumsum(values, axis=-1) - values / 2  # the difference of two is what lies between, with half of both ends
    distance = (upto[..., :, None] - upto[..., None, :]) ** 2
    n = values.sum(axis=-1)
    expected = np.einsum("...i,...ij,...j->...", values, distance, values) / np.maximum(n - 1, 1)
    return _one_minus((coincidences * distance).sum(axis=(-2, -1)), expected)


def coincidence_counts(scores: Ints) -> Floats:
    """Count, for each row, the pairs of scores of different raters: (n, k) scores, 0 for none, to (n, 5, 5) float64."""
    each = (scores[:, :, None] == np.arange(1, CLASSES + 1)).sum(axis=1).astype(np.float64)
    pairs = each[:, :, None] * each[:, None, :]
    pairs[:, np.arange(CLASSES), np.arange(CLASSES)] -= each
    raters = each.sum(axis=1)
    return pairs / np.maximum(raters - 1, 1)[:, None, None]


def pair_agreement(first: str, second: str, one: Ints, other: Ints, clusters: npt.NDArray[np.object_]) -> PairAgreement:
    """Compare two raters.

    Parameters
    ----------
    first, second : str
        Their names.
    one, other : (n,) int64
        Their scores, 1 to 5; 0 for none.
    clusters : (n,) object
        Image of each row.
    """
    both = (one > 0) & (other > 0)
    counts = _confusions(one[both], other[both])
    names = clusters[both]
    total = counts.sum(axis=0)
    draws = _resampled(counts, names, lambda drawn: {name: _figure(name, drawn) for name in PAIR_FIGURES})
    figures = {name: _defined(_figure(name, total)) for name in PAIR_FIGURES}
    return PairAgreement(
        first,
        second,
        int(both.sum()),
        len(set(names)),
        figures,
        {name: _interval(figures[name], draws.get(name), names) for name in PAIR_FIGURES},
        total,
    )


def all_pairs(raters: tuple[str, ...], scores: Ints, clusters: npt.NDArray[np.object_]) -> list[PairAgreement]:
    """Compare every two of k raters; scores: (n, k), 0 for none."""
    return [
        pair_agreement(raters[i], raters[j], scores[:, i], scores[:, j], clusters)
        for i, j in combinations(range(len(raters)), 2)
    ]


def alpha_of(scores: Ints, clusters: npt.NDArray[np.object_]) -> Alpha:
    """Krippendorff's ordinal alpha of all raters, with its interval; scores: (n, k), 0 for none."""
    rated = (scores > 0).sum(axis=1) >= 2
    counts, names = coincidence_counts(scores[rated]), clusters[rated]
    value = _defined(ordinal_alpha(counts.sum(axis=0)))
    draws = _resampled(counts, names, lambda drawn: {"alpha": ordinal_alpha(drawn)})
    return Alpha(int(rated.sum()), len(set(names)), value, _interval(value, draws.get("alpha"), names))


def ceiling_of(system: str, predicted: Ints, scores: Ints, clusters: npt.NDArray[np.object_]) -> Ceiling:
    """Compare a system with people, on the same rows.

    Parameters
    ----------
    system : str
        Its name.
    predicted : (n,) int64
        Its scores, 1 to 5; 0 for none.
    scores : (n, k) int64
        Those of the raters.
    clusters : (n,) object
        Image of each row.
    """
    rows = (predicted > 0) & ((scores > 0).sum(axis=1) >= 2)
    predicted, scores, names = predicted[rows], scores[rows], clusters[rows]
    k = scores.shape[1]
    pairs = [(predicted, scores[:, i]) for i in range(k)]
    pairs += [(scores[:, i], scores[:, j]) for i, j in combinations(range(k), 2)]
    counts = np.stack([_confusions(one, other) for one, other in pairs], axis=1)  # (rows, pairs, 5, 5)

    def means(drawn: Ints | Floats) -> dict[str, Floats]:
        kappas = kappa(drawn, WEIGHTS["kappa_quadratic"])
        model, people = kappas[..., :k].mean(axis=-1), kappas[..., k:].mean(axis=-1)
        return {"model": model, "people": people, "difference": model - people}

    found = {name: _defined(value) for name, value in means(counts.sum(axis=0)).items()}
    draws = _resampled(counts, names, means)
    ends = _interval(found["difference"], draws.get("difference"), names)
    return Ceiling(system, len(names), len(set(names)), **found, ci95=ends)


def _one_minus(observed: Floats, expected: Floats) -> Floats:
    return 1 - np.divide(observed, expected, out=np.full(np.shape(expected), np.nan), where=np.asarray(expected) > 0)


def _confusions(one: Ints, other: Ints) -> Ints:
    """The confusion counts of each row, (n, 5, 5); all 0 where a score is missing."""
    counts = np.zeros((len(one), CLASSES, CLASSES), dtype=np.int64)
    there = np.flatnonzero((one > 0) & (other > 0))
    counts[there, one[there] - 1, other[there] - 1] = 1
    return counts


def _figure(name: str, counts: Ints | Floats) -> Floats:
    if name in WEIGHTS:
        return kappa(counts, WEIGHTS[name])
    total = counts.sum(axis=(-2, -1))
    agreed = (counts * ((name == "within_one") >= DISTANCE)).sum(axis=(-2, -1))
    return np.divide(agreed, total, out=np.full(np.shape(total), np.nan), where=np.asarray(total) > 0)


def _resampled(
    counts: Ints | Floats, clusters: npt.NDArray[np.object_], figures: Callable[[Floats], dict[str, Floats]]
) -> dict[str, Floats]:
    """The figures of resampled images, (RESAMPLES,) by name; none for a single image."""
    names, number = number_distinct(clusters)
    if len(names) < 2:
        return {}
    sums = np.zeros((len(names), *counts.shape[1:]))
    np.add.at(sums, number, counts)
    parts = [
        figures(np.tensordot(drawn.astype(np.float64), sums, axes=1))
        for drawn in resampled(len(names), RESAMPLES, seed=BOOTSTRAP_SEED, chunk=CHUNK)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _interval(value: float | None, draws: Floats | None, clusters: npt.NDArray[np.object_]) -> Interval:
    return None if draws is None else interval(value, draws, effective_clusters(clusters))


def _defined(value: Floats) -> float | None:
    return None if np.isnan(value) else float(value)
