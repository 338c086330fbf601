"""The prediction sets of a run: calibrated on its answers for images that it was not trained on."""

import numpy as np

from consistency.evaluation.conformal import FILE, PredictionSets
from koclip_consistency.workflows.trial import Rows, Trial


def keep_sets(trial: Trial, system: str, train: Rows) -> None:
    """Write `sets.json`, from which `score --sets` makes prediction sets, if the images of the answers are new.

    The answers out of fold calibrate the sets if there are any, because they are for more images, otherwise those for
    the test rows. Neither were used to train or choose the system. If an image of the answers is also in train, as with
    `--protocol paper` and `hashtag`, the sets would promise too much for new images, and no file is written.

    Parameters
    ----------
    trial
        The run, with the results of the system.
    system
        Name of the system.
    train
        (n,) int64, the rows of the table that the system was trained on.
    """
    answers = {r.predictions.split: r.predictions for r in trial.results if r.predictions.system == system}
    chosen = answers.get("cv", answers["test"])
    place = np.searchsorted(trial.inputs.table.rows, chosen.rows)  # rows of a table are in ascending order
    images = trial.inputs.identity[place]
    if chosen.split == "cv":
        folds: dict[str, set[int]] = {}
        for image, fold in zip(images, trial.split.fold[place].tolist(), strict=True):
            folds.setdefault(image, set()).add(fold)
        new = all(len(found) == 1 for found in folds.values())
    else:
        new = set(images).isdisjoint(trial.inputs.identity[train])
    if new and chosen.probabilities is not None:
        sets = PredictionSets.fit(chosen.probabilities, chosen.scores - 1, images, calibrated_on=chosen.split)
        trial.folder.write_json(FILE, sets.as_dict())
