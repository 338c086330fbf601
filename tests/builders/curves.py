"""Learning curves with given values."""

from consistency.evaluation.learning_curve import CurveTraining, LearningCurve
from consistency.evaluation.metrics import METRICS


def curve_of(values: dict[int, list[float | None]]) -> LearningCurve:
    """A curve whose metrics all have these values, by number of images and draw."""
    return LearningCurve(
        "heads",
        tuple(
            CurveTraining(size, 10 * size, draw, draw, dict.fromkeys(METRICS, value))
            for size, of_size in values.items()
            for draw, value in enumerate(of_size, start=1)
        ),
    )
