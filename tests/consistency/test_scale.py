"""Counts and the figures of counts are scikit-learn's, but for the two ways in which choosing differs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score

from consistency.scale import CLASSES, DISTANCE, SCORES, confusion, five_class_kappa, macro_f1, merit, qwk


def test_scores_are_classes_plus_one() -> None:
    assert SCORES.tolist() == [1, 2, 3, 4, 5]
    assert len(SCORES) == CLASSES
    assert DISTANCE[0].tolist() == [0, 1, 2, 3, 4]
    assert (DISTANCE.T == DISTANCE).all()


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), classes=st.integers(1, 5))
def test_counts_of_any_number_of_systems_are_scikit_learns(seed: int, n: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, classes, n), rng.integers(0, classes, (2, 3, n))
    counts = confusion(labels, predicted)
    assert counts.shape == (2, 3, 5, 5)
    for i in range(2):
        for j in range(3):
            said = predicted[i, j]
            assert counts[i, j].tolist() == confusion_matrix(labels, said, labels=range(5)).tolist()
            expected = f1_score(labels, said, average="macro", zero_division=0)
            assert macro_f1(counts)[i, j] == pytest.approx(expected, abs=1e-15)
            same = len({*labels.tolist(), *said.tolist()}) == 1
            if same:
                assert np.isnan(qwk(counts)[i, j])
                assert five_class_kappa(counts)[i, j] == 0
                continue
            assert qwk(counts)[i, j] == pytest.approx(cohen_kappa_score(labels, said, weights="quadratic"), abs=1e-12)
            kappa = cohen_kappa_score(labels, said, weights="quadratic", labels=range(5))
            assert five_class_kappa(counts)[i, j] == pytest.approx(kappa, abs=1e-12)
            assert merit(counts)[i, j] == pytest.approx((kappa + expected) / 2, abs=1e-12)


def test_the_two_kappas_differ_where_a_score_between_two_others_is_absent() -> None:
    labels, predicted = np.array([0, 0, 4, 4, 4, 1]), np.array([0, 1, 4, 4, 1, 1])
    counts = confusion(labels, predicted)
    assert qwk(counts) == pytest.approx(cohen_kappa_score(labels, predicted, weights="quadratic"))
    assert five_class_kappa(counts) != pytest.approx(float(qwk(counts)))


def test_counts_may_be_floats_and_all_zero() -> None:
    counts = confusion(np.array([0, 1, 2]), np.array([0, 1, 1])) * 0.5
    assert macro_f1(counts) == pytest.approx(f1_score([0, 1, 2], [0, 1, 1], average="macro", zero_division=0))
    nothing = np.zeros((5, 5), dtype=np.int64)
    assert (macro_f1(nothing), five_class_kappa(nothing), merit(nothing)) == (0, 0, 0)
    assert np.isnan(qwk(nothing))
