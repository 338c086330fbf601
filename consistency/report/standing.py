"""Which system leads, and whether that can be told: paired comparisons of systems that answered for the same rows.

A system is called better than another only if the 95 % interval of their paired difference leaves 0 out. The interval
is that of `consistency.evaluation.compare`, with as many resamples: the report and the `compare` command agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from consistency.evaluation.compare import RESAMPLES
from consistency.evaluation.intervals import (
    BOOTSTRAP_SEED,
    UNCORRECTED,
    bootstrap_metrics,
    effective_clusters,
    interval,
)
from consistency.evaluation.results import NO_BACKBONE, Predictions, Result
from consistency.evaluation.systems import CONTROLS, competes
from consistency.scale import SCORES
from consistency.text import LOWER_IS_BETTER, METRIC_TITLES

OVERALL = "overall"
COMPARED = (*METRIC_TITLES, "within_one")

Verdict = Literal["better", "worse", "level", "other rows"]


def overall(result: Result) -> float:
    """What systems are ranked by: the mean of macro-F1 (every score counts) and QWK (the order counts)."""
    return ((result.metrics["macro_f1"] or 0.0) + (result.metrics["qwk"] or 0.0)) / 2


def main_result(results: Sequence[Result]) -> Result:
    """The learned system of highest overall figure, or the first control if there is no learned system."""
    return max((result for result in results if competes(result.predictions.system)), key=overall, default=results[0])


def name_of(result: Result) -> str:
    """A system with its backbone."""
    p = result.predictions
    return p.system if p.backbone == NO_BACKBONE else f"{p.system} ({p.backbone})"


@dataclass(frozen=True, eq=False)
class Standing:
    """The leader of a metric, and the systems over which its lead is not certain.

    Attributes
    ----------
    leader : Result
        The learned system with the best figure.
    level : tuple of Result
        Systems and controls that cannot be told apart from the leader: the paired interval holds 0, or there is none.
    ahead : tuple of Result
        Controls that are better than every learned system.
    elsewhere : bool
        Whether learned systems of the same table answered for other rows, so that no pair can be formed.
    rivals : int
        How many systems and controls there are beside the leader.
    """

    leader: Result
    level: tuple[Result, ...]
    ahead: tuple[Result, ...]
    elsewhere: bool
    rivals: int

    @property
    def certain(self) -> bool:
        """Whether the leader is better than every other system and control, and there are any."""
        return self.rivals > 0 and not (self.level or self.ahead or self.elsewhere)


@dataclass(eq=False)
class Comparison:
    """Paired comparisons of the results of one protocol and split. Each is resampled once, when it is first needed."""

    results: Sequence[Result]
    _draws: dict[Predictions, dict[str, npt.NDArray[np.float64]]] = field(default_factory=dict)
    _rows: dict[Predictions, list[tuple[object, ...]]] = field(default_factory=dict)

    def standing(self, metric: str) -> Standing | None:
        """Who leads `metric` (one of COMPARED, or OVERALL); None if no learned system has it."""
        learned = [r for r in self.results if competes(r.predictions.system) and _figure(r, metric) is not None]
        if not learned:
            return None
        leader = _best(learned, metric)
        others = [r for r in self.results if r is not leader and (r in learned or r.predictions.system in CONTROLS)]
        verdicts = [(other, self.verdict(leader, other, metric)) for other in others]
        return Standing(
            leader,
            level=tuple(other for other, verdict in verdicts if verdict == "level"),
            # A learned system is never ahead: its figure is not above the leader's.
            ahead=tuple(other for other, verdict in verdicts if verdict == "worse"),
            elsewhere=any(verdict == "other rows" for other, verdict in verdicts if other in learned),
            rivals=len(others),
        )

    def best_control(self, result: Result, metric: str) -> Result | None:
        """The best control on `metric` among those that answered for the rows of `result`."""
        known = [r for r in self.controls if _figure(r, metric) is not None and self.paired(r, result)]
        return _best(known, metric) if known else None

    def constant(self, result: Result) -> Result:
        """The constant answer that is within one of most labels of `result`; it has no other metric."""
        p = result.predictions
        shares = [float((np.abs(p.scores - score) <= 1).mean()) for score in SCORES]
        score = int(SCORES[np.argmax(shares)])
        answer = replace(p, system=str(score), predicted=np.full(len(p), score, dtype=np.int64), probabilities=None)
        return Result(answer, {"within_one": max(shares)}, {})

    def verdict(self, result: Result, other: Result, metric: str) -> Verdict:
        """Whether `result` is better or worse than `other` on `metric`, or level: the paired interval holds 0."""
        if not self.paired(result, other):
            return "other rows"
        found = self.difference(result, other, metric)
        ends = None if found is None else found[1]
        if ends is None or ends[0] <= 0 <= ends[1]:
            return "level"
        return "better" if (ends[0] > 0) != (metric in LOWER_IS_BETTER) else "worse"

    def difference(self, result: Result, other: Result, metric: str) -> tuple[float, tuple[float, float] | None] | None:
        """`result` minus `other` on `metric`, on the same rows, with its 95 % interval; None where undefined."""
        figures = _figure(result, metric), _figure(other, metric)
        if figures[0] is None or figures[1] is None:
            return None
        gap, m = figures[0] - figures[1], effective_clusters(result.predictions.clusters)
        if m == 1:
            return gap, None
        gaps = self._drawn(result)[metric] - self._drawn(other)[metric]
        return gap, interval(gap, gaps, m, corrected=metric not in UNCORRECTED)

    @property
    def controls(self) -> list[Result]:
        return [result for result in self.results if result.predictions.system in CONTROLS]

    def paired(self, a: Result, b: Result) -> bool:
        """Whether both answered for the same rows, in any order: same images, hashtags, labels and clusters."""
        return self._rows_of(a) == self._rows_of(b)

    def _rows_of(self, result: Result) -> list[tuple[object, ...]]:
        p = result.predictions
        if p not in self._rows:
            columns = (p.rows.tolist(), p.images, p.hashtags, p.scores.tolist(), p.clusters.tolist())
            self._rows[p] = sorted(zip(*columns, strict=True), key=lambda row: int(str(row[0])))
        return self._rows[p]

    def _drawn(self, result: Result) -> dict[str, npt.NDArray[np.float64]]:
        p = result.predictions
        if p not in self._draws:
            # Rows by number: equal clusters in equal order draw equal resamples.
            order = np.argsort(p.rows, kind="stable")
            draws = bootstrap_metrics(
                p.scores[order],
                p.predicted[order],
                p.values[order],
                None,
                p.clusters[order],
                resamples=RESAMPLES,
                seed=BOOTSTRAP_SEED,
                names=COMPARED,
            )
            self._draws[p] = draws | {OVERALL: (draws["macro_f1"] + draws["qwk"]) / 2}
        return self._draws[p]


def _figure(result: Result, metric: str) -> float | None:
    return overall(result) if metric == OVERALL else result.metrics[metric]


def _best(results: Sequence[Result], metric: str) -> Result:
    choose = min if metric in LOWER_IS_BETTER else max
    return choose(results, key=lambda result: _figure(result, metric) or 0.0)
