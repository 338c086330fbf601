"""Thresholds: the published search literally, and the optimum against exhaustive search."""

import warnings
from itertools import combinations, combinations_with_replacement, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, mean_absolute_error

from heads import thresholds
from heads.thresholds import (
    OBJECTIVES,
    SIMPLE,
    apply_thresholds,
    describe_quantiles,
    exact_thresholds,
    published_search,
    score,
)


def example(n, *, seed, spread=0.05):
    rng = np.random.default_rng(seed)
    labels = rng.choice(5, n, p=[0.04, 0.1, 0.16, 0.27, 0.43])
    return np.clip(0.2 + 0.03 * labels + rng.normal(0, spread, n), -1, 1), labels


def figure(objective, labels, predicted):
    """As scikit-learn has it, higher is better; kappa is 0 where it has none, distances are those of the classes."""
    if objective == "macro-f1":
        return f1_score(labels, predicted, average="macro", zero_division=0)
    if objective == "accuracy":
        return accuracy_score(labels, predicted)
    if objective == "mae":
        return -mean_absolute_error(labels, predicted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kappa = cohen_kappa_score(labels, predicted, weights="quadratic", labels=[0, 1, 2, 3, 4])
    return 0.0 if np.isnan(kappa) else kappa


def test_a_class_is_the_number_of_thresholds_at_or_below_the_value():
    classes = apply_thresholds([-1, 0.2, 0.39, 0.4, 0.8, 1], SIMPLE)
    assert classes.tolist() == [0, 1, 1, 2, 4, 4]
    assert classes.dtype == np.int64


@pytest.mark.parametrize("seed", range(4))
def test_score_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, 5, 40), rng.integers(0, 3, 40)
    for objective in OBJECTIVES:
        sign = -1 if objective == "mae" else 1
        assert score(objective, labels, predicted) == pytest.approx(sign * figure(objective, labels, predicted))


def drawn_candidates():
    np.random.seed(42)  # noqa: NPY002 the published script's own generator
    return sorted(np.random.uniform(0.05, 0.95, 100))  # noqa: NPY002


@pytest.mark.parametrize(("n", "distinct"), [(150, 100), (60, 12), (7, 3), (60, None)])
def test_published_search_is_the_literal_one_ties_included(n, distinct):
    """Without `distinct`, every value is one of the candidates: it belongs to the class above."""
    values, labels = example(n, seed=n, spread=0.2)
    candidates = drawn_candidates()
    if distinct is None:
        values = np.array(candidates)[np.searchsorted(candidates, values).clip(0, 99)]
    else:
        values = np.round(values * distinct) / distinct
    best, best_f1, known = None, -1.0, {}
    for combination in islice(combinations(candidates, 4), 5000):
        predicted = np.array([sum(value >= t for t in combination) for value in np.unique(values)])
        predicted = predicted[np.searchsorted(np.unique(values), values)]
        key = predicted.tobytes()
        if key not in known:
            known[key] = f1_score(labels, predicted, average="macro")
        if known[key] > best_f1:
            best, best_f1 = combination, known[key]
    assert published_search(values, labels).tolist() == list(best)


def test_a_threshold_between_neighbouring_floats_separates_them():
    below = 0.5
    values, labels = [below, np.nextafter(below, 1)], np.array([0, 4])
    for objective in OBJECTIVES:
        assert apply_thresholds(values, exact_thresholds(values, labels, objective)).tolist() == [0, 4]


def test_quantiles_of_many_values_are_narrow_enough_for_rare_classes():
    """Of 25,000 distinct values the optimum separates all classes, the smallest of 60 rows."""
    labels = np.repeat(np.arange(5), [60, 90, 150, 12_000, 12_700])
    found = exact_thresholds(np.arange(len(labels)), labels, "macro-f1")
    assert f1_score(labels, apply_thresholds(np.arange(len(labels)), found), average="macro") > 0.97


@st.composite
def small_cases(draw):
    n = draw(st.integers(1, 9))
    values = draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n))
    among = draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    labels = draw(st.lists(st.sampled_from(among), min_size=n, max_size=n))
    return np.array(values) / 7, np.array(labels)


@settings(max_examples=120, deadline=None)
@given(small_cases(), st.sampled_from(OBJECTIVES))
def test_no_thresholds_beat_the_exact_ones(case, objective):
    values, labels = case
    distinct = np.unique(values)
    places = np.concatenate([[distinct[0] - 1], (distinct[1:] + distinct[:-1]) / 2, [distinct[-1] + 1]])
    # Predictions repeat from one choice of thresholds to the next: scikit-learn is asked once about each.
    predictions = {tuple(apply_thresholds(values, t)) for t in combinations_with_replacement(places, 4)}
    best = max(score(objective, labels, np.array(p)) * (-1 if objective == "mae" else 1) for p in predictions)
    found = exact_thresholds(values, labels, objective)
    assert (np.diff(found) >= 0).all()
    assert figure(objective, labels, apply_thresholds(values, found)) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_exact_is_never_below_the_published_search(objective):
    for seed in range(3):
        values, labels = example(500, seed=seed)
        found = figure(objective, labels, apply_thresholds(values, exact_thresholds(values, labels, objective)))
        searched = figure(objective, labels, apply_thresholds(values, published_search(values, labels)))
        assert found >= searched - 1e-12


def test_thresholds_lie_midway_and_order_survives_rescaling():
    values, labels = np.array([0.1, 0.2, 0.4, 0.5, 0.9]), np.arange(5)
    assert exact_thresholds(values, labels).tolist() == pytest.approx([0.15, 0.3, 0.45, 0.7])
    many, their_labels = example(300, seed=5)
    once = apply_thresholds(many, exact_thresholds(many, their_labels))
    scaled = apply_thresholds(1000 * many - 3, exact_thresholds(1000 * many - 3, their_labels))
    assert (once == scaled).all()


def test_values_without_a_number_between_them_are_still_told_apart():
    values = np.array([0.3, np.nextafter(0.3, 1)])
    labels = np.array([1, 3])
    assert apply_thresholds(values, exact_thresholds(values, labels)).tolist() == [1, 3]


def test_many_distinct_values_are_binned_at_little_loss(monkeypatch):
    values, labels = example(3000, seed=1)
    exact = figure("macro-f1", labels, apply_thresholds(values, exact_thresholds(values, labels)))
    monkeypatch.setattr(thresholds, "EXACT_LIMIT", 1000)
    monkeypatch.setattr(thresholds, "BINS", 500)
    binned = figure("macro-f1", labels, apply_thresholds(values, exact_thresholds(values, labels)))
    assert exact - 0.005 < binned <= exact


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match="finite values with a label each"):
        exact_thresholds([0.1, np.nan], np.array([0, 1]))
    with pytest.raises(ValueError, match=r"got \(0,\) and \(0,\)"):
        exact_thresholds([], np.array([], dtype=np.int64))


def test_many_values_are_said_to_be_quantiles() -> None:
    values = np.random.default_rng(0).normal(size=20_001)
    line = "thresholds: the best among 4,096 quantiles of 20,001 distinct similarities"
    assert describe_quantiles(values, "macro-f1") == line
    assert describe_quantiles(np.r_[values[:20_000], values[:100]], "macro-f1") is None
    assert describe_quantiles(values, "mae") is None
