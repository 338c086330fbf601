"""Answers as a table: every row that was asked about, NA where there is no answer."""

import numpy as np
import pandas as pd
import pytest

from koclip_consistency.scoring.scored import Scored, scored_frame

COLUMNS = ["score", "expected_score", "similarity", "p1", "p2", "p3", "p4", "p5", "familiar"]


def answers(probabilities: bool, familiar: bool) -> Scored:
    chances = np.array([[0.1, 0.2, 0.3, 0.3, 0.1], [0, 0, 0, 0.25, 0.75]])
    return Scored(
        rows=np.array([0, 2]),
        predicted=np.array([3, 5]),
        values=np.array([3.1, 4.75]),
        probabilities=chances if probabilities else None,
        similarity=np.array([0.2, 0.9]),
        familiar=np.array([False, True]) if familiar else None,
        skipped=(),
    )


@pytest.mark.parametrize("familiar", [True, False])
@pytest.mark.parametrize("probabilities", [True, False])
def test_rows_and_gaps(probabilities: bool, familiar: bool) -> None:
    frame = scored_frame(answers(probabilities, familiar), 3)
    assert frame.columns.tolist() == COLUMNS
    assert (str(frame["score"].dtype), str(frame["familiar"].dtype)) == ("Int64", "boolean")
    assert frame["score"].tolist() == [3, pd.NA, 5]
    np.testing.assert_array_equal(frame["similarity"], [0.2, np.nan, 0.9])
    np.testing.assert_array_equal(frame["expected_score"], [3.1, np.nan, 4.75] if probabilities else [np.nan] * 3)
    np.testing.assert_array_equal(frame["p5"], [0.1, np.nan, 0.75] if probabilities else [np.nan] * 3)
    assert frame["familiar"].tolist() == ([False, pd.NA, True] if familiar else [pd.NA] * 3)


def test_no_answer_at_all() -> None:
    frame = scored_frame(None, 2)
    assert frame.columns.tolist() == COLUMNS
    assert frame.isna().all(axis=None)
    assert len(scored_frame(None, 0)) == 0
