"""How well the controls do on a pair table alone, without images or a backbone: what `data check --controls` shows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupShuffleSplit

from consistency.data.distinct import number_distinct
from consistency.data.folds import make_folds
from consistency.data.inputs import Inputs
from consistency.data.pairs import PairTable
from consistency.data.repeats import merge_repeats
from consistency.data.splits import make_split
from consistency.errors import DataError
from consistency.evaluation.controls import control_predictions, decide
from consistency.evaluation.intervals import bootstrap_intervals
from consistency.evaluation.metrics import evaluate
from consistency.evaluation.post_texts import refuse_sorted
from consistency.progress import Progress, silent
from consistency.scale import SCORES, Floats, Ints

CONTROL_METRICS = ("accuracy", "macro_f1", "mae", "qwk")
GROUP_SHUFFLES = 10


@dataclass(frozen=True)
class ControlChoice:
    """What is evaluated.

    Attributes
    ----------
    folds : int or None
        Number of folds by image in which the distinct pairs are predicted; None for no folds.
    ordered : bool
        Whether to add the control that reads the position in the post.
    seed : int
        Random seed of the folds.
    """

    folds: int | None = None
    ordered: bool = False
    seed: int = 42


@dataclass(frozen=True)
class ControlFigures:
    """The metrics of the controls; see `health.Health` for the fields."""

    by_protocol: dict[str, dict[str, dict[str, float | None]]] | None = None
    out_of_fold: dict[str, dict[str, Any]] | None = None
    order_gamma: float | None = None


def control_figures(inputs: Inputs, choice: ControlChoice, progress: Progress = silent) -> ControlFigures:
    """Evaluate the controls under the published split by rows, 10 divisions of the merged images, and folds of them.

    Parameters
    ----------
    inputs : Inputs
        The pair table and its images, which may be missing.
    choice : ControlChoice
        What is evaluated.
    progress : Progress
        Receives the progress.

    Returns
    -------
    ControlFigures
        Splits that cannot be drawn are missing. The grouped values are means over 10 `GroupShuffleSplit`s.

    Raises
    ------
    DataError
        If positions in posts are to be used and the rows of a post are sorted by score, or if there are too few images
        for the folds.
    """
    table, identity, posts = inputs.table, inputs.identity, inputs.posts
    kept = np.flatnonzero(merge_repeats(table, identity, "first").kept)
    names = _first_names(inputs.alike, table.images)
    gamma = refuse_sorted(table.labels[kept], posts[kept], table.rows[kept]) if choice.ordered else None
    fold = np.empty(0, dtype=np.int64)
    if choice.folds is not None:
        fold = make_folds(table.labels[kept], names[kept], folds=choice.folds, seed=choice.seed)

    def answer(train: Ints, test: Ints, groups: npt.NDArray[np.object_] | None) -> dict[str, Floats]:
        return control_predictions(
            table.images,
            table.hashtags,
            table.labels,
            train,
            test,
            posts=posts,
            groups=groups,
            order=table.rows if choice.ordered else None,
            balanced=True,
        )

    by_protocol = {}
    with progress("Training controls", GROUP_SHUFFLES + 1 + (choice.folds or 0)) as advance:
        try:
            paper = make_split(table, identity, protocol="paper")
        except DataError:  # `check` reports it
            pass
        else:
            train, test = paper.rows("train"), paper.rows("test")
            by_protocol["paper"] = _metrics(table, test, answer(train, test, None))
        advance(1)
        shuffled = []
        for seed in range(GROUP_SHUFFLES if len(set(names[kept])) > 1 else 0):
            shuffle = GroupShuffleSplit(1, test_size=0.2, random_state=seed)
            train, test = (kept[part] for part in next(shuffle.split(kept, groups=names[kept])))
            shuffled.append(_metrics(table, test, answer(train, test, names)))
            advance(1)
        parts: list[tuple[Ints, dict[str, Floats]]] = []
        for number in range(choice.folds or 0):
            test = kept[fold == number]
            parts.append((test, answer(kept[fold != number], test, names)))
            advance(1)
    if shuffled:
        by_protocol["grouped"] = {
            system: {metric: _mean([one[system][metric] for one in shuffled]) for metric in CONTROL_METRICS}
            for system in shuffled[0]
        }
    return ControlFigures(by_protocol, _out_of_fold(table, names, parts) if parts else None, gamma)


def _metrics(table: PairTable, rows: Ints, answers: dict[str, Floats]) -> dict[str, dict[str, float | None]]:
    """Return the CONTROL_METRICS of each system."""
    figures = {}
    for system, chances in answers.items():
        metrics = evaluate(table.scores[rows], decide(system, chances) + 1, chances @ SCORES, chances)
        figures[system] = {name: metrics[name] for name in CONTROL_METRICS}
    return figures


def _out_of_fold(
    table: PairTable, names: npt.NDArray[np.object_], parts: list[tuple[Ints, dict[str, Floats]]]
) -> dict[str, dict[str, Any]]:
    """Return the CONTROL_METRICS of each system over all folds, with 95 % intervals over images."""
    rows = np.concatenate([test for test, _ in parts])
    clusters = number_distinct(names[rows])[1]
    figures = {}
    for system in parts[0][1]:
        chances: Floats = np.concatenate([answers[system] for _, answers in parts])
        columns = table.scores[rows], decide(system, chances) + 1, chances @ SCORES, chances
        metrics, intervals = evaluate(*columns), bootstrap_intervals(*columns, clusters)
        figures[system] = {
            "metrics": {name: metrics[name] for name in CONTROL_METRICS},
            "ci95": {name: intervals[name] for name in CONTROL_METRICS},
        }
    return figures


def _first_names(identity: npt.NDArray[np.object_], images: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Return a name for each image, (n,) object, so that images sort alike whether or not they are found."""
    firsts, index = number_distinct(identity)
    return images[firsts][index]


def _mean(figures: list[float | None]) -> float | None:
    defined = [figure for figure in figures if figure is not None]
    return float(np.mean(defined)) if defined else None
