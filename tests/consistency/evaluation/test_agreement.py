"""Agreement against scikit-learn, the package krippendorff, and a bootstrap written out."""

import krippendorff
import numpy as np
import pytest
from scipy.stats import norm, t
from sklearn.metrics import cohen_kappa_score

from consistency.evaluation.agreement import (
    PAIR_FIGURES,
    all_pairs,
    alpha_of,
    ceiling_of,
    coincidence_counts,
    ordinal_alpha,
    pair_agreement,
)
from consistency.scale import DISTANCE

LABELS = [1, 2, 3, 4, 5]
TABLES = 100  # `-m slow` compares ten times as many


def random_table(rng: np.random.Generator) -> np.ndarray:
    """Scores (n, k) with some missing: raters who follow a common truth more or less, perhaps of a few scores only."""
    n, k, width = int(rng.integers(2, 40)), int(rng.integers(2, 6)), int(rng.integers(1, 6))
    truth = rng.integers(1, width + 1, (n, 1))
    scores = np.clip(truth + rng.integers(-1, 2, (n, k)) * (rng.random((n, k)) < rng.random()), 1, 5)
    return np.where(rng.random((n, k)) < 0.8 * rng.random(), 0, scores)


def compare_with_packages(tables: int, seed: int) -> None:
    rng, defined = np.random.default_rng(seed), 0
    for _ in range(tables):
        scores = random_table(rng)
        there = scores[(scores > 0).sum(axis=1) >= 2]
        found = float(ordinal_alpha(coincidence_counts(there).sum(axis=0)))
        if len(np.unique(there[there > 0])) > 1:
            data = np.where(scores > 0, scores.astype(float), np.nan).T
            expected = krippendorff.alpha(data, level_of_measurement="ordinal", value_domain=LABELS)
            assert found == pytest.approx(expected, abs=1e-9)
            defined += 1
        else:
            assert np.isnan(found)
        one, other = scores[:, 0], scores[:, 1]
        both = (one > 0) & (other > 0)
        clusters = np.array(["one image"] * len(scores), dtype=object)
        figures = pair_agreement("a", "b", one, other, clusters).figures
        if not both.any() or len(np.unique(np.append(one[both], other[both]))) == 1:
            assert figures["kappa_linear"] is None
            continue
        for name, weights in (("unweighted", None), ("linear", "linear"), ("quadratic", "quadratic")):
            expected = cohen_kappa_score(one[both], other[both], labels=LABELS, weights=weights)
            assert figures[f"kappa_{name}"] == pytest.approx(expected, abs=1e-9)
        assert figures["agreement"] == pytest.approx((one == other)[both].mean())
        assert figures["within_one"] == pytest.approx((abs(one - other) <= 1)[both].mean())
    assert defined > 0.7 * tables


def test_random_tables_agree_with_the_packages() -> None:
    compare_with_packages(TABLES, seed=0)


@pytest.mark.slow
def test_many_random_tables_agree_with_the_packages() -> None:
    compare_with_packages(10 * TABLES, seed=1)


def test_krippendorffs_own_example() -> None:
    """Four observers and twelve units, with an ordinal alpha of 0.815 (Krippendorff 2011, section D)."""
    example = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
            [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
        ]
    ).T
    found = alpha_of(example, np.array([str(n) for n in range(12)], dtype=object))
    assert found.value == pytest.approx(0.815, abs=5e-4)
    assert (found.n, found.images) == (11, 11)


