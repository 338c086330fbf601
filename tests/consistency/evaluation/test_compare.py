"""Paired differences are those of a plain loop over the same resampled images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from consistency.errors import InputError
from consistency.evaluation.compare import Difference, comparable, compare, holm
from consistency.evaluation.results import Result, evaluate_predictions
from consistency.runs.read import Run, read_run
from tests.builders.results import make_result, write_run


def compare_read(runs: Sequence[Run], **options: Any) -> list[Difference]:
    results, names = comparable([(run.path.name, run.results) for run in runs])
    return compare(results, names=names, **options)


def better(result: Result) -> Result:
    """The same rows with correct predictions."""
    p = result.predictions
    right = np.eye(5)[p.scores - 1]
    return evaluate_predictions(replace(p, predicted=p.scores, values=p.scores * 1.0, probabilities=right))


def test_difference_is_the_paired_bootstrap_over_images() -> None:
    a, b = make_result("heads"), make_result("finetune", seed=1)
    found = {d.metric: d for d in compare([a, b], names=["a", "b"], resamples=400, seed=7)}
    p, q = a.predictions, b.predictions
    names, rng = list(dict.fromkeys(p.images)), np.random.default_rng(7)
    gaps = []
    for _ in range(400):
        drawn = [np.flatnonzero(p.images == names[k]) for k in rng.integers(0, len(names), len(names))]
        rows = np.concatenate(drawn)
        one, other = (
            cohen_kappa_score(p.scores[rows], answers[rows], weights="quadratic")
            for answers in (p.predicted, q.predicted)
        )
        gaps.append(other - one)
    qwk = found["qwk"]
    assert qwk.difference == (b.metrics["qwk"] or 0) - (a.metrics["qwk"] or 0)
    sizes = [np.sum(p.images == name) for name in names]
    m = sum(sizes) ** 2 / sum(size**2 for size in sizes)
    widening = (m / (m - 1)) ** 0.5
    z0, at_zero = (stats.norm.ppf(np.mean(np.array(gaps) < figure)) for figure in (qwk.difference, 0))
    z = stats.t.ppf(0.975, m - 1) * widening
    assert (qwk.low, qwk.high) == pytest.approx(np.quantile(gaps, stats.norm.cdf([2 * z0 - z, 2 * z0 + z])), abs=1e-12)
    assert qwk.p == pytest.approx(2 * stats.t.cdf(-abs(at_zero - 2 * z0) / widening, m - 1))
    assert (qwk.name, qwk.reference, qwk.n) == ("b", "a", 60)


def test_a_system_does_not_differ_from_itself_but_from_a_perfect_one() -> None:
    base = make_result()
    same, perfect = compare([base, base, better(base)], names=["a", "b", "c"], metrics=["accuracy"], resamples=2000)
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    assert (same.p, same.p_holm) == pytest.approx((1, 1))
    assert perfect.low is not None
    assert perfect.low > 0
    assert perfect.p is not None
    assert 0 < perfect.p < 0.02
    assert perfect.p_holm == pytest.approx(2 * perfect.p)


def test_row_order_does_not_matter() -> None:
    a, b = make_result("heads"), make_result("finetune", seed=1)
    p = b.predictions
    order = np.random.default_rng(0).permutation(len(p))
    columns = ("rows", "images", "hashtags", "scores", "predicted", "values", "probabilities", "clusters")
    shuffled = replace(b, predictions=replace(p, **{name: getattr(p, name)[order] for name in columns}))
    arguments = {"names": ["a", "b"], "resamples": 200}
    assert compare([a, b], **arguments) == compare([a, shuffled], **arguments)  # type: ignore[arg-type]


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_one_image_gives_no_interval_of_a_difference() -> None:
    base = make_result()
    p = base.predictions
    one = evaluate_predictions(replace(p, clusters=np.zeros(len(p), dtype=np.int64)))
    (gap,) = compare([one, better(one)], names=["a", "b"], metrics=["accuracy"], resamples=50)
    assert gap.difference == 1 - (base.metrics["accuracy"] or 0)
    assert (gap.low, gap.high, gap.p, gap.p_holm) == (None, None, None, None)


def test_undefined_metrics_have_no_difference() -> None:
    (gap,) = compare([make_result(), make_result(probabilities=False)], names=["a", "b"], metrics=["ece"], resamples=50)
    assert (gap.difference, gap.low, gap.p, gap.p_holm) == (None, None, None, None)


def test_runs_are_compared_with_the_last_system_of_the_first(tmp_path: Path) -> None:
    control = make_result("majority", backbone="none")
    first = read_run(write_run(tmp_path / "first", [control, make_result("similarity-simple"), make_result("heads")]))
    second = read_run(write_run(tmp_path / "second", [control, make_result("finetune", seed=2)]))
    found = compare_read([first, second], resamples=100)
    assert {(d.reference, d.name) for d in found} == {("first/heads", "second/finetune")}
    assert [d.metric for d in found] == ["accuracy", "macro_f1", "mae", "qwk"]


def test_a_system_picked_on_the_test_rows_is_left_out(tmp_path: Path) -> None:
    results = [make_result("finetune-paper", seed=1), make_result("finetune-paper-best", seed=2)]
    published = read_run(write_run(tmp_path / "published", results))
    ours = read_run(write_run(tmp_path / "ours", [make_result("finetune", seed=3)]))
    for runs in ([published, ours], [ours, published]):
        found = compare_read(runs, resamples=50)
        assert {name for d in found for name in (d.reference, d.name)} == {"published/finetune-paper", "ours/finetune"}


def test_predictions_on_test_rows_are_preferred_to_those_out_of_fold(tmp_path: Path) -> None:
    tested, folds = make_result(), make_result(seed=1)
    folds = evaluate_predictions(replace(folds.predictions, split="cv"))
    with_folds = read_run(write_run(tmp_path / "folds", [tested, folds]))
    plain = read_run(write_run(tmp_path / "plain", [make_result(seed=2)]))
    (gap,) = compare_read([with_folds, plain], metrics=["mae"], resamples=50)
    assert gap.reference_value == tested.metrics["mae"] != folds.metrics["mae"]
    (gap,) = compare_read([plain, with_folds], metrics=["mae"], resamples=50)
    assert gap.value == tested.metrics["mae"]


def test_an_imported_split_compares_with_the_protocol_it_came_from(tmp_path: Path) -> None:
    drawn = read_run(write_run(tmp_path / "drawn", [make_result()]))
    imported = read_run(write_run(tmp_path / "imported", [make_result(seed=1, protocol="file")]))
    assert [d.n for d in compare_read([drawn, imported], metrics=["mae"], resamples=50)] == [60]
    assert [d.n for d in compare_read([imported, drawn], metrics=["mae"], resamples=50)] == [60]


def test_what_cannot_be_compared_is_one_clear_line(tmp_path: Path) -> None:
    base = make_result()
    other_rows, other_labels, paper = tmp_path / "rows", tmp_path / "labels", tmp_path / "paper"
    first = read_run(write_run(tmp_path / "first", [base]))
    write_run(other_rows, [make_result(n=50)])
    p = base.predictions
    write_run(other_labels, [replace(base, predictions=replace(p, scores=p.scores % 5 + 1))])
    write_run(paper, [make_result(protocol="paper")])
    for folder, message in (
        (other_rows, "50 rows, 50 of them among the 60"),
        (other_labels, "differs from the reference in the scores of its rows"),
        (paper, "no results under protocol grouped"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            compare_read([first, read_run(folder)], resamples=10)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="at least two"):
        compare_read([first])
    blind = read_run(write_run(tmp_path / "blind", [make_result("majority", backbone="none")]))
    with pytest.raises(InputError, match="has no learned system to compare, only majority"):
        compare_read([first, blind])
