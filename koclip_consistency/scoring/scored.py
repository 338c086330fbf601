"""What a scorer says about pairs: as arrays, and as the columns that it adds to a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from consistency.data.pairs import Skipped
from consistency.runs.folder import CHANCES
from consistency.scale import Floats, Ints
from koclip_consistency.scoring.standing import Standing

if TYPE_CHECKING:
    import pandas as pd

# The columns that the command line and `score_frame` add to a table; docs/command-line.md describes them.
ANSWER = ("predicted", "expected_score", "similarity", *CHANCES, "familiar")
STANDING = ("rank", "rank_of", "percentile")  # only without a trained run
POST_READ = "post_read"  # only with a head that reads posts
SETS = ("set_low", "set_high")  # only if prediction sets are asked for
WHY_NOT = "why_not"
_TYPES = {
    "predicted": "Int64",
    "familiar": "boolean",
    POST_READ: "boolean",
    "rank": "Int64",
    "rank_of": "Int64",
    **dict.fromkeys(SETS, "Int64"),
    WHY_NOT: "object",
}


@dataclass(frozen=True, eq=False)
class Scored:
    """What a scorer says about the rows of a table, or about the hashtags of one image.

    Attributes
    ----------
    rows : (m,) int64
        Indices of the rows or hashtags that have an answer.
    predicted : (m,) int64 or None
        Scores, 1 to 5; None where nothing was trained.
    values : (m,) float64
        What ranks the pairs: the expected score, 1 to 5, or the cosine similarity where there are no probabilities.
    probabilities : (m, 5) float64 or None
        None where only thresholds or nothing were trained.
    similarity : (m,) float64
        Cosine of image and hashtag, -1 to 1.
    familiar : (m,) bool or None
        Whether the hashtag resembles one of the training rows; None where the run has no record of them.
    skipped : tuple of Skipped
        What has no answer, and why; `row` counts from 1.
    standing : Standing or None
        Places of the cosines; None where something was trained.
    post_read : (m,) bool or None
        Whether the other hashtags of the post were read; False where there are too few of them, and None for systems
        that read the pair alone.
    sets : (m, 2) int64 or None
        Lowest and highest score of each prediction set; None if there are none.
    """

    rows: Ints
    predicted: Ints | None
    values: Floats
    probabilities: Floats | None
    similarity: Floats
    familiar: npt.NDArray[np.bool_] | None
    skipped: tuple[Skipped, ...]
    standing: Standing | None = None
    post_read: npt.NDArray[np.bool_] | None = None
    sets: Ints | None = None


def answer_columns(answers: Scored | None, n: int, reasons: Mapping[int, str] | None = None) -> dict[str, list[Any]]:
    """The answers for all n rows that were asked about.

    Parameters
    ----------
    answers : Scored or None
        None if no row has an answer.
    n : int
        Number of rows.
    reasons : mapping of int to str, optional
        Why a row has no answer, by its index.

    Returns
    -------
    dict of str to list of length n
        The columns `value`, those of `ANSWER`, `STANDING` and `SETS`, `post_read` and `why_not`; None where there is no
        answer.
    """
    names = ("value", *ANSWER, *STANDING, *SETS, POST_READ, WHY_NOT)
    columns = {name: np.full(n, None, dtype=object) for name in names}
    if answers is not None:
        said: dict[str, Any] = {"value": answers.values, "similarity": answers.similarity}
        said |= {"predicted": answers.predicted, "familiar": answers.familiar, POST_READ: answers.post_read}
        said |= vars(answers.standing) if answers.standing else {}
        said |= {} if answers.sets is None else dict(zip(SETS, answers.sets.T, strict=True))
        if answers.probabilities is not None:
            said |= {"expected_score": answers.values, **dict(zip(CHANCES, answers.probabilities.T, strict=True))}
        for name, values in said.items():
            columns[name][answers.rows] = values
    for row, reason in (reasons or {}).items():
        columns[WHY_NOT][row] = reason
    return {name: values.tolist() for name, values in columns.items()}


def scored_frame(
    answers: Scored | None, n: int, reasons: Mapping[int, str] | None = None, names: Sequence[str] = ANSWER
) -> "pd.DataFrame":
    """The columns `names` and `why_not` for n rows, as a DataFrame with missing values where nothing is known."""
    import pandas as pd  # only here: the command line needs none

    columns = answer_columns(answers, n, reasons)
    named = {name: pd.Series(columns[name], dtype=_TYPES.get(name, "float64")) for name in (*names, WHY_NOT)}
    return pd.DataFrame(named, index=pd.RangeIndex(n))
