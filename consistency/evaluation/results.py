"""What a system said about rows, and how good that is: the records that runs hold, reports show and `compare` reads."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.data.hashtags import identities
from consistency.data.trained_on import SeenByBackbone

NO_BACKBONE = "none"  # of a control


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one system said about n rows.

    backbone: "none" for a control. split: "test", "cv" (out of fold), "val" or "train". rows: (n,) int64,
    1-based data rows of the CSV. images, hashtags: (n,) object str as in the CSV. scores, predicted: (n,)
    int64 1..5. values: (n,) float64, the expected score or the similarity. probabilities: (n, 5) float64 or
    None. clusters: (n,) int64, equal where rows may not be taken for
    independent (see `consistency.evaluation.intervals`).
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
        What the system said.
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
        """The entry of `metrics.json`; `trained_on` is in it only where a count is not 0."""
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


@dataclass(frozen=True)
class Audited:
    """A line of `audit.csv`: a row, the score that fits it better, and how much better.

    The rule is in `consistency.evaluation.doubt`.

    repeats: the rows of the CSV that are merged into this one.
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


def evaluate_predictions(predictions: Predictions, *, seed: int = 42, two_way: bool = False) -> Result:
    """Metrics, and 95 % intervals from a bootstrap over clusters.

    With `two_way` the intervals ask about new images and new hashtags at once: the clusters are crossed with hashtags
    by their identity, or with images where the clusters are hashtags.
    """
    from consistency.data.distinct import number_distinct
    from consistency.evaluation.intervals import bootstrap_intervals
    from consistency.evaluation.metrics import evaluate

    p = predictions
    columns = (p.scores, p.predicted, p.values, p.probabilities)
    crossed = None
    if two_way:
        hashtags = number_distinct(identities(p.hashtags))[1]
        by_hashtag = np.array_equal(hashtags, number_distinct(p.clusters.tolist())[1])
        crossed = number_distinct(p.images)[1] if by_hashtag else hashtags
    return Result(p, evaluate(*columns), bootstrap_intervals(*columns, p.clusters, crossed=crossed, seed=seed))
