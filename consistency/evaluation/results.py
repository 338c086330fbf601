"""Predictions of a system and their metrics: the records that run folders store and reports and `compare` read."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.data.distinct import number_distinct
from consistency.data.hashtags import identities
from consistency.data.trained_on import SeenByBackbone

NO_BACKBONE = "none"  # the backbone of a control


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of one system for n rows.

    Attributes
    ----------
    system : str
        Name of the system.
    backbone : str
        Name of the backbone; "none" for a control.
    protocol : str
        How the rows were split.
    split : {"test", "cv", "val", "train"}
        Which rows these are; "cv" is out of fold.
    rows : (n,) int64
        Data rows of the CSV, counted from 1.
    images, hashtags : (n,) object str
        As in the CSV.
    scores, predicted : (n,) int64
        Labels and predictions, 1 to 5.
    values : (n,) float64
        Expected scores, or similarities.
    probabilities : (n, 5) float64 or None
        Probabilities of the scores.
    clusters : (n,) int64
        Equal for rows that are not independent (see `consistency.evaluation.intervals`).
    """

    system: str
    backbone: str
    protocol: str
    split: str
    rows: npt.NDArray[np.int64]
    images: npt.NDArray[np.object_]
    hashtags: npt.NDArray[np.object_]
    scores: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64] | None
    clusters: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Result:
    """Predictions with their metrics and 95 % intervals.

    Attributes
    ----------
    predictions : Predictions
        The predictions.
    metrics : dict of str to float or None
        By key, None where undefined.
    ci95 : dict of str to (float, float) or None
        By key, None where there is no interval.
    trained_on : SeenByBackbone or None
        How many of these rows trained the fine-tuned backbone that the system uses; None if it has no record of a
        training, or if there is no backbone.
    """

    predictions: Predictions
    metrics: dict[str, float | None]
    ci95: dict[str, tuple[float, float] | None]
    trained_on: SeenByBackbone | None = None

    def as_entry(self) -> dict[str, Any]:
        """Return the entry of `metrics.json`; it has `trained_on` only if a count is not 0."""
        p = self.predictions
        seen = {"trained_on": asdict(self.trained_on)} if self.trained_on else {}
        return {
            "system": p.system,
            "backbone": p.backbone,
            "protocol": p.protocol,
            "split": p.split,
            "n": len(p),
            "metrics": self.metrics,
            "ci95": self.ci95,
            **seen,
        }


@dataclass(frozen=True, eq=False)
class CountedResult:
    """A result on rows that are not held in memory; `predictions.csv` alone has them.

    Attributes
    ----------
    system, backbone, protocol, split : str
        As in `Predictions`.
    counts : (5, 5) int64
        Confusion counts.
    metrics, ci95
        As in `Result`.
    """

    system: str
    backbone: str
    protocol: str
    split: str
    counts: npt.NDArray[np.int64]
    metrics: dict[str, float | None]
    ci95: dict[str, tuple[float, float] | None]

    def as_entry(self) -> dict[str, Any]:
        """Return the entry of `metrics.json`."""
        figures = {"n": int(self.counts.sum()), "metrics": self.metrics, "ci95": self.ci95}
        return {name: getattr(self, name) for name in ("system", "backbone", "protocol", "split")} | figures


@dataclass(frozen=True)
class Audited:
    """A line of `audit.csv`: a row, the score that fits it better, and how much better.

    Attributes
    ----------
    rank : int
        Place by doubt, from 1.
    row : int
        Data row of the CSV, counted from 1.
    image, hashtag : str
        As in the CSV.
    score, suggested : int
        The label, and the score that fits better, 1 to 5.
    doubt : float
        How much better it fits, by the rule of `consistency.evaluation.doubt`.
    chances : tuple of five floats
        Probabilities of the scores.
    repeats : tuple of int
        Rows of the CSV that were merged into this one.
    """

    rank: int
    row: int
    image: str
    hashtag: str
    score: int
    suggested: int
    doubt: float
    chances: tuple[float, ...]
    repeats: tuple[int, ...]


def evaluate_predictions(predictions: Predictions, *, two_way: bool = False) -> Result:
    """Compute the metrics of predictions, and 95 % intervals from a bootstrap over clusters.

    Parameters
    ----------
    predictions : Predictions
        The predictions.
    two_way : bool, default False
        Whether intervals are for new images and new hashtags at once. The clusters are then crossed with hashtags by
        identity, or with images if the clusters are hashtags.

    Returns
    -------
    Result
        The predictions with metrics and intervals.
    """
    # Here, so that reading results does not load scipy.
    from consistency.evaluation.intervals import bootstrap_intervals
    from consistency.evaluation.metrics import evaluate

    p = predictions
    columns = (p.scores, p.predicted, p.values, p.probabilities)
    crossed = None
    if two_way:
        hashtags = number_distinct(identities(p.hashtags))[1]
        by_hashtag = np.array_equal(hashtags, number_distinct(p.clusters.tolist())[1])
        crossed = number_distinct(p.images)[1] if by_hashtag else hashtags
    return Result(p, evaluate(*columns), bootstrap_intervals(*columns, p.clusters, crossed=crossed))
