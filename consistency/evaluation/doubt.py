"""Which labels are doubtful: rows ranked by how much better another score fits than the one they have.

The probabilities must come from judges that have not seen the row's image. Confident learning (Northcutt, Jiang &
Chuang, Confident Learning, JAIR 70, 2021) ranks by the margin p(k) - p(y) of the best other class k over the label y.
Scores are ordered, and a person who slips mostly slips by one: a judge that is sure of a 5 where the label says 1 has
more often misread the pair than the person has. So the margin counts per step of distance. `benchmarks/audit.py`
compares this rule with others.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.data.distinct import number_distinct
from consistency.evaluation.intervals import RESAMPLES, effective_clusters, interval, resampled
from consistency.scale import Floats, Ints


def doubts(probabilities: Floats, labels: Ints) -> tuple[Floats, Ints]:
    """How doubtful each of n labels is, and the class that fits better: max over k of (p(k) - p(y)) / |k - y|.

    probabilities: (n, K) float64, out of fold. labels: (n,) int64, 0..K-1. The first result is (n,) float64 from -1
    (sure of the label) to 1, above 0 where some other class is more probable; the second (n,) int64, the class k of
    the maximum, never the label itself, the lower one of two that are level.
    """
    n, classes = probabilities.shape
    distance = np.abs(np.arange(classes) - labels[:, None])
    margin = probabilities - probabilities[np.arange(n), labels][:, None]
    per_step = np.where(distance > 0, margin / np.maximum(distance, 1), -np.inf)
    best = per_step.argmax(axis=1)
    return per_step[np.arange(n), best], best.astype(np.int64)


def ranking(doubt: Floats) -> Ints:
    """(n,) int64 indices, the most doubtful row first; rows that are level in the order of the table."""
    return np.argsort(-doubt, kind="stable")


@dataclass(frozen=True)
class Precision:
    """Of n rows, `moved` have a label that is known to be wrong; `found` of them are among the first `moved` ranks.

    low, high: 95 % interval of found / moved over resampled images, as `consistency.evaluation.intervals` makes them.
    chance: what a random order finds, moved / n.
    """

    n: int
    moved: int
    found: int
    precision: float
    low: float
    high: float
    chance: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def precision_at_moved(
    doubt: Floats,
    moved: npt.NDArray[np.bool_],
    images: npt.NDArray[np.object_],
    *,
    resamples: int = RESAMPLES,
    seed: int = 42,
) -> Precision | None:
    """What the ranking is worth where the clean labels are known; None where no label was moved.

    doubt: (n,). moved: (n,) bool. images: (n,), whose rows are resampled together. Each resample is cut at its own
    number of moved rows; a row drawn several times may be cut in part. Raises ValueError where there is one image.
    """
    n, count = len(moved), int(moved.sum())
    if not count:
        return None
    order = ranking(doubt)
    hits = moved[order].astype(np.float64)
    found = int(hits[:count].sum())
    image = number_distinct(images.tolist())[1][order]
    precisions = []
    for (drawn,) in resampled(int(image.max()) + 1, resamples, seed=seed, chunk=1):
        times = drawn[image]
        cut = times @ hits
        inside = np.clip(cut - (np.cumsum(times) - times), 0, times)
        if cut:
            precisions.append((inside @ hits) / cut)
    m = effective_clusters(images)
    ends = interval(found / count, np.array(precisions), m) if m > 1 else None
    if ends is None:
        raise ValueError("one image has no interval")
    return Precision(n, count, found, found / count, *ends, count / n)
