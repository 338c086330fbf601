"""Intervals are those of their written recipe, and hold the truth as often as they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from benchmarks.coverage import METHODS, population, simulate, simulate_two_way
from consistency.evaluation.intervals import (
    bootstrap_intervals,
    bootstrap_metrics,
    counted_intervals,
    effective_clusters,
    interval,
    p_value,
)
from consistency.evaluation.metrics import METRICS, evaluate
from tests.builders.answers import random_rows


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 40), count=st.integers(2, 8), classes=st.integers(1, 5))
def test_quick_bootstrap_is_the_plain_loop(seed: int, n: int, count: int, classes: int) -> None:
    scores, predicted, values, probabilities, images = random_rows(seed, n, count, classes)
    images[:2] = ["first.png", "second.png"]
    quick = bootstrap_metrics(scores, predicted, values, probabilities, images, resamples=8, seed=seed)
    names = list(dict.fromkeys(images))
    rng = np.random.default_rng(seed)
    for number in range(8):
        drawn = rng.integers(0, len(names), len(names))
        rows = np.concatenate([np.flatnonzero(images == names[image]) for image in drawn])
        slow = evaluate(scores[rows], predicted[rows], values[rows], probabilities[rows])
        for name in METRICS:
            expected = np.nan if slow[name] is None else slow[name]
            np.testing.assert_allclose(quick[name][number], expected, atol=1e-12)


def test_intervals_follow_the_written_recipe() -> None:
    scores, predicted, values, probabilities, images = random_rows(3, 300, 30)
    found = bootstrap_intervals(scores, predicted, values, probabilities, images, resamples=200, seed=5)["macro_f1"]
    names = list(dict.fromkeys(images))
    rng = np.random.default_rng(5)
    figures = []
    for _ in range(200):
        rows = np.concatenate([np.flatnonzero(images == names[k]) for k in rng.integers(0, len(names), len(names))])
        figures.append(reference.f1_score(scores[rows], predicted[rows], average="macro"))
    figure = reference.f1_score(scores, predicted, average="macro")
    z0 = stats.norm.ppf(np.mean(np.array(figures) < figure))
    sizes = [np.sum(images == name) for name in names]
    m = sum(sizes) ** 2 / sum(size**2 for size in sizes)
    z = stats.t.ppf(0.975, m - 1) * (m / (m - 1)) ** 0.5
    assert found == pytest.approx(np.quantile(figures, stats.norm.cdf([2 * z0 - z, 2 * z0 + z])), abs=1e-12)


def test_resamples_do_not_depend_on_how_the_work_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(4, 200, 20)
    whole = bootstrap_metrics(*rows, resamples=300, seed=42)
    monkeypatch.setattr("consistency.evaluation.intervals._CHUNK", 1000)
    for name, figures in bootstrap_metrics(*rows, resamples=300, seed=42).items():
        np.testing.assert_allclose(figures, whole[name], atol=1e-12)


def test_intervals_hold_the_figure_and_widen_with_fewer_images() -> None:
    scores, predicted, values, probabilities, images = random_rows(5, 600, 60)
    figures = evaluate(scores, predicted, values, probabilities)
    many = bootstrap_intervals(scores, predicted, values, probabilities, images)
    for name in ("accuracy", "mae", "qwk", "macro_f1", "spearman"):
        low, high = many[name] or (np.inf, -np.inf)
        assert low < (figures[name] or 0.0) < high
    block = np.sort(images)  # rows of an image agree: fewer independent observations
    agree = np.array([int(image[:-4]) % 2 == 0 for image in block])
    scores = np.where(agree, predicted, predicted % 5 + 1)
    few = bootstrap_intervals(scores, predicted, values, None, block)["accuracy"]
    rows = bootstrap_intervals(scores, predicted, values, None, np.arange(600).astype(object))["accuracy"]
    assert few is not None
    assert rows is not None
    assert few[1] - few[0] > 2 * (rows[1] - rows[0])


def test_undefined_is_none_never_nan() -> None:
    same = np.full(4, 3)
    images = np.array(["a", "a", "b", "b"], dtype=object)
    intervals = bootstrap_intervals(same, same, np.ones(4), None, images)
    assert (intervals["qwk"], intervals["spearman"], intervals["ece"]) == (None, None, None)
    assert intervals["accuracy"] == (1.0, 1.0)
    assert interval(0.5, np.array([np.nan, np.nan]), 2.0) is None
    assert interval(None, np.array([0.5, 0.6]), 2.0) is None


def test_one_image_has_no_interval() -> None:
    scores, predicted, values, probabilities, _ = random_rows(6, 10, 1)
    images = np.array(["a"] * 10, dtype=object)
    assert set(bootstrap_intervals(scores, predicted, values, probabilities, images).values()) == {None}


def test_an_image_with_nearly_all_rows_leaves_the_widest_interval() -> None:
    draws = np.random.default_rng(0).normal(0.5, 0.1, 2000)
    images = np.array(["a"] * 100_000 + ["b"], dtype=object)
    m = effective_clusters(images)
    assert m == pytest.approx(1.00002, abs=1e-9)
    assert interval(0.5, draws, m) == (draws.min(), draws.max())
    assert p_value(0.5, draws, m) == pytest.approx(1, abs=1e-3)
    assert effective_clusters(np.array(["a", "b", "c"], dtype=object)) == pytest.approx(3)


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shift=st.floats(-3, 3),
    m=st.floats(1.5, 200),
    corrected=st.booleans(),
    step=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_p_value_is_small_exactly_if_the_interval_excludes_zero(
    seed: int, shift: float, m: float, corrected: bool, step: float
) -> None:
    """Also where many draws are level with 0, as differences in accuracy are (step > 0)."""
    draws = np.random.default_rng(seed).gamma(3.0, 1.0, 999) - 3 + shift
    if step:
        draws, shift = np.round(draws / step) * step, round(shift / step) * step
    p = p_value(shift, draws, m, corrected=corrected)
    wider, narrower = (interval(shift, draws, m, level, corrected=corrected) for level in (1 - p / 1.2, 1 - p * 1.1))
    assert wider is not None
    assert narrower is not None
    # Near the ends one draw is more than the tenth by which the levels differ.
    if p < 0.9 and all(10 <= count <= len(draws) - 10 for count in ((draws < 0).sum(), (draws <= 0).sum())):
        assert wider[0] <= 1e-9
        assert wider[1] >= -1e-9
        assert not narrower[0] <= 0 <= narrower[1]


def test_no_difference_has_p_value_one() -> None:
    assert p_value(0.0, np.zeros(100), 20.0) == pytest.approx(1)


@pytest.mark.parametrize("images", [172, 35])
def test_accuracy_and_mae_are_covered(images: int) -> None:
    """93 to 97 %, and three standard errors of 300 test sets."""
    error = 3 * np.sqrt(0.95 * 0.05 / 300)
    truth = population(images=50_000, names=["accuracy", "mae"])
    found = simulate(images, datasets=300, seed=0, truth=truth, resamples=500, methods=["ours"])
    assert len(found) == 4  # of a system, and of the difference of two
    for missed in found.values():
        assert 0.93 - error < 1 - sum(missed) < min(0.97 + error, 1)


@pytest.mark.slow
@pytest.mark.parametrize("images", [172, 35])
def test_coverage_in_full(images: int) -> None:
    truth = population(names=["accuracy", "mae", "macro_f1", "qwk"])  # Spearman would take nine tenths of the time
    found = simulate(images, datasets=1500, seed=1, truth=truth)
    covered = {key: 1 - sum(missed) for key, missed in found.items()}
    assert set(covered) == {(*key, method) for key in truth for method in METHODS}
    for subject in ("system", "difference"):
        for metric in ("accuracy", "mae"):
            assert 0.93 < covered[subject, metric, "ours"] < 0.97
        for metric in ("macro_f1", "qwk"):
            assert 0.92 < covered[subject, metric, "ours"] < 0.97
    assert covered["system", "macro_f1", "ours"] > covered["system", "macro_f1", "percentile"]


def test_a_two_way_interval_follows_the_written_recipe() -> None:
    scores, predicted, values, probabilities, images = random_rows(3, 300, 30)
    hashtags = np.random.default_rng(9).integers(0, 12, 300)
    found = bootstrap_intervals(
        scores, predicted, values, probabilities, images, crossed=hashtags, resamples=200, seed=5, names=["macro_f1"]
    )
    draws, effective = [], []
    pairs = [f"{image} {hashtag}" for image, hashtag in zip(images, hashtags, strict=True)]
    for grouping in (images, hashtags, np.array(pairs)):
        names, rng, figures = list(dict.fromkeys(grouping.tolist())), np.random.default_rng(5), []
        for _ in range(200):
            chosen = rng.integers(0, len(names), len(names))
            rows = np.concatenate([np.flatnonzero(grouping == names[k]) for k in chosen])
            figures.append(reference.f1_score(scores[rows], predicted[rows], average="macro"))
        draws.append(np.array(figures))
        sizes = np.array([np.sum(grouping == name) for name in names])
        effective.append(sizes.sum() ** 2 / (sizes**2).sum())
    by_image, by_hashtag, by_pair = (part.var() for part in draws)
    wider = draws[0] if by_image > by_hashtag else draws[1]
    stretch = np.sqrt(max(by_image + by_hashtag - by_pair, wider.var()) / wider.var())
    m = min(effective[:2])
    z0 = stats.norm.ppf(np.mean(wider < reference.f1_score(scores, predicted, average="macro")))
    z = stretch * stats.t.ppf(0.975, m - 1) * (m / (m - 1)) ** 0.5
    assert list(found) == ["macro_f1"]
    assert found["macro_f1"] == pytest.approx(np.quantile(wider, stats.norm.cdf([2 * z0 - z, 2 * z0 + z])), abs=1e-12)


def test_a_second_grouping_equal_to_the_first_changes_nothing() -> None:
    rows = random_rows(4, 200, 20)
    once, twice = (bootstrap_intervals(*rows, crossed=crossed, resamples=100) for crossed in (None, rows[-1]))
    for name, ends in once.items():
        assert twice[name] == pytest.approx(ends, abs=1e-12)
    assert set(bootstrap_intervals(*rows, crossed=np.zeros(200), resamples=100).values()) == {None}


def test_two_way_intervals_hold_the_truth_where_hashtags_have_effects() -> None:
    """About 95 % of 60 small test sets, of which intervals over images alone hold fewer."""
    found = simulate_two_way(35, datasets=60, seed=2)
    for name in ("accuracy", "mae"):
        assert found[name, "two-way"] >= found[name, "image"]
        assert found[name, "two-way"] > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 60)


def test_intervals_from_counted_rows_are_those_from_the_rows() -> None:
    scores, predicted, values, probabilities, clusters = random_rows(5, 60, 9, 5)
    _, index = np.unique(clusters, return_inverse=True)
    order = np.argsort(np.unique(clusters, return_index=True)[1])  # in the order of their first rows
    cells = np.zeros((len(order), 25), dtype=np.int64)
    np.add.at(cells, (np.argsort(order)[index], (scores - 1) * 5 + predicted - 1), 1)
    found = counted_intervals(evaluate(scores, predicted, values, None), cells)
    expected = bootstrap_intervals(scores, predicted, values, None, clusters)
    assert found.pop("spearman") is None
    assert expected.pop("spearman") is not None
    assert found == expected
    assert set(counted_intervals(evaluate(scores, predicted, values, None), cells[:1]).values()) == {None}
