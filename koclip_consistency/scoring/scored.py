"""What a scorer says, as arrays and as a table."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from consistency.data.pairs import Skipped
from consistency.runs.folder import CHANCES
from consistency.scale import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

FIGURES = ("expected_score", "similarity", *CHANCES)
ANSWERED = ("score", *FIGURES, "familiar")


@dataclass(frozen=True, eq=False)
class Scored:
    """What a scorer says about the rows of a table, or about the hashtags of one image.

    Attributes
    ----------
    rows : (m,) int64
        Indices of the rows or hashtags that have an answer.
    predicted : (m,) int64
        Scores, 1 to 5.
    values : (m,) float64
        What ranks the pairs: the expected score, 1 to 5, or the cosine similarity where only thresholds were trained.
    probabilities : (m, 5) float64 or None
        None where only thresholds were trained.
    similarity : (m,) float64
        Cosine of image and hashtag, -1 to 1.
    familiar : (m,) bool or None
        Whether the hashtag resembles one of the training rows; None where the run has no record of them.
    skipped : tuple of Skipped
        What has no answer, and why; `row` counts from 1.
    """

    rows: Ints
    predicted: Ints
    values: Floats
    probabilities: Floats | None
    similarity: Floats
    familiar: npt.NDArray[np.bool_] | None
    skipped: tuple[Skipped, ...]


def scored_frame(answers: Scored | None, n: int) -> "pd.DataFrame":
    """The n rows that were asked about: score, expected_score, similarity, p1..p5 and familiar; NA where unknown."""
    import pandas as pd  # only here: the command line needs none

    figures = np.full((n, len(FIGURES)), np.nan)
    score = pd.array([pd.NA] * n, dtype="Int64")
    familiar = pd.array([pd.NA] * n, dtype="boolean")
    if answers is not None:
        figures[answers.rows, 1] = answers.similarity
        if answers.probabilities is not None:
            figures[answers.rows, 0] = answers.values
            figures[answers.rows, 2:] = answers.probabilities
        score[answers.rows] = answers.predicted
        if answers.familiar is not None:
            familiar[answers.rows] = answers.familiar
    columns: dict[str, Any] = {"score": score}
    columns |= {name: figures[:, at] for at, name in enumerate(FIGURES)}
    return pd.DataFrame({**columns, "familiar": familiar}, index=pd.RangeIndex(n))
