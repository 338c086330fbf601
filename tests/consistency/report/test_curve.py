"""The figure of a learning curve is a readable PNG, also where a metric is not defined."""

import io

from PIL import Image

from consistency.evaluation.learning_curve import LearningCurve
from consistency.report.curve import learning_curve_png
from tests.builders.curves import curve_of


def size_of(curve: LearningCurve) -> tuple[int, int]:
    image = Image.open(io.BytesIO(learning_curve_png(curve)))
    image.load()
    assert image.format == "PNG"
    return image.size


def test_the_figure_shows_what_the_curve_says() -> None:
    rising = curve_of({18: [0.3, 0.5], 36: [0.4, 0.6], 72: [0.5, 0.7], 144: [0.66, 0.68]})
    falling = curve_of({18: [0.7, 0.5], 36: [0.4, 0.6], 72: [0.5, 0.3], 144: [0.26, 0.28]})
    undefined = curve_of({18: [None, 0.5], 36: [0.4, 0.6], 72: [0.5, 0.7], 144: [0.66, 0.68]})
    assert size_of(rising) == size_of(falling) == size_of(undefined)
    figures = [learning_curve_png(curve) for curve in (rising, falling, undefined)]
    assert len(set(figures)) == 3
    assert figures[0] == learning_curve_png(rising)
