"""The learning curve of `heads`: trains on more and more labelled images and tests on the same rows."""

from collections.abc import Callable

import numpy as np

from consistency.evaluation.learning_curve import CurveTraining, LearningCurve, curve_sizes, drawn_order
from consistency.evaluation.metrics import METRICS, evaluate
from consistency.evaluation.results import Result
from consistency.evaluation.seeds import training_seeds
from consistency.report.curve import learning_curve_png
from consistency.text import to_csv
from koclip_consistency.workflows.answers import Answers
from koclip_consistency.workflows.trial import Rows, Trial

CurveAnswer = Callable[[Rows, Rows, int], Answers]


def learning_curve(
    trial: Trial, first: Result, answer: CurveAnswer, train: Rows, test: Rows, *, draws: int
) -> LearningCurve:
    """Train on draws of the training images, and write `learning_curve.csv` and `learning_curve.png`.

    Parameters
    ----------
    trial
        The run.
    first
        The run's own result on `test`: the first draw of the largest size.
    answer
        Trains the system on the given rows with a seed and returns its predictions for the test rows.
    train, test
        (n,) and (m,) int64, the training rows and the test rows of the table.
    draws
        Draws of each size.

    Raises
    ------
    DataError
        If there are too few training images.
    """
    images, scores = trial.inputs.identity[train], first.predictions.scores
    seed = trial.options.evaluation.seed
    trainings = []
    for draw, training_seed in enumerate(training_seeds(seed, draws), start=1):
        order = drawn_order(images, draw=draw, seed=seed)
        place = {image: number for number, image in enumerate(order)}
        places = np.array([place[image] for image in images])
        for size in curve_sizes(len(order)):
            rows = train[places < size]
            if len(rows) == len(train) and draw == 1:
                metrics = first.metrics
            else:
                said = answer(rows, test, training_seed)
                assert said.predicted is not None
                assert said.values is not None
                metrics = evaluate(scores, said.predicted, said.values, said.probabilities)
            trainings.append(CurveTraining(size, len(rows), draw, training_seed, metrics))
        trial.clock.lap("learning curve")
    curve = LearningCurve(first.predictions.system, tuple(trainings))
    columns = ["system", "images", "draw", "rows", "seed", *METRICS]
    lines = (
        [curve.system, t.images, t.draw, t.rows, t.seed, *(t.metrics[name] for name in METRICS)]
        for t in sorted(trainings, key=lambda t: (t.images, t.draw))
    )
    trial.folder.write_file("learning_curve.csv", to_csv(columns, lines))
    trial.folder.write_file("learning_curve.png", learning_curve_png(curve))
    return curve
