"""The bins of reliability diagrams and their intervals, against plain loops."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t

from consistency.evaluation.reliability import equal_mass_bins, reliability
from tests.builders.answers import random_rows


def plain_bins(confidence: npt.NDArray[np.float64]) -> list[list[int]]:
    """Rows in order of confidence, cut where a bin is full and the next row differs."""
    n = len(confidence)
    wanted = max(1, min(5, n // 20))
    order = sorted(range(n), key=lambda row: confidence[row])
    bins: list[list[int]] = [[]]
    for place, row in enumerate(order, start=1):
        bins[-1].append(row)
        before = place - len(bins[-1])
        full = place * wanted // n > before * wanted // n and len(bins[-1]) >= 20
        if full and n - place >= 20 and confidence[order[place]] != confidence[row]:
            bins.append([])
    return bins


@settings(deadline=None, max_examples=80)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 700), digits=st.sampled_from([1, 2, 15]))
def test_bins_of_equal_mass(seed: int, n: int, digits: int) -> None:
    confidence = np.round(np.random.default_rng(seed).uniform(0.2, 1, n), digits)  # few digits: ties
    number = equal_mass_bins(confidence)
    for b, rows in enumerate(plain_bins(confidence)):
        assert sorted(rows) == np.flatnonzero(number == b).tolist()
    sizes = np.bincount(number)
    assert len(sizes) <= 5
    assert sizes.min() >= min(20, n)
    edges = [(confidence[number == b].min(), confidence[number == b].max()) for b in range(len(sizes))]
    assert all(high < low for (_, high), (low, _) in zip(edges, edges[1:], strict=False))


@pytest.mark.parametrize(("n", "sizes"), [(1, [1]), (39, [39]), (40, [20, 20]), (100, [20] * 5), (1003, [201] * 5)])
def test_bins_without_ties_hold_equally_many_rows(n: int, sizes: list[int]) -> None:
    confidence = np.random.default_rng(0).permutation(n) / n
    assert np.bincount(equal_mass_bins(confidence)) == pytest.approx(sizes, abs=1)


def test_bins_and_intervals_by_hand() -> None:
    scores, _, _, probabilities, images = random_rows(3, 130, 25)
    found = reliability(scores, probabilities, images, resamples=300, seed=5)
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) + 1 == scores
    bins = plain_bins(top)
    assert len(found) == len(bins) == 5
    names = list(dict.fromkeys(images.tolist()))
    rng = np.random.default_rng(5)
    resamples = [[names[i] for i in rng.integers(0, len(names), len(names))] for _ in range(300)]
    for one, rows in zip(found, bins, strict=True):
        assert one.confidence == pytest.approx(top[rows].mean())
        assert one.correct == pytest.approx(right[rows].mean())
        assert one.share == pytest.approx(len(rows) / 130)
        of_image = {name: [row for row in rows if images[row] == name] for name in names}
        draws = []
        for drawn in resamples:
            taken = [right[row] for name in drawn for row in of_image[name]]
            if taken:
                draws.append(np.mean(taken))
        sizes = np.array([len(own) for own in of_image.values()])
        m = sizes.sum() ** 2 / (sizes**2).sum()
        gaps = np.array(draws) - right[rows].mean()
        below = ((gaps < -1e-9).sum() + 0.5 * (np.abs(gaps) <= 1e-9).sum()) / len(draws)
        reach = t.ppf(0.975, m - 1) * np.sqrt(m / (m - 1))
        ends = [2 * norm.ppf(below) - reach, 2 * norm.ppf(below) + reach]
        assert one.interval == pytest.approx(tuple(np.percentile(draws, 100 * norm.cdf(ends))))


def test_bins_of_one_image_and_bins_without_an_error_have_no_interval() -> None:
    scores, probabilities = np.array([1] * 40), np.full((40, 5), 0.05)
    probabilities[:20, 0], probabilities[20:, 0] = 0.7, 0.8
    scores[:5] = 2
    images = np.array([f"{row // 4}.png" for row in range(40)], dtype=object)
    unsure, sure = reliability(scores, probabilities, images)
    assert (unsure.correct, sure.correct) == (0.75, 1.0)
    assert unsure.interval is not None
    assert sure.interval is None
    assert [one.interval for one in reliability(scores, probabilities, np.array(["a.png"] * 40, dtype=object))] == [
        None,
        None,
    ]
