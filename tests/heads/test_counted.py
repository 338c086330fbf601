"""Thresholds from counted values equal those from the values."""

from collections.abc import Iterator

import numpy as np
import pytest

from consistency.scale import Floats, Ints
from heads import counted as module
from heads.counted import fit_counted
from heads.similarity import fit
from heads.thresholds import OBJECTIVES, Objective

METHODS = ("simple", "search", "exact")


def parts(values: Floats, labels: Ints, size: int) -> Iterator[tuple[Floats, Ints]]:
    distinct, which = np.unique(values, return_inverse=True)
    counts = np.zeros((len(distinct), 5), np.int64)
    np.add.at(counts, (which, labels), 1)
    for start in range(0, len(distinct), size):
        yield distinct[start : start + size], counts[start : start + size]


def drawn(seed: int, n: int, levels: int) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, n)
    return np.round(np.clip(labels / 5 + rng.normal(0, 0.2, n), -1, 1) * levels) / levels, labels


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("size", "levels"), [(1000, 50), (3, 50), (1, 4)])
def test_thresholds_equal_those_in_memory(objective: Objective, size: int, levels: int) -> None:
    values, labels = drawn(levels, 200, levels)
    models, note = fit_counted(METHODS, lambda: parts(values, labels, size), objective)
    assert note is None
    for method in METHODS:
        assert models[f"similarity-{method}"] == fit(method, values, labels, objective)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("size", [1000, 5])
def test_quantiles(objective: Objective, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in memory for macro-F1; for all, no threshold between the same quantiles is better."""
    for name in ("heads.counted", "heads.thresholds"):
        monkeypatch.setattr(f"{name}.EXACT_LIMIT", 40)
        monkeypatch.setattr(f"{name}.BINS", 20)
    assert module.BINS == 20
    values, labels = drawn(7, 400, 1000)
    models, note = fit_counted(METHODS, lambda: parts(values, labels, size), objective)
    distinct = len(np.unique(values))
    assert note == f"thresholds: the best among 20 quantiles of {distinct} distinct similarities"
    found = models["similarity-exact"]
    if objective == "macro-f1":
        assert found == fit("exact", values, labels, objective)
    ordered = np.sort(values)
    edges = np.concatenate([[-np.inf], ordered[np.ceil(np.linspace(0, 400, 21)[1:]).astype(int) - 1]])
    allowed = [float(low) for low in np.unique(edges)]
    for threshold in found.thresholds:
        below = values[values < threshold].max(initial=-np.inf)
        assert float(below) in allowed
    exact = fit("exact", values, labels, objective).train_score
    better = min if objective == "mae" else max
    assert better(exact, found.train_score) == exact
    coarse = np.floor(np.searchsorted(np.unique(edges), values, side="left"))
    assert found.train_score == pytest.approx(fit("exact", coarse, labels, objective).train_score, abs=1e-12)
