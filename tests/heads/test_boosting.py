"""Boosting as arrays answers as scikit-learn does."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from heads import boosting
from heads.boosting import ITERATIONS, SETTINGS, Boosting


@pytest.mark.parametrize("classes", [(0, 1, 2, 3, 4), (0, 2, 4), (1, 3)])
def test_arrays_predict_what_scikit_learn_predicts(classes, monkeypatch):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(700, 6))
    labels = np.asarray(classes)[np.clip((2 * x[:, 0] + rng.normal(size=700) + 2).astype(int), 0, len(classes) - 1)]
    monkeypatch.setattr(boosting, "BLOCK", 256)
    mine = Boosting.fit(x[:500], labels[:500], seed=1)
    theirs = HistGradientBoostingClassifier(max_iter=ITERATIONS, early_stopping=False, random_state=1, **SETTINGS)
    theirs.fit(x[:500], labels[:500])
    expected = np.zeros((200, 5))
    expected[:, list(classes)] = theirs.predict_proba(x[500:])
    np.testing.assert_allclose(mine.predict_proba(x[500:]), expected, atol=1e-12)
    assert (mine.predict_proba(x[500:]).argmax(axis=1) == labels[500:]).mean() > 0.5
    again = Boosting(**mine.arrays())
    assert np.array_equal(again.predict_proba(x), mine.predict_proba(x))
    assert np.array_equal(Boosting.fit(x[:500], labels[:500], seed=1).predict_proba(x), mine.predict_proba(x))
    assert mine.predict_proba(x[:0]).shape == (0, 5)


def test_few_rows_grow_no_trees_and_keep_the_frequencies():
    labels = np.array([0, 0, 0, 1])
    mine = Boosting.fit(np.arange(8.0).reshape(4, 2), labels, seed=0)
    np.testing.assert_allclose(mine.predict_proba(np.zeros((1, 2))), [[0.75, 0.25, 0, 0, 0]], atol=1e-12)
