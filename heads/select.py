"""Which configuration of a grid wins, and by how much: means and spread over folds, the one-standard-error rule.

The rule, `choose`: of all configurations whose mean score is within one standard error of the best one's, the smallest.
The refit on all training rows takes the number of epochs at which the mean score over the folds is highest,
`Entry.epochs`. Nothing here sees a test row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import t

from consistency.scale import Floats, Ints, confusion, merit
from heads.config import HeadConfig
from heads.model import Answer

MEASURED = ("merit", "qwk", "macro_f1", "accuracy")  # after every epoch; the leaderboard calls the merit "score"
POWERS = (0.0, 0.5, 1.0, 1.5, 2.0)


@dataclass(frozen=True, eq=False)
class Entry:
    """What one configuration reached on the validation rows of the folds.

    curves: (n_folds, n_epochs) float64 by metric. A head that stopped early, or has not run, repeats its last value.
    """

    config: HeadConfig
    parameters: int
    curves: Mapping[str, Floats]

    @cached_property
    def epochs(self) -> int:
        """The first number of epochs with the highest mean merit over the folds; the refit trains as long."""
        return self.epochs_of(range(len(self.curves["merit"])))

    def epochs_of(self, folds: Sequence[int]) -> int:
        """The first number of epochs with the highest mean merit over some of the folds."""
        return int(np.argmax(self.curves["merit"][list(folds)].mean(axis=0))) + 1

    def epochs_without(self, fold: int, folds: int) -> int:
        """How long the other folds of the same division would train: nothing that `fold` holds out had a say in it."""
        start = fold // folds * folds
        return self.epochs_of([other for other in range(start, start + folds) if other != fold])

    def folds(self, metric: str = "merit") -> Floats:
        """(n_folds,) after `epochs` epochs."""
        return self.curves[metric][:, self.epochs - 1]

    @property
    def mean(self) -> float:
        return float(self.folds().mean())

    def spread(self, metric: str = "merit") -> float:
        """Standard deviation over the folds, 0 of a single one."""
        values = self.folds(metric)
        return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def standard_error(differences: Floats, *, overlap: float = 0.0) -> float:
    """Standard error of the mean of paired differences over folds, (n_folds,).

    The folds share most of their training rows. With overlap = test rows / training rows the variance counts with
    1 / n_folds + overlap instead of 1 / n_folds: Nadeau & Bengio, Inference for the Generalization Error, Machine
    Learning 52:239, 2003.
    """
    if len(differences) < 2:
        return 0.0
    return float(np.sqrt((1 / len(differences) + overlap) * differences.var(ddof=1)))


def best_power(probabilities: Floats, labels: Ints) -> float:
    """The first of POWERS (see `Answer.of`) whose answers have the highest merit. probabilities: (n, 5)."""

    def reached(power: float) -> float:
        return float(merit(confusion(labels, Answer.of(probabilities, power=power).predicted)))

    return max(POWERS, key=reached)


def ranking(entries: Sequence[Entry]) -> list[int]:
    """Indices of the entries, best mean score first."""
    return sorted(range(len(entries)), key=lambda index: (-entries[index].mean, index))


def choose(entries: Sequence[Entry]) -> int:
    """The smallest of the entries that are within one standard error of the leader, by their paired differences.

    Smallest by number of parameters, then by epochs, then by rank. The folds count as independent here: the corrected
    error is about twice as large and gives away several points for the sake of a small head.
    """
    order = ranking(entries)
    leader = entries[order[0]].folds()
    behind = {index: leader - entries[index].folds() for index in order}
    level = [index for index in order if behind[index].mean() <= standard_error(behind[index])]
    return min(level, key=lambda index: (entries[index].parameters, entries[index].epochs))


def leaderboard(entries: Sequence[Entry], chosen: Sequence[int], folds: int) -> list[dict[str, Any]]:
    """Rows of leaderboard.csv, one for every configuration that did not diverge, best mean score first.

    entries: with `repeats * folds` folds each. chosen: indices of those that answer. The columns:

    rank, chosen: place by score_mean; whether the run's head, or a member of its ensemble, has this configuration.
    refit_epochs: the number of epochs with the highest mean score over the folds, the same for all of them; every
    figure of the row is the one after so many, and the refit on all training rows takes as many.
    parameters: trained numbers of the head.
    score_*, qwk_*, macro_f1_*, accuracy_*: mean and standard deviation over the folds, on the rows held out. The score
    is the mean of QWK and macro-F1.
    behind_mean, behind_se, behind_low, behind_high: by how much the leader's score is higher on the same folds (the
    paired difference), its standard error, corrected for the overlap of the folds, and the 95 % interval that
    Student's t makes of it (Nadeau & Bengio, see `standard_error`). The leader is the best of many on these very
    folds, so its lead is flattered.
    features ... patience: the settings of `HeadConfig`; hidden is "linear", "64" or "128x64".
    fold_1 ...: the score on every fold.
    """
    order = ranking(entries)
    leader = entries[order[0]].folds()
    reach = float(t.ppf(0.975, len(leader) - 1))
    rows = []
    for rank, index in enumerate(order, start=1):
        entry = entries[index]
        behind = leader - entry.folds()
        row: dict[str, Any] = {"rank": rank, "chosen": index in chosen, "refit_epochs": entry.epochs}
        row |= {"parameters": entry.parameters}
        for metric in MEASURED:
            name = "score" if metric == "merit" else metric
            row |= {f"{name}_mean": float(entry.folds(metric).mean()), f"{name}_std": entry.spread(metric)}
        lead, error = float(behind.mean()), standard_error(behind, overlap=1 / (folds - 1))
        row |= {"behind_mean": lead, "behind_se": error}
        row |= {"behind_low": lead - reach * error, "behind_high": lead + reach * error}
        row |= entry.config.as_dict() | {"hidden": entry.config.shape}
        row |= {f"fold_{number}": float(value) for number, value in enumerate(entry.folds(), start=1)}
        rows.append(row)
    return rows
