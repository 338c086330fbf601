"""Thresholds on similarities: every method, and their record."""

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score, mean_absolute_error

from consistency.errors import InputError
from consistency.options import METHODS
from heads.similarity import SYSTEMS, SimilarityModel, fit


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    labels = rng.choice(5, 600, p=[0.05, 0.1, 0.15, 0.3, 0.4])
    return 0.15 + 0.02 * labels + rng.normal(0, 0.03, 600), labels


def test_every_method_reports_what_it_reaches_and_survives_json(pairs):
    similarity, labels = pairs
    for method in METHODS:
        model = fit(method, similarity, labels)
        expected = f1_score(labels, model.predict(similarity), average="macro", zero_division=0)
        assert model.train_score == pytest.approx(expected)
        assert SimilarityModel.from_dict(json.loads(json.dumps(model.as_dict()))) == model
    assert SYSTEMS == ("similarity-simple", "similarity-search", "similarity-exact")


def test_exact_is_best_in_its_objective(pairs):
    similarity, labels = pairs
    by_f1, by_mae = fit("exact", similarity, labels), fit("exact", similarity, labels, "mae")
    assert by_f1.train_score >= fit("search", similarity, labels).train_score
    assert by_mae.train_score == pytest.approx(mean_absolute_error(labels, by_mae.predict(similarity)))
    assert by_mae.train_score < mean_absolute_error(labels, by_f1.predict(similarity))


def test_unknown_names_are_refused_with_the_known_ones(pairs):
    with pytest.raises(InputError, match="expected one of simple, search, exact"):
        fit("magic", *pairs)
    with pytest.raises(InputError, match="expected one of macro-f1, accuracy, mae, qwk"):
        fit("exact", *pairs, "f2")
