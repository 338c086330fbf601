"""Choosing a configuration of a grid: mean and spread over folds, the one-standard-error rule, the leaderboard.

`choose` takes the smallest configuration whose mean score is within one standard error of the best. The refit on all
training rows runs for `Entry.epochs`, the number of epochs at which the mean score over the folds is highest. No test
row is used here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
from scipy.special import stdtrit

from consistency.scale import Floats, Ints, confusion, merit
from heads.config import HeadConfig
from heads.model import Decision

MEASURED = ("merit", "qwk", "macro_f1", "accuracy")  # after every epoch; the leaderboard calls the merit "score"
POWERS = (0.0, 0.5, 1.0, 1.5, 2.0)
EARLY = 2  # folds of the first division on which the whole grid trains
RACE = (0.4, 0.3, 0.18)  # share of the grid on the rest of the first division, on the second, and on each later one
LEAST = 8  # entries that stay at least


@dataclass(frozen=True, eq=False)
class Entry:
    """The results of one configuration on the validation rows of the folds.

    Attributes
    ----------
    config : HeadConfig
        The configuration.
    parameters : int
        Trained numbers of a head.
    curves : mapping of str to (n_folds, n_epochs) float64
        Each metric after each epoch. After early stopping the last value is repeated.
    """

    config: HeadConfig
    parameters: int
    curves: Mapping[str, Floats]

    @property
    def n_folds(self) -> int:
        """Number of folds on which the configuration was trained."""
        return len(self.curves["merit"])

    @cached_property
    def epochs(self) -> int:
        """The smallest number of epochs with the highest mean merit over the folds; the refit runs as long."""
        return self.epochs_of(range(self.n_folds))

    def epochs_of(self, folds: Sequence[int]) -> int:
        """Return the smallest number of epochs with the highest mean merit over some of the folds."""
        return int(np.argmax(self.curves["merit"][list(folds)].mean(axis=0))) + 1

    def epochs_without(self, fold: int, folds: int) -> int:
        """Return the number of epochs that the other folds of the same division choose.

        The rows that `fold` holds out have no influence on it. `folds` is the number of folds in a division.
        """
        start = fold // folds * folds
        return self.epochs_of([other for other in range(start, start + folds) if other != fold])

    def folds(self, metric: str = "merit") -> Floats:
        """Return a metric on each fold, (n_folds,), after `epochs` epochs."""
        return self.curves[metric][:, self.epochs - 1]

    @property
    def mean(self) -> float:
        """Mean merit over the folds."""
        return float(self.folds().mean())

    def spread(self, metric: str = "merit") -> float:
        """Return the standard deviation of a metric over the folds; 0 for a single fold."""
        values = self.folds(metric)
        return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def standard_error(differences: Floats, *, overlap: float = 0.0) -> float:
    """Compute the standard error of a mean difference over folds.

    Parameters
    ----------
    differences : (n_folds,) float64
        Paired differences.
    overlap : float, default 0
        Rows held out divided by training rows. Folds share most of their training rows; the corrected variance of the
        mean is (1 / n_folds + overlap) times that of the differences, instead of 1 / n_folds times. 0 corrects nothing.

    Returns
    -------
    float
        The standard error; 0 for a single fold.

    References
    ----------
    Nadeau & Bengio, Inference for the Generalization Error, Machine Learning 52:239, 2003.
    """
    if len(differences) < 2:
        return 0.0
    return float(np.sqrt((1 / len(differences) + overlap) * differences.var(ddof=1)))


def best_power(probabilities: Floats, labels: Ints) -> float:
    """Return the power (see `Decision.of`) whose decisions have the highest merit, the first of POWERS among equals.

    Parameters
    ----------
    probabilities : (n, 5) float64
        Probabilities of the classes, for rows that the head was not trained on.
    labels : (n,) int64
        Classes, 0 to 4.
    """

    def reached(power: float) -> float:
        return float(merit(confusion(labels, Decision.of(probabilities, power=power).predicted)))

    return max(POWERS, key=reached)


def ranking(entries: Sequence[Entry]) -> list[int]:
    """Return the indices of the entries: those with the most folds first, then the highest mean merit."""
    return sorted(range(len(entries)), key=lambda index: (-entries[index].n_folds, -entries[index].mean, index))


def stages(folds: int, repeats: int) -> list[tuple[int, int, float]]:
    """Return the stages of a race: the first fold of each, its last + 1, and the share of the grid that trains there.

    Folds are counted through all divisions. If a division has no more than `EARLY` folds, the whole grid trains on the
    first.
    """
    first = [(0, EARLY, 1.0), (EARLY, folds, RACE[0])] if folds > EARLY else [(0, folds, 1.0)]
    later = [(folds * number, folds * (number + 1), RACE[min(number, len(RACE) - 1)]) for number in range(1, repeats)]
    return first + later


def survivors(entries: Sequence[Entry], total: int, share: float, *, least: int = LEAST) -> list[HeadConfig]:
    """Return the configurations that stay in the race: the leading share of the grid, and all linear heads.

    Linear heads are often chosen, since they are small, and cost little. On the recorded grids of RESULTS.md the choice
    is that of the whole grid in whichever order the divisions and folds come; without this exception it is not.

    Parameters
    ----------
    entries : sequence of Entry
        The configurations still in the race, on the same folds.
    total : int
        Number of configurations in the whole grid.
    share : float
        The share of the whole grid that stays.
    least : int
        At least so many stay.
    """
    count = max(ceil(share * total), LEAST, least)
    order = ranking(entries)
    leading, behind = order[:count], order[count:]
    stay = {*leading, *(index for index in behind if not entries[index].config.hidden)}
    return [entry.config for index, entry in enumerate(entries) if index in stay]


def choose(entries: Sequence[Entry]) -> int:
    """Choose the smallest entry within one standard error of the leader, by paired differences over the same folds.

    Entries are compared by number of parameters, then epochs, then rank. The folds count as independent here: the
    corrected standard error is about twice as large and would give up several points for a smaller head.

    Returns
    -------
    int
        Index of the entry.
    """
    order = ranking(entries)
    leader = entries[order[0]].folds()
    behind = {index: leader - entries[index].folds() for index in order}
    level = [index for index in order if behind[index].mean() <= standard_error(behind[index])]
    return min(level, key=lambda index: (entries[index].parameters, entries[index].epochs))


def leaderboard(entries: Sequence[Entry], chosen: Sequence[int], folds: int) -> list[dict[str, Any]]:
    """Make the rows of leaderboard.csv, one for each configuration that did not diverge, in the order of `ranking`.

    Parameters
    ----------
    entries : sequence of Entry
        The configurations, each with the first so many of the `repeats * folds` folds.
    chosen : sequence of int
        Indices of those that make up the trained head.
    folds : int
        Folds in a division.

    Returns
    -------
    list of dict
        Rows with these columns:

        - rank: place by folds, then by score_mean.
        - chosen: whether the run's head, or a member of its ensemble, has this configuration.
        - refit_epochs: the number of epochs with the highest mean score over the folds. All figures of the row are
          those after this number of epochs, and the refit on all training rows runs as long.
        - parameters: trained numbers of the head.
        - folds: number of folds on which the configuration was trained, fewer if it dropped out of the race.
        - score_*, qwk_*, macro_f1_*, accuracy_*: mean and standard deviation over the folds, on the rows held out. The
          score is the mean of QWK and macro-F1.
        - behind_mean, behind_se, behind_low, behind_high: the paired difference by which the leader's score is higher
          on the same folds, its standard error with the correction for overlapping folds (see `standard_error`), and
          its 95 % interval by Student's t. The leader is the best of many on these same folds, so its lead is
          overestimated.
        - features ... patience: the settings of `HeadConfig`; hidden is "linear", "64" or "128x64".
        - fold_1 ...: the score on each fold, None where the configuration was not trained.
    """
    order = ranking(entries)
    leader = entries[order[0]].folds()
    rows = []
    for rank, index in enumerate(order, start=1):
        entry = entries[index]
        behind = leader[: entry.n_folds] - entry.folds()
        row: dict[str, Any] = {"rank": rank, "chosen": index in chosen, "refit_epochs": entry.epochs}
        row |= {"parameters": entry.parameters, "folds": entry.n_folds}
        for metric in MEASURED:
            name = "score" if metric == "merit" else metric
            row |= {f"{name}_mean": float(entry.folds(metric).mean()), f"{name}_std": entry.spread(metric)}
        lead, error = float(behind.mean()), standard_error(behind, overlap=1 / (folds - 1))
        reach = float(stdtrit(entry.n_folds - 1, 0.975))
        row |= {"behind_mean": lead, "behind_se": error}
        row |= {"behind_low": lead - reach * error, "behind_high": lead + reach * error}
        row |= entry.config.as_dict() | {"hidden": entry.config.shape}
        scores = [*entry.folds().tolist(), *[None] * (len(leader) - entry.n_folds)]
        row |= {f"fold_{number}": score for number, score in enumerate(scores, start=1)}
        rows.append(row)
    return rows
