"""The prediction sets of a run: calibrated on its answers for images that it was not trained on."""

import numpy as np
import numpy.typing as npt

from consistency.evaluation.conformal import FILE, PredictionSets
from consistency.evaluation.results import Result
from koclip_consistency.workflows.trial import Rows, Trial


def keep_sets(trial: Trial, system: str, train: Rows) -> None:
    """Write `sets.json`, from which `score --sets` makes prediction sets, if there are answers for new images.

    The answers out of fold calibrate the sets if there are any, because they are for more images, otherwise those for
    the test rows. They have chosen nothing. Sets would promise too much if an image of the answers had trained the
    system (as under the protocols `paper` and `hashtag`) or its backbone; then no file is written.

    Parameters
    ----------
    trial
        The run, with the results of the system.
    system
        Name of the system.
    train
        (n,) int64, the rows of the table that the system was trained on.
    """
    results = {result.predictions.split: result for result in trial.results if result.predictions.system == system}
    for result in (results[split] for split in ("cv", "test") if split in results):
        answers = result.predictions
        place = np.searchsorted(trial.inputs.table.rows, answers.rows)  # which are in ascending order
        images = trial.inputs.identity[place]
        if answers.probabilities is not None and _are_new(trial, result, place, images, train):
            sets = PredictionSets.fit(answers.probabilities, answers.scores - 1, images, calibrated_on=answers.split)
            trial.folder.write_json(FILE, sets.as_dict())
            return


def _are_new(trial: Trial, result: Result, rows: Rows, images: npt.NDArray[np.object_], train: Rows) -> bool:
    """Whether no image of the answers has trained the head that gave them, or the backbone."""
    if result.trained_on:
        return False
    if result.predictions.split == "test":
        return set(images).isdisjoint(trial.inputs.identity[train])
    return len(set(zip(images, trial.split.fold[rows].tolist(), strict=True))) == len(set(images))
