"""Training seeds, and the spread of metrics over them."""

import statistics

import pytest
from scipy.stats import ttest_1samp

from consistency.evaluation.seeds import Spread, Trainings, training_seeds


def test_the_spread_is_that_of_statistics_and_its_interval_that_of_a_t_test() -> None:
    values = [0.61, 0.64, 0.58, 0.66, 0.60]
    spread = Spread.of(values)
    assert spread.mean == pytest.approx(statistics.fmean(values))
    assert spread.deviation == pytest.approx(statistics.stdev(values))
    interval = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (spread.low, spread.high) == pytest.approx((interval.low, interval.high))


def test_redrawn_splits_share_rows_so_the_interval_of_the_mean_is_wider() -> None:
    """Nadeau and Bengio's corrected variance, as the corrected resampled t-test has it."""
    values = [0.61, 0.64, 0.58, 0.66, 0.60]
    plain, corrected = Spread.of(values), Spread.of(values, overlap=0.25)
    assert (corrected.mean, corrected.deviation) == (plain.mean, plain.deviation)
    variance = statistics.variance(values) * (1 / 5 + 1 / 4)
    assert corrected.high - corrected.mean == pytest.approx(2.776445 * variance**0.5, rel=1e-5)  # t with 4 degrees
    assert corrected.high - corrected.low == pytest.approx(1.5 * (plain.high - plain.low))  # 1.5 = sqrt(0.45 / 0.2)

    metrics = tuple({"mae": value} for value in values)
    trainings = Trainings("heads", (1, 2, 3, 4, 5), metrics, overlap=0.25)
    assert trainings.spread("mae") == corrected
    assert trainings.as_dict()["redrawn_split"] is True


def test_the_note_says_whether_splits_were_redrawn() -> None:
    metrics = ({"mae": 1.0}, {"mae": 2.0})
    assert Trainings("heads", (42, 7), metrics).note == (
        "trained 2 times on the same split (seeds.csv); the other results and the weights are those of seed 42, "
        "and no figure says what another split would change"
    )
    assert Trainings("heads-post", (42, 7), (metrics[0], metrics[0])).note == (
        "trained 2 times on the same split (seeds.csv), always with the same metrics: the seed changes nothing in this "
        "system; --redraw-split shows what another split would change"
    )
    assert Trainings("heads", (42, 7), metrics, overlap=0.25).note == (
        "trained 2 times, each on its own split (seeds.csv): the interval of the mean allows for the rows that the "
        "splits share; the other results and the weights are those of seed 42"
    )


def test_the_first_seed_is_the_one_given_and_fewer_seeds_are_the_beginning_of_more() -> None:
    seeds = training_seeds(42, 8)
    assert seeds[0] == 42
    assert [training_seeds(42, n) for n in range(1, 9)] == [seeds[:n] for n in range(1, 9)]


def test_neighbouring_seeds_share_no_training() -> None:
    drawn = [seed for start in range(50) for seed in training_seeds(start, 20)]
    assert len(set(drawn)) == len(drawn)


def test_a_metric_undefined_for_one_training_has_no_spread() -> None:
    trainings = Trainings("heads", (42, 7), ({"qwk": None, "mae": 1.0}, {"qwk": 0.5, "mae": 2.0}))
    assert trainings.spread("qwk") is None
    assert trainings.as_dict() == {
        "system": "heads",
        "seeds": [42, 7],
        "redrawn_split": False,
        "metrics": {
            "qwk": None,
            "mae": {
                "mean": 1.5,
                "deviation": pytest.approx(0.5**0.5),
                "low": pytest.approx(-4.8531, abs=1e-4),  # 1.5 - 12.7062 / 2
                "high": pytest.approx(7.8531, abs=1e-4),
            },
        },
    }
