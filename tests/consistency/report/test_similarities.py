"""Histograms of similarity count the rows of the run."""

import json
from pathlib import Path

import numpy as np
import pytest

from consistency.report.similarities import BINS, read_histogram
from consistency.runs.read import read_run
from tests.builders.results import make_result, write_run


def test_counts_and_places(tmp_path: Path) -> None:
    result = make_result("similarity-exact", n=300, probabilities=False)
    run = write_run(tmp_path / "run", [make_result("majority", n=300), result])
    p = result.predictions
    low, high = float(p.values.min()), float(p.values.max())
    middle = (low + high) / 2
    (run / "thresholds.json").write_text(json.dumps({"similarity-exact": {"thresholds": [low - 1, low, middle, high]}}))
    found = read_histogram(read_run(run))
    assert found is not None
    assert (found.run, found.backbone, found.about) == ("run", "tiny", "protocol grouped, 300 rows")
    assert found.cuts == {"exact": (None, 0.0, pytest.approx(0.5), 1.0)}
    for score, rows, heights in found.shares:
        counts = np.histogram(p.values[p.scores == score], BINS, (low, high))[0]
        assert (rows, len(heights)) == (counts.sum(), BINS)
        assert heights == pytest.approx(counts / counts.max())


def test_equal_similarities_and_no_thresholds(tmp_path: Path) -> None:
    result = make_result("similarity-simple", probabilities=False)
    result.predictions.values[:] = 0.25
    run = write_run(tmp_path / "run", [result])
    assert read_histogram(read_run(run)) is None
    (run / "thresholds.json").write_text('{"similarity-simple": {"thresholds": [0.2, 0.4, 0.6, 0.8]}}')
    found = read_histogram(read_run(run))
    assert found is not None
    assert (found.low, found.high) == (-0.25, 0.75)
