"""Evaluated predictions: metrics, intervals over clusters, and what two-way intervals cross them with."""

from dataclasses import replace

import numpy as np
import pytest

from consistency.evaluation.intervals import bootstrap_intervals
from consistency.evaluation.metrics import METRICS, evaluate
from consistency.evaluation.results import Predictions, evaluate_predictions
from tests.builders.answers import random_rows


def predictions(hashtags: list[str]) -> Predictions:
    scores, predicted, values, probabilities, images = random_rows(7, len(hashtags), 12)
    return Predictions(
        system="heads",
        backbone="tiny",
        protocol="grouped",
        split="test",
        rows=np.arange(1, len(hashtags) + 1),
        images=images,
        hashtags=np.array(hashtags, dtype=object),
        scores=scores,
        predicted=predicted,
        values=values,
        probabilities=probabilities,
        clusters=np.array([int(image[:-4]) for image in images]),
    )


def test_the_entry_of_metrics_json_holds_all_figures() -> None:
    p = predictions([f"#{number % 9}" for number in range(120)])
    result = evaluate_predictions(p)
    columns = p.scores, p.predicted, p.values, p.probabilities
    assert result.metrics == evaluate(*columns)
    assert result.ci95 == bootstrap_intervals(*columns, p.clusters)
    entry = result.as_entry()
    assert (entry["system"], entry["split"], entry["n"]) == ("heads", "test", 120)
    assert tuple(entry["metrics"]) == tuple(entry["ci95"]) == METRICS


def test_two_way_intervals_cross_images_with_hashtags_by_identity() -> None:
    plain = [f"tag{number % 9}" for number in range(120)]
    spelled = [f"#{tag.upper()}" if number % 2 else tag for number, tag in enumerate(plain)]
    p = predictions(plain)
    columns = p.scores, p.predicted, p.values, p.probabilities
    found = evaluate_predictions(p, two_way=True)
    assert found.ci95 == bootstrap_intervals(*columns, p.clusters, crossed=p.hashtags)
    assert found.ci95 != evaluate_predictions(p).ci95
    assert evaluate_predictions(predictions(spelled), two_way=True).ci95 == found.ci95


def test_two_way_intervals_cross_hashtags_with_images_where_hashtags_were_held_out() -> None:
    p = predictions([f"tag{number % 9}" for number in range(120)])
    by_hashtag = replace(p, clusters=np.arange(120) % 9)
    found = evaluate_predictions(by_hashtag, two_way=True).ci95
    expected = evaluate_predictions(p, two_way=True).ci95
    for name, ends in expected.items():
        assert found[name] == pytest.approx(ends, abs=1e-12)
