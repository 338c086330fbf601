"""The metrics are scikit-learn's."""

import warnings

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from consistency.errors import DataError
from consistency.evaluation.metrics import METRICS, evaluate, per_score, spearman_of_groups
from tests.builders.answers import random_rows


def by_scikit_learn(scores: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]) -> dict[str, float]:
    found = {
        "accuracy": reference.accuracy_score(scores, predicted),
        "mae": reference.mean_absolute_error(scores, predicted),
        "qwk": reference.cohen_kappa_score(scores, predicted, weights="quadratic"),
        "within_one": np.mean(np.abs(scores - predicted) <= 1),
    }
    for average in ("macro", "weighted"):
        found[f"{average}_precision"] = reference.precision_score(scores, predicted, average=average)
        found[f"{average}_recall"] = reference.recall_score(scores, predicted, average=average)
        found[f"{average}_f1"] = reference.f1_score(scores, predicted, average=average)
    return found


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), classes=st.integers(1, 5))
def test_metrics_are_scikit_learns(seed: int, n: int, classes: int) -> None:
    scores, predicted, values, probabilities, _ = random_rows(seed, n, 5, classes)
    found = evaluate(scores, predicted, values, probabilities)
    assert tuple(found) == METRICS
    with warnings.catch_warnings():  # it warns where we return None or 0
        warnings.simplefilter("ignore")
        expected = by_scikit_learn(scores, predicted)
        expected["spearman"] = stats.spearmanr(scores, values).statistic
    for name, figure in expected.items():
        if np.isnan(figure):
            assert found[name] is None
        else:
            assert found[name] == pytest.approx(figure, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_with_all_five_scores_the_counted_metrics_are_scikit_learns_to_the_last_bit(seed: int) -> None:
    scores, predicted, values, probabilities, _ = random_rows(seed, 400, 5)
    found = evaluate(scores, predicted, values, probabilities)
    assert {name: found[name] for name in by_scikit_learn(scores, predicted)} == by_scikit_learn(scores, predicted)


def test_undefined_is_none_never_nan() -> None:
    same = np.full(4, 3)
    found = evaluate(same, same, np.ones(4), None)
    assert (found["qwk"], found["spearman"], found["ece"]) == (None, None, None)
    assert found["macro_f1"] == 1.0


def test_expected_calibration_error_by_hand() -> None:
    probabilities = np.array(
        [[0.9, 0.1, 0, 0, 0], [0, 0.92, 0.08, 0, 0], [0.4, 0.3, 0.3, 0, 0], [0.35, 0.3, 0.15, 0.1, 0.1]]
    )
    scores, predicted = np.array([1, 1, 1, 2]), np.array([1, 2, 1, 1])
    found = evaluate(scores, predicted, probabilities @ np.arange(1, 6), probabilities)
    # 0.9 and 0.92 share the bin (13/15, 14/15] with one of two correct; so do 0.4 = 6/15 and 0.35 the bin (5/15, 6/15].
    assert found["ece"] == pytest.approx((2 * abs(0.5 - 0.91) + 2 * abs(0.5 - 0.375)) / 4)


def test_figures_of_each_score() -> None:
    scores, predicted = np.array([1, 1, 1, 2, 5]), np.array([1, 1, 2, 2, 4])
    assert per_score(scores, predicted) == (
        (1.0, pytest.approx(2 / 3), pytest.approx(0.8), 3),
        (0.5, 1.0, pytest.approx(2 / 3), 1),
        (0.0, 0.0, 0.0, 0),
        (0.0, 0.0, 0.0, 0),
        (0.0, 0.0, 0.0, 1),
    )


def test_what_cannot_be_evaluated_is_refused() -> None:
    none = np.array([], dtype=np.int64)
    with pytest.raises(DataError, match="no rows to evaluate"):
        evaluate(none, none, none.astype(float), None)
    with pytest.raises(ValueError, match="run from 0 to 4, expected 1 to 5"):
        evaluate(np.array([0, 4]), np.array([1, 1]), np.zeros(2), None)
    with pytest.raises(ValueError, match="3 scores, but predictions"):
        evaluate(np.array([1, 2, 3]), np.array([1, 2]), np.zeros(3), None)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_spearman_from_counted_rows(size: int) -> None:
    scores, _, values, _, _ = random_rows(3, 80, 5, 5)
    values = np.round(values, 1)  # with ties
    distinct, which = np.unique(values, return_inverse=True)
    counts = np.zeros((len(distinct), 5), dtype=np.int64)
    np.add.at(counts, (which, scores - 1), 1)
    groups = [counts[start : start + size] for start in range(0, len(counts), size)]
    found = spearman_of_groups(groups, np.bincount(scores, minlength=6)[1:])
    assert found == pytest.approx(stats.spearmanr(scores, values)[0], abs=1e-12)
    assert np.isnan(spearman_of_groups([np.array([[2, 3, 0, 0, 0]])], np.array([2, 3, 0, 0, 0])))  # equal values
