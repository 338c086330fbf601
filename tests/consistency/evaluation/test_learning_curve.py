"""Learning curves: which images are drawn, the law, and what it expects of twice as many images."""

import numpy as np
import pytest
from scipy.stats import linregress

from consistency.errors import DataError
from consistency.evaluation.learning_curve import Law, curve_sizes, drawn_order
from tests.builders.curves import curve_of

SIZES = (18, 36, 72, 144)


def test_every_size_is_twice_the_one_before() -> None:
    assert curve_sizes(144) == SIZES
    assert curve_sizes(24) == (3, 6, 12, 24)
    with pytest.raises(DataError, match="^23 training images are too few for a learning curve: it needs at least 24$"):
        curve_sizes(23)


def test_draws_order_all_images_each_in_its_own_way() -> None:
    images = np.array([f"{n % 40}.png" for n in range(300)], dtype=object)
    orders = [tuple(drawn_order(images, draw=draw, seed=seed)) for seed in (41, 42, 43) for draw in range(1, 6)]
    assert len(set(orders)) == 15
    assert all(sorted(order) == sorted(set(images)) for order in orders)
    assert tuple(drawn_order(images[::-1], draw=2, seed=42)) == orders[6]
    first = [order[0] for seed in range(400) for order in [drawn_order(images, draw=1, seed=seed)]]
    assert max(first.count(image) for image in set(images)) < 30  # 10 expected of each


def test_the_law_is_the_regression_on_the_fourth_root() -> None:
    values = [0.41, 0.50, 0.52, 0.57]
    line = linregress(1 / np.sqrt(np.sqrt(SIZES)), values)
    law = Law.of(SIZES, values)
    assert (law.a, law.b) == pytest.approx((line.intercept, line.slope))
    assert law.at(16) == pytest.approx(line.intercept + line.slope / 2)
    assert law.at(10**12) == pytest.approx(law.a, abs=1e-3)


def test_twice_as_many_images_are_expected_with_the_error_at_the_largest_size() -> None:
    """Means that follow the law exactly but for the largest size, which lies 0.03 below it."""
    means = [0.9 - n**-0.25 for n in SIZES]
    means[3] -= 0.03
    curve = curve_of({size: [mean - 0.1, mean + 0.1] for size, mean in zip(SIZES, means, strict=True)})
    ahead = curve.extrapolation("qwk")
    assert ahead is not None
    assert ahead.images == 288
    assert ahead.error == pytest.approx(0.03)
    line = linregress(np.array(SIZES) ** -0.25, means)
    assert ahead.value == pytest.approx(line.intercept + line.slope * 288**-0.25)
    spread = curve.spread("qwk", 18)
    assert spread is not None
    assert (spread.mean, spread.deviation) == pytest.approx((means[0], 0.2 / 2**0.5))
    assert (curve.sizes, curve.rows(72)) == (SIZES, 720)


def test_a_metric_that_a_draw_does_not_define_is_not_extrapolated() -> None:
    curve = curve_of({18: [None, 0.5], 36: [0.4, 0.6], 72: [0.5, 0.7], 144: [0.66, 0.68]})
    assert curve.extrapolation("qwk") is None
    assert curve.spread("qwk", 18) is None
    assert curve.spread("qwk", 36) is not None
    found = curve.as_dict()
    assert (found["images"], found["draws"], found["expected_at"]) == ([18, 36, 72, 144], 2, 288)
    assert found["metrics"]["qwk"]["mean"] == [None, *map(pytest.approx, (0.5, 0.6, 0.67))]
    assert found["metrics"]["qwk"]["expected"] is None
