"""Figures of systems show the numbers of the run."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from consistency.evaluation.compare import compare
from consistency.report.paper.results import confusions, forest, reliabilities
from consistency.report.standing import Comparison
from tests.builders.results import make_result


def test_the_forest_has_every_figure_and_the_paired_difference_of_compare() -> None:
    main, other, control = make_result(seed=1), make_result("other", seed=2), make_result("majority", seed=3)
    comparison = Comparison([main, other, control])
    figure = forest(comparison, {main: "heads", other: "other", control: "majority"}, main, "qwk", 3.3)
    values, differences = figure.axes
    drawn = [line.get_xdata()[0] for line in values.lines]
    assert drawn == [result.metrics["qwk"] for result in (main, other, control)]
    assert [label.get_text() for label in values.get_yticklabels()] == ["heads", "other", "majority"]
    expected = compare([main, other], names=["heads", "other"], metrics=["qwk"])[0]
    whiskers = [c.get_segments()[0][:, 0].tolist() for c in differences.collections if isinstance(c, LineCollection)]
    assert whiskers[0] == pytest.approx([expected.low, expected.high], abs=0.02)
    assert expected.difference in [line.get_xdata()[0] for line in differences.lines]


def test_a_page_holds_three_confusion_matrices_and_a_column_one() -> None:
    results = {make_result(seed=seed): str(seed) for seed in range(4)}
    assert len(confusions(results, 3.3).axes) == 1
    assert len(confusions(results, 6.9).axes) == 3
    p = next(iter(results)).predictions
    (axis,) = confusions(results, 3.3).axes
    shares = [text.get_text() for text in axis.texts]
    fives = p.predicted[p.scores == 5]
    assert shares[20:] == [f"{100 * np.mean(fives == score):.0f}" for score in range(1, 6)]


def test_a_label_without_rows_has_dashes() -> None:
    result = make_result()
    result.predictions.scores[result.predictions.scores == 1] = 2
    (axis,) = confusions({result: "heads"}, 3.3).axes
    assert [text.get_text() for text in axis.texts[:5]] == ["–"] * 5


def test_reliability_has_at_most_five_bins_and_names_the_error() -> None:
    result = make_result(n=400)
    (axis,) = reliabilities({result: "heads"}, 3.3).axes
    assert len(axis.lines) - 1 == 5
    assert [text.get_text() for text in axis.texts] == [f"ECE = {result.metrics['ece']:.3f}"]