def panel(seed: int, images: int = 60, rows: int = 5, raters: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Raters who see the truth, or with 0.3 a random score: kappas of any two are 0.49 on average."""
    rng = np.random.default_rng(seed)
    n = images * rows
    truth = rng.integers(1, 6, (n, 1))
    scores = np.where(rng.random((n, raters)) < 0.3, rng.integers(1, 6, (n, raters)), truth)
    return scores, np.repeat([f"{number}.png" for number in range(images)], rows).astype(object)


def test_a_simulated_panel_recovers_its_kappa_and_alpha() -> None:
    scores, images = panel(3)
    for pair in all_pairs(("a", "b", "c"), scores, images):
        assert (pair.n, pair.images) == (300, 60)
        for name in PAIR_FIGURES[:3]:
            low, high = pair.ci95[name]  # type: ignore[misc]
            assert low < 0.49 < high
        assert pair.confusion.sum() == 300
    alpha = alpha_of(scores, images)
    assert alpha.ci95[0] < 0.49 < alpha.ci95[1]  # type: ignore[index]


def test_intervals_are_those_of_a_bootstrap_over_images_written_out() -> None:
    scores, images = panel(5, images=12, rows=3, raters=2)
    scores[:4, 1] = 0
    found = pair_agreement("a", "b", scores[:, 0], scores[:, 1], images)
    both = scores[:, 1] > 0
    one, other, names = scores[both, 0], scores[both, 1], images[both]
    members = [np.flatnonzero(names == name) for name in dict.fromkeys(names)]
    rng, draws = np.random.default_rng(42), []
    for _ in range(2000):
        rows = np.concatenate([members[at] for at in rng.integers(0, len(members), len(members))])
        table = np.zeros((5, 5))
        np.add.at(table, (one[rows] - 1, other[rows] - 1), 1)
        chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / len(rows)
        draws.append(1 - (table * DISTANCE).sum() / (chance * DISTANCE).sum())
    value, sizes = found.figures["kappa_linear"], np.array([len(each) for each in members])
    assert value is not None
    m = sizes.sum() ** 2 / (sizes**2).sum()
    shift = 2 * norm.ppf(np.mean(np.array(draws) < value - 1e-9) + np.mean(abs(np.array(draws) - value) <= 1e-9) / 2)
    z = t.ppf(0.975, m - 1) * np.sqrt(m / (m - 1))
    np.testing.assert_allclose(
        found.ci95["kappa_linear"], np.percentile(draws, 100 * norm.cdf([shift - z, shift + z])), atol=1e-9
    )


def test_a_system_beside_people_on_the_same_rows() -> None:
    scores, images = panel(7)
    first, noise = scores[:, 0].copy(), np.random.default_rng(0).integers(1, 6, len(scores))
    scores[:50, 1:] = 0  # one rater alone is no people
    people = ceiling_of("noise", noise, scores, images)
    assert (people.n, people.images) == (250, 50)
    columns = scores[50:].T
    pairs = [cohen_kappa_score(columns[i], columns[j], weights="quadratic") for i, j in ((0, 1), (0, 2), (1, 2))]
    assert people.people == pytest.approx(np.mean(pairs))
    model = [cohen_kappa_score(noise[50:], column, weights="quadratic") for column in columns]
    assert people.model == pytest.approx(np.mean(model))
    assert people.difference == pytest.approx(np.mean(model) - np.mean(pairs))
    assert people.ci95 is not None
    assert people.ci95[1] < 0  # below people
    among = ceiling_of("another rater", first, scores[:, 1:], images)
    assert among.ci95 is not None
    assert among.ci95[0] < 0 < among.ci95[1]


def test_one_image_has_no_interval_and_none_in_common_no_figure() -> None:
    clusters = np.array(["a.png"] * 3, dtype=object)
    alone = pair_agreement("a", "b", np.array([1, 2, 5]), np.array([1, 3, 5]), clusters)
    assert alone.figures["agreement"] == pytest.approx(2 / 3)
    assert set(alone.ci95.values()) == {None}
    apart = pair_agreement("a", "b", np.array([1, 0, 5]), np.array([0, 3, 0]), clusters)
    assert apart.n == 0
    assert set(apart.figures.values()) == {None}
    assert alpha_of(np.array([[1, 0], [0, 2]]), clusters[:2]).value is None
