"""`--seeds N`: the training of a command repeated with further seeds, on its split or each on its own."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from consistency.data.splits import Split
from consistency.errors import InputError, StorageError, os_errors_as
from consistency.evaluation.metrics import METRICS, evaluate
from consistency.evaluation.results import Result
from consistency.evaluation.seeds import Trainings, training_seeds
from consistency.options import Evaluation
from consistency.runs.read import read_lines
from consistency.text import to_csv
from koclip_consistency.workflows.answers import Answers
from koclip_consistency.workflows.division import split_table
from koclip_consistency.workflows.trial import Rows, Trial

FILE = "seeds.csv"
COLUMNS = ("system", "seed", *METRICS)

Again = Callable[[int, int, Split], tuple[Rows, Answers]]
Metrics = Mapping[str, float | None]


def check_repeats(seeds: int, evaluation: Evaluation, *, redraw: bool) -> None:
    """Refuse to redraw splits where there is nothing to redraw.

    Raises
    ------
    InputError
        If there is one training only, or the split does not depend on the seed.
    """
    if redraw and seeds < 2:
        raise InputError("--redraw-split draws a split for each of several trainings: give --seeds N as well")
    if redraw and evaluation.split is not None:
        raise InputError("--redraw-split draws the splits that --split FILE gives: leave one of them out")
    if redraw and evaluation.protocol == "paper":
        raise InputError(
            "the paper protocol has the same split for every seed: leave out --redraw-split, or give --protocol grouped"
        )


def repeat_training(
    trial: Trial, first: Result, again: Again, *, seeds: int, redraw: bool, validation: bool = False
) -> Trainings:
    """Train again with further seeds, and write the metrics of every training to `seeds.csv`.

    Trainings that `seeds.csv` already has are not repeated, so that an interrupted run continues after them.

    Parameters
    ----------
    trial
        The trial, whose run folder is open.
    first
        The result of the first training on the test rows.
    again
        Takes the number of a training (from 2), its seed and its split; returns its test rows and its predictions.
    seeds
        Number of trainings, the first one included.
    redraw
        Whether each of them draws its own split.
    validation
        Whether those splits need validation rows.

    Returns
    -------
    Trainings
    """
    options, split, folder = trial.options, trial.split, trial.folder
    every = training_seeds(options.evaluation.seed, seeds)
    done: dict[int, Metrics] = {**read_trainings(folder.path), every[0]: first.metrics}
    for number, seed in enumerate(every[1:], start=2):
        if seed in done:
            continue
        if redraw:
            evaluation = replace(options.evaluation, seed=seed)
            split = split_table(trial.inputs, options.source, evaluation, validation=validation)
        rows, answers = again(number, seed, split)
        done[seed] = evaluate(split.labels[rows] + 1, *answers.columns())
        lines = ([first.predictions.system, seed, *(found[name] for name in METRICS)] for seed, found in done.items())
        folder.write_file(FILE, to_csv(COLUMNS, lines))
        trial.clock.lap("repeat")
    learned = int(np.count_nonzero(trial.split.kept & (trial.split.side != "test")))
    overlap = len(first.predictions) / learned if redraw else 0.0
    return Trainings(first.predictions.system, every, tuple(done[seed] for seed in every), overlap)


def read_trainings(folder: Path) -> dict[int, Metrics]:
    """The metrics by seed that an interrupted run in `folder` wrote.

    Raises
    ------
    StorageError
        If they are damaged.
    InputError
        If they have columns that this version does not know.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        with os_errors_as(StorageError, f"{path} cannot be read"):
            lines = list(read_lines(folder, FILE, COLUMNS))
        return {
            int(line["seed"]): {name: float(line[name]) if line[name] else None for name in METRICS} for line in lines
        }
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise StorageError(f"{path} is damaged ({error!r}): remove it, and its trainings are repeated") from error
