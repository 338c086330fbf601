"""Figures of data: errors by hashtag against plain loops, thresholds, curves, kappas."""

from dataclasses import replace

import numpy as np
import pytest

from consistency.evaluation.agreement import all_pairs
from consistency.report.hashtags import hashtag_errors
from consistency.report.paper.data import agreements, funnel, learning_curves, similarities
from consistency.report.paper.style import find_fonts
from tests.builders.curves import curve_of
from tests.builders.results import make_result


def test_only_hashtags_of_some_rows_beyond_the_limits_are_numbered() -> None:
    p = make_result(n=300).predictions
    tags = np.array([f"#{row % 50}" for row in range(300)], dtype=object)
    p.predicted[:], tags[:4], tags[4] = p.scores, "#far", "#once"
    p.scores[:5], p.predicted[:5] = 1, 5
    found = hashtag_errors(replace(p, hashtags=tags))
    assert [(each.hashtag, each.number) for each in found if each.number] == [("#far", 1)]
    (axis,) = funnel(replace(p, hashtags=tags), found, find_fonts(), 6.9).axes
    assert [text.get_text() for text in axis.texts] == ["#far"]


def test_all_answers_right_is_a_flat_funnel() -> None:
    p = make_result().predictions
    found = hashtag_errors(replace(p, predicted=p.scores))
    assert {(each.error, each.z, each.number) for each in found} == {(0.0, 0.0, 0)}
    assert funnel(replace(p, predicted=p.scores), found, find_fonts(), 3.3).axes


def test_similarities_have_the_thresholds_of_every_method() -> None:
    p = make_result().predictions
    above, below = similarities(p, {"similarity-simple": (1, 2, 3, 4), "similarity-exact": (1.5, 2, 2.5, 4)}, 3.3).axes
    assert [line.get_xdata().tolist() for line in below.lines] == [[1, 2, 3, 4], [1.5, 2, 2.5, 4]]
    assert [label.get_text() for label in below.get_yticklabels()] == ["simple", "exact"]
    assert [label.get_text() for label in above.get_yticklabels()] == [
        f"{score} (n={(p.scores == score).sum()})" for score in range(1, 6)
    ]


def test_a_learning_curve_over_images() -> None:
    curve = curve_of({6: [0.2, 0.3], 12: [0.4, 0.5], 24: [0.6, 0.6]})
    assert len(learning_curves(curve, 3.3).axes) == 2
    axes = learning_curves(curve, 6.9).axes
    assert len(axes) == 4
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["6", "12", "24"]
    means = axes[0].containers[0][0]
    assert means.get_ydata().tolist() == pytest.approx([0.25, 0.45, 0.6])


def test_agreement_has_both_halves_and_their_intervals() -> None:
    scores = np.random.default_rng(0).integers(1, 6, (60, 3))
    names = ("Score", "human_1", "human_2")
    pairs = all_pairs(names, scores, np.array([f"i{row // 5}" for row in range(60)], dtype=object))
    (axis,) = agreements(names, pairs, 6.9).axes
    first = pairs[0]
    low, high = first.ci95["kappa_quadratic"] or (np.nan, np.nan)
    cell = f"{first.figures['kappa_quadratic']:.2f}\n[{low:.2f}, {high:.2f}]\nn=60"
    assert [text.get_text() for text in axis.texts].count(cell) == 2
    assert len(axis.texts) == 9
