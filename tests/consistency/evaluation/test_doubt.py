"""Doubt is that of a plain loop, and the precision of a ranking is counted and resampled over images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from consistency.evaluation.doubt import doubts, precision_at_moved, ranking


@st.composite
def judged(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, 5), often with ties, and labels (n,)."""
    n = draw(st.integers(1, 12))
    counts = [draw(st.lists(st.integers(0, 4), min_size=5, max_size=5).filter(any)) for _ in range(n)]
    labels = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    return np.array([[c / sum(row) for c in row] for row in counts]), np.array(labels, dtype=np.int64)


@given(judged())
def test_doubts_are_those_of_a_plain_loop(case: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = case
    doubt, suggested = doubts(probabilities, labels)
    for p, y, found, better in zip(probabilities, labels, doubt, suggested, strict=True):
        margins = {k: (p[k] - p[y]) / abs(k - y) for k in range(5) if k != y}
        assert found == max(margins.values())
        assert better == min(k for k, margin in margins.items() if margin == found)
        assert -1 <= found <= 1
        assert (found > 0) == bool(p.max() > p[y])


@given(judged())
def test_ranking_is_a_stable_sort(case: tuple[np.ndarray, np.ndarray]) -> None:
    doubt, _ = doubts(*case)
    assert ranking(doubt).tolist() == sorted(range(len(doubt)), key=lambda row: (-doubt[row], row))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_planted_slips_come_first(seed: int) -> None:
    """Judges that mostly know the truth put moved labels before the others, far above chance."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, 400)
    probabilities = 0.7 * np.eye(5)[truth] + 0.3 * rng.dirichlet(np.ones(5), 400)
    labels = truth.copy()
    moved = rng.choice(400, 60, replace=False)
    labels[moved] = np.where(truth[moved] == 4, 3, truth[moved] + 1)
    doubt, suggested = doubts(probabilities, labels)
    assert set(ranking(doubt)[:60]) == set(moved)
    assert np.array_equal(suggested[moved], truth[moved])


def test_precision_is_counted_and_resampled_over_images() -> None:
    rng = np.random.default_rng(3)
    n = 60
    doubt, moved = rng.normal(size=n), rng.random(n) < 0.3
    images = np.array([f"{i}.png" for i in rng.integers(0, 9, n)], dtype=object)
    found = precision_at_moved(doubt, moved, images, resamples=40, seed=5)
    assert found is not None
    count = int(moved.sum())
    top = sorted(range(n), key=lambda row: -doubt[row])[:count]
    assert (found.n, found.moved, found.found) == (n, count, sum(moved[top]))
    assert found.precision == found.found / count
    assert found.chance == count / n

    draws = np.random.default_rng(5)
    names, precisions = list(dict.fromkeys(images)), []
    for _ in range(40):
        rows = [row for name in draws.integers(0, 9, 9) for row in np.flatnonzero(images == names[name])]
        cut = int(moved[rows].sum())
        rows = sorted(rows, key=lambda row: -doubt[row])[:cut]
        precisions.append(moved[rows].mean())
    z0 = stats.norm.ppf(np.mean([(p < found.precision) + (p == found.precision) / 2 for p in precisions]))
    m = n**2 / sum(np.sum(images == name) ** 2 for name in names)
    z = stats.t.ppf(0.975, m - 1) * (m / (m - 1)) ** 0.5
    expected = np.percentile(precisions, 100 * stats.norm.cdf([2 * z0 - z, 2 * z0 + z]))
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_one_image_gives_no_precision() -> None:
    with pytest.raises(ValueError, match="one image"):
        precision_at_moved(np.arange(4.0), np.arange(4) < 2, np.full(4, "a", dtype=object))


def test_without_moved_labels_there_is_no_precision() -> None:
    nothing = np.zeros(4, dtype=bool)
    assert precision_at_moved(np.arange(4.0), nothing, np.array(list("abcd"), dtype=object)) is None
