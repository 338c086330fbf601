"""Errors by hashtag against plain loops and scipy's interval."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from consistency.data.hashtags import hashtag_identity
from consistency.report.hashtags import hashtag_errors
from tests.builders.results import make_result


def test_errors_by_hashtag() -> None:
    p = make_result(n=200).predictions
    p = replace(p, hashtags=np.array([f"{'#' * (row % 2)}태그{row % 7}" for row in range(200)], dtype=object))
    error = [int(guess) - int(score) for guess, score in zip(p.predicted, p.scores, strict=True)]
    found = hashtag_errors(p)
    assert len(found) == 7  # with and without a number sign it is one hashtag
    for each in found:
        own = [
            e
            for e, tag in zip(error, p.hashtags, strict=True)
            if hashtag_identity(tag) == hashtag_identity(each.hashtag)
        ]
        assert (each.n, each.error) == (len(own), pytest.approx(np.mean(own)))
        assert each.z == pytest.approx((np.mean(own) - np.mean(error)) / np.std(error, ddof=1) * len(own) ** 0.5)
    assert [abs(each.z) for each in found] == sorted((abs(each.z) for each in found), reverse=True)


def test_an_interval_needs_eight_rows_and_errors_that_differ() -> None:
    p = make_result(n=40).predictions
    tags = np.array(["#many"] * 20 + ["#few"] * 7 + ["#right"] * 13, dtype=object)
    p.predicted[27:] = p.scores[27:]
    found = {each.hashtag: each for each in hashtag_errors(replace(p, hashtags=tags), {"#few"})}
    errors = (p.predicted - p.scores)[:20]
    low, high = t.interval(0.95, 19, errors.mean(), errors.std(ddof=1) / 20**0.5)
    assert found["#many"].interval == pytest.approx((low, high))
    assert (found["#few"].interval, found["#right"].interval) == (None, None)
    assert [tag for tag, each in found.items() if each.unfamiliar] == ["#few"]
    assert found["#many"].predicted - found["#many"].label == pytest.approx(found["#many"].error)
