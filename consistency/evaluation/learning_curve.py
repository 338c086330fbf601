"""Quality against the number of labelled images: which images are drawn, and what twice as many are expected to give.

A learning curve answers whether more labels are worth their price. The test images are the same for every training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.errors import DataError
from consistency.evaluation.metrics import METRICS
from consistency.evaluation.seeds import Spread
from consistency.scale import Objects

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)  # of the training images: each size is twice the one before
LEAST_IMAGES = 24  # with fewer training images the smallest size would have less than three
EXPONENT = -1 / 4
_IMAGES = 2  # tells the drawn images apart from everything else that is drawn from the same seed

Floats = npt.NDArray[np.float64]


def curve_sizes(n_images: int) -> tuple[int, ...]:
    """Return the four numbers of images to train on: an eighth, a quarter, half and all of `n_images`.

    Raises
    ------
    DataError
        If there are fewer than `LEAST_IMAGES`.
    """
    if n_images < LEAST_IMAGES:
        raise DataError(
            f"{n_images} training images are too few for a learning curve: it needs at least {LEAST_IMAGES}"
        )
    return tuple(int(share * n_images) for share in SHARES)


def drawn_order(images: Objects, *, draw: int, seed: int) -> Objects:
    """Return the distinct images in random order.

    The images of each size are the first ones in this order, so the larger sizes of a draw contain the smaller ones.

    Parameters
    ----------
    images : (n,) object
        The image of each training row.
    draw : int
        Number of the draw, from 1. Two draws share no order.
    seed : int
        Random seed.

    Returns
    -------
    (m,) object
        The m distinct images.
    """
    distinct = np.array(sorted(set(images)), dtype=object)
    shuffled: Objects = np.random.default_rng([seed, _IMAGES, draw]).permutation(distinct)
    return shuffled


@dataclass(frozen=True)
class Law:
    """A metric as a function of the number n of labelled images: a + b n^(-1/4).

    Learning curves are commonly described as a - b n^(-c). Three sizes cannot determine three numbers, so c is fixed.
    On drawn data sets 1/4 predicts the next doubling with less bias than 1/2 and than the logarithm
    (benchmarks/RESULTS.md).

    Attributes
    ----------
    a, b : float
        The limit for many images, and what few images change.

    References
    ----------
    Viering & Loog, The Shape of Learning Curves: A Review, IEEE TPAMI 45(6):7799, 2023.
    """

    a: float
    b: float

    @classmethod
    def of(cls, images: Sequence[int], values: Sequence[float]) -> "Law":
        """Fit the law to at least two points by least squares."""
        b, a = np.polyfit(np.array(images, dtype=np.float64) ** EXPONENT, values, 1)
        return cls(float(a), float(b))

    def at(self, images: float) -> float:
        """The value for a number of images."""
        return float(self.a + self.b * images**EXPONENT)


@dataclass(frozen=True)
class Extrapolation:
    """What twice as many labelled images are expected to give.

    Attributes
    ----------
    images : int
        Twice the largest size.
    value : float
        The expected metric, by the law fitted to the means of all sizes.
    error : float
        How far the law, fitted to the means of all sizes but the largest, misses the mean of the largest. That is one
        doubling ahead, too.
    law : Law
        The law fitted to the means of all sizes.
    """

    images: int
    value: float
    error: float
    law: Law


@dataclass(frozen=True)
class CurveTraining:
    """One training of the curve.

    Attributes
    ----------
    images, rows : int
        Number of labelled images, and of their training rows.
    draw : int
        Number of the draw, from 1.
    seed : int
        Random seed of the training.
    metrics : mapping
        The metrics on the test rows, None where undefined.
    """

    images: int
    rows: int
    draw: int
    seed: int
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class LearningCurve:
    """The trainings of one system on more and more images, tested on the same rows.

    Attributes
    ----------
    system : str
        Name of the system.
    trainings : tuple of CurveTraining
        At least two draws of every size. At the largest size, which has all images, draws differ in the training seed
        alone.
    """

    system: str
    trainings: tuple[CurveTraining, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of images, the smallest first."""
        return tuple(sorted({training.images for training in self.trainings}))

    def rows(self, size: int) -> float:
        """Mean number of training rows at a size."""
        return float(np.mean([training.rows for training in self.trainings if training.images == size]))

    def values(self, metric: str, size: int) -> list[float] | None:
        """A metric of every draw at a size; None where it is undefined for any of them."""
        found = [training.metrics[metric] for training in self.trainings if training.images == size]
        return None if None in found else [value for value in found if value is not None]

    def spread(self, metric: str, size: int) -> Spread | None:
        """Mean and standard deviation of a metric over the draws of a size; None where it is undefined."""
        values = self.values(metric, size)
        return None if values is None else Spread.of(values)

    def extrapolation(self, metric: str) -> Extrapolation | None:
        """What twice the largest number of images is expected to give; None where the metric is undefined."""
        spreads = [self.spread(metric, size) for size in self.sizes]
        means = [spread.mean for spread in spreads if spread is not None]
        if len(means) < len(spreads):
            return None
        law, before = Law.of(self.sizes, means), Law.of(self.sizes[:-1], means[:-1])
        images = 2 * self.sizes[-1]
        return Extrapolation(images, law.at(images), abs(before.at(self.sizes[-1]) - means[-1]), law)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values: the sizes, and for each metric its means, deviations and extrapolation."""
        metrics = {}
        for name in METRICS:
            ahead = self.extrapolation(name)
            spreads = [self.spread(name, size) for size in self.sizes]
            metrics[name] = {
                "mean": [spread and spread.mean for spread in spreads],
                "deviation": [spread and spread.deviation for spread in spreads],
                "expected": ahead and ahead.value,
                "expected_error": ahead and ahead.error,
            }
        return {
            "system": self.system,
            "images": list(self.sizes),
            "draws": max(training.draw for training in self.trainings),
            "law": "a + b images^(-1/4)",
            "expected_at": 2 * self.sizes[-1],
            "metrics": metrics,
        }
