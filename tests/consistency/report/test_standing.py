"""Who leads, compared in pairs: the verdicts are those of `compare`."""

from dataclasses import replace

import numpy as np
import pytest

from consistency.evaluation.compare import compare
from consistency.evaluation.results import Predictions, Result, evaluate_predictions
from consistency.report.standing import COMPARED, OVERALL, Comparison, main_result, name_of, overall
from consistency.text import LOWER_IS_BETTER
from tests.builders.results import make_result


def altered(p: Predictions, system: str, share: float, seed: int = 0) -> Result:
    """The labels themselves, but `share` of them drawn by chance."""
    rng = np.random.default_rng(seed)
    predicted = np.where(rng.random(len(p)) < share, rng.integers(1, 6, len(p)), p.scores)
    return evaluate_predictions(replace(p, system=system, predicted=predicted))


@pytest.mark.parametrize("metric", COMPARED)
def test_verdicts_are_those_of_compare(metric: str) -> None:
    base = make_result().predictions
    results = [altered(base, f"heads-{share}", share, seed=round(10 * share)) for share in (0.0, 0.1, 0.3, 0.35, 1.0)]
    comparison, seen = Comparison(results), set()
    for reference in results:
        others = [result for result in results if result is not reference]
        names = [reference.predictions.system, *(other.predictions.system for other in others)]
        for other, found in zip(others, compare([reference, *others], names=names, metrics=[metric]), strict=True):
            # `compare` takes the reference from the other system.
            if found.low is None or found.high is None or found.low <= 0 <= found.high:
                expected = "level"
            else:
                expected = "worse" if (found.low > 0) != (metric in LOWER_IS_BETTER) else "better"
            assert comparison.verdict(reference, other, metric) == expected
            seen.add(expected)
    assert seen == {"better", "worse", "level"}


def test_the_order_of_the_rows_does_not_matter() -> None:
    p = make_result().predictions
    a, b = altered(p, "heads", 0.2, seed=1), altered(p, "finetune", 0.5, seed=2)
    order = np.random.default_rng(0).permutation(len(p))
    q = b.predictions
    columns = ("rows", "images", "hashtags", "scores", "predicted", "values", "clusters")
    shuffled = replace(
        b, predictions=replace(q, probabilities=None, **{name: getattr(q, name)[order] for name in columns})
    )
    for metric in (*COMPARED, OVERALL):
        assert Comparison([a, b]).verdict(a, b, metric) == Comparison([a, shuffled]).verdict(a, shuffled, metric)


def test_a_lead_is_certain_only_against_every_system_and_control() -> None:
    p = make_result().predictions
    best, close, far = altered(p, "finetune", 0.0), altered(p, "heads", 0.02, seed=3), altered(p, "heads-grid", 0.9)
    lead = Comparison([far, best]).standing("accuracy")
    assert lead is not None
    assert (lead.leader, lead.certain, lead.rivals) == (best, True, 1)
    doubtful = Comparison([close, far, best]).standing("accuracy")
    assert doubtful is not None
    assert (doubtful.leader, doubtful.certain, doubtful.level) == (best, False, (close,))
    control = altered(replace(p, backbone="none"), "text-only", 0.0)
    beaten = Comparison([far, control]).standing("accuracy")
    assert beaten is not None
    assert (beaten.leader, beaten.certain, beaten.ahead) == (far, False, (control,))
    alone = Comparison([best]).standing("accuracy")
    assert alone is not None
    assert not alone.certain


def test_what_was_picked_on_the_test_rows_takes_no_part() -> None:
    p = make_result().predictions
    peeked, honest = altered(p, "finetune-paper-best", 0.0), altered(p, "finetune-paper", 0.5)
    standing = Comparison([peeked, honest]).standing("qwk")
    assert standing is not None
    assert (standing.leader, standing.rivals) == (honest, 0)
    assert main_result([peeked, honest]) is honest
    assert Comparison([peeked]).standing("qwk") is None


@pytest.mark.parametrize("column", ["rows", "scores", "hashtags", "clusters"])
def test_other_rows_are_not_compared(column: str) -> None:
    p = make_result().predictions
    a = altered(p, "heads", 0.0)
    other = getattr(p, column).copy()
    other[0] = "#other" if column == "hashtags" else other[0] % 5 + 1
    b = altered(replace(p, **{column: other}), "finetune", 0.9)
    comparison = Comparison([a, b])
    assert comparison.verdict(a, b, "accuracy") == "other rows"
    standing = comparison.standing("accuracy")
    assert standing is not None
    assert (standing.certain, standing.elsewhere) == (False, True)


def test_a_single_image_tells_nothing_apart() -> None:
    p = replace(make_result().predictions, clusters=np.zeros(60, dtype=np.int64))
    a, b = altered(p, "heads", 0.0), altered(p, "finetune", 1.0)
    assert Comparison([a, b]).verdict(a, b, "accuracy") == "level"


def test_each_metric_has_its_own_best_control() -> None:
    p = replace(make_result().predictions, backbone="none")
    half = np.where(np.arange(60) % 2, p.scores, (p.scores + 1) % 5 + 1)
    near = np.where(p.scores > 1, p.scores - 1, 2)
    majority = evaluate_predictions(replace(p, system="majority", predicted=half))
    median = evaluate_predictions(replace(p, system="median", predicted=near))
    system = altered(p, "heads", 0.3)
    comparison = Comparison([majority, median, system])
    assert comparison.best_control(system, "accuracy") is majority
    assert comparison.best_control(system, "mae") is median
    assert Comparison([system]).best_control(system, "mae") is None


def test_the_constant_is_the_best_there_is() -> None:
    result = make_result()
    p = result.predictions
    shares = {score: float((np.abs(p.scores - score) <= 1).mean()) for score in range(1, 6)}
    constant = Comparison([result]).constant(result)
    assert constant.metrics["within_one"] == max(shares.values())
    assert shares[int(constant.predictions.system)] == max(shares.values())
    assert set(constant.predictions.predicted) == {int(constant.predictions.system)}


def test_overall_is_the_mean_of_macro_f1_and_qwk_and_names_tell_backbones_apart() -> None:
    result = make_result()
    assert overall(result) == pytest.approx(((result.metrics["macro_f1"] or 0) + (result.metrics["qwk"] or 0)) / 2)
    undefined = replace(result, metrics={**result.metrics, "qwk": None})
    assert overall(undefined) == pytest.approx((result.metrics["macro_f1"] or 0) / 2)
    assert name_of(result) == "heads (tiny)"
    assert name_of(make_result("majority", backbone="none")) == "majority"
