"""Histograms of the cosine similarities of each label, with the thresholds that cut them into scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from consistency.evaluation.results import Result
from consistency.runs.fitted import read_thresholds
from consistency.runs.read import Run
from consistency.scale import SCORES

BINS = 40


@dataclass(frozen=True)
class Histogram:
    """The similarities of one run.

    Attributes
    ----------
    run, backbone : str
        Names of the run folder and of the backbone.
    about : str
        The rows.
    low, high : float
        Ends of the axis.
    shares : tuple of (int, int, tuple of float)
        For each score its number of rows, and the height of each of the BINS bins, from 0 to 1 for the highest bin.
    cuts : dict of str to tuple of float
        Places of the four thresholds of each method, from 0 to 1 along the axis; None beyond its ends.
    thresholds : dict of str to tuple of float
        The thresholds themselves.
    """

    run: str
    backbone: str
    about: str
    low: float
    high: float
    shares: tuple[tuple[int, int, tuple[float, ...]], ...]
    cuts: dict[str, tuple[float | None, ...]]
    thresholds: dict[str, tuple[float, ...]]


def read_histogram(run: Run) -> Histogram | None:
    """Return the histograms of a run of `similarity`; None if the run has no thresholds.

    Raises
    ------
    InputError
        If its thresholds are damaged.
    """
    thresholds = read_thresholds(run.path)
    own = [result for result in run.results if result.predictions.system in thresholds]
    return _histogram(run, own, thresholds) if own else None


def _histogram(run: Run, results: Sequence[Result], thresholds: Mapping[str, tuple[float, ...]]) -> Histogram:
    p = results[0].predictions
    low, high = float(p.values.min()), float(p.values.max())
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    counts = [np.histogram(p.values[p.scores == score], BINS, (low, high))[0] for score in SCORES]
    most = [max(int(of_score.max()), 1) for of_score in counts]
    shown = {name.removeprefix("similarity-"): cuts for name, cuts in thresholds.items()}
    return Histogram(
        run=run.path.name,
        backbone=p.backbone,
        about=f"protocol {p.protocol}, {len(p):,} rows",
        low=low,
        high=high,
        shares=tuple(
            (int(score), int(of_score.sum()), tuple((of_score / top).tolist()))
            for score, of_score, top in zip(SCORES, counts, most, strict=True)
        ),
        cuts={
            name: tuple((cut - low) / (high - low) if low <= cut <= high else None for cut in cuts)
            for name, cuts in shown.items()
        },
        thresholds=shown,
    )
