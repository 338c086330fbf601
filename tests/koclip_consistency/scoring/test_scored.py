"""Answers as a table: every row that was asked about, a missing value and the reason where there is no answer."""

import numpy as np
import pandas as pd
import pytest

from koclip_consistency.scoring.scored import Scored, answer_columns, scored_frame

COLUMNS = ["predicted", "expected_score", "similarity", "p1", "p2", "p3", "p4", "p5", "familiar", "why_not"]


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
    frame = scored_frame(answers(probabilities, familiar), 3, {1: "broken"})
    assert frame.columns.tolist() == COLUMNS
    assert (str(frame["predicted"].dtype), str(frame["familiar"].dtype)) == ("Int64", "boolean")
    assert frame["predicted"].tolist() == [3, pd.NA, 5]
    np.testing.assert_array_equal(frame["similarity"], [0.2, np.nan, 0.9])
    np.testing.assert_array_equal(frame["expected_score"], [3.1, np.nan, 4.75] if probabilities else [np.nan] * 3)
    np.testing.assert_array_equal(frame["p5"], [0.1, np.nan, 0.75] if probabilities else [np.nan] * 3)
    assert frame["familiar"].tolist() == ([False, pd.NA, True] if familiar else [pd.NA] * 3)
    assert frame["why_not"].tolist() == [None, "broken", None]


@pytest.mark.parametrize("probabilities", [True, False])
def test_value_is_the_expected_score_or_the_cosine(probabilities: bool) -> None:
    columns = answer_columns(answers(probabilities, False), 3)
    assert columns["value"] == [3.1, None, 4.75]  # as the scorer ranks, whatever that is
    assert columns["expected_score"] == ([3.1, None, 4.75] if probabilities else [None] * 3)
    assert columns["similarity"] == [0.2, None, 0.9]
    assert columns["familiar"] == [None] * 3


def test_no_answer_at_all() -> None:
    frame = scored_frame(None, 2)
    assert frame.columns.tolist() == COLUMNS
    assert frame.isna().all(axis=None)
    assert len(scored_frame(None, 0)) == 0
