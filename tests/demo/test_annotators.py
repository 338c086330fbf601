"""Annotators err as often as stated, and independently of each other."""

import numpy as np
import pytest

from demo.annotators import annotate, column_names, expected_confusion

ROWS = [(f"{row % 50}.png", f"#{row}", 1 + row % 5) for row in range(4000)]


def test_annotators_err_as_often_as_stated() -> None:
    scores = np.array(annotate(ROWS, 2, seed=1, noise=0.4))
    clean = np.array([clean for _, _, clean in ROWS])
    inner = (clean > 1) & (clean < 5)
    for own in scores.T:
        moved = own[inner] - clean[inner]
        assert np.abs(moved).max() == 1
        assert (moved != 0).mean() == pytest.approx(0.4, abs=0.03)
        assert (moved == 1).mean() == pytest.approx(0.2, abs=0.03)
        assert set(own[clean == 5] - 5) == {-1, 0}
    both = (scores[inner] != clean[inner, None]).all(axis=1)
    assert both.mean() == pytest.approx(0.16, abs=0.03)


def test_one_annotator_does_not_depend_on_the_others() -> None:
    two, three = (np.array(annotate(ROWS, n, seed=3)) for n in (2, 3))
    assert (three[:, :2] == two).all()
    assert column_names(3) == ("annotator_1", "annotator_2", "annotator_3")
    assert (np.array(annotate(ROWS, 2, seed=4)) != two).any()


def test_repeats_agree_in_any_spelling_and_scores_may_be_missing() -> None:
    scores = annotate([("a", "#바다", 3), ("b", "#바다", 3), ("a", "바다", 3)] * 40, 3, seed=1, noise=0.9)
    assert scores[0] == scores[2] == scores[3]
    absent = [score for of_row in annotate(ROWS, 3, seed=1, missing=0.25) for score in of_row].count(None)
    assert absent / 12000 == pytest.approx(0.25, abs=0.02)


def test_the_expected_confusion_is_that_of_many_draws() -> None:
    clean = np.array([clean for _, _, clean in ROWS])
    expected = expected_confusion(clean, 0.5)
    found = np.zeros((5, 5))
    for one, other in annotate(ROWS, 2, seed=2, noise=0.5):
        assert one is not None
        assert other is not None
        found[one - 1, other - 1] += 1
    assert expected.sum() == pytest.approx(len(ROWS))
    assert np.abs(found - expected).max() < 60
    assert np.abs(found - expected).sum() / len(ROWS) < 0.06
