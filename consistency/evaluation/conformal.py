"""Prediction sets: the range of scores that holds the label of a new pair with a chosen probability.

The sets are split-conformal. A system's answers for images that it was not trained on say how far the mass of its
probabilities must be trusted, so that the promise holds however badly calibrated they are. What is exchangeable is
images, not rows: a set holds the label of a random row of a new image with at least the chosen probability.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.errors import InputError, os_errors_as
from consistency.scale import CLASSES, Floats, Ints

FILE = "sets.json"
LEVELS = tuple(round(0.5 + step / 100, 2) for step in range(50))  # 0.50 to 0.99
_SLACK = 1e-9  # rounding of sums of probabilities


def mass_before(probabilities: Floats) -> Floats:
    """Compute how much probability a range of scores gathers before it reaches each score.

    A range begins with the most probable score and grows by the more probable of its two neighbours (the higher one
    among equals), so ranges have no gaps.

    Parameters
    ----------
    probabilities : (n, 5) float64
        Probabilities of the scores.

    Returns
    -------
    (n, 5) float64
        0 for the most probable score.

    References
    ----------
    Lu, Angelopoulos & Pomerantz, Improving Trustworthiness of AI Disease Severity Rating in Medical Imaging with
    Ordinal Conformal Prediction Sets, MICCAI 2022, arXiv:2207.02238.
    """
    rows = np.arange(len(probabilities))
    # A column of -1 on each side: no range grows beyond the scale.
    edged = np.pad(probabilities, ((0, 0), (1, 1)), constant_values=-1.0)
    low = high = probabilities.argmax(axis=1) + 1
    before = np.zeros(probabilities.shape)
    mass = edged[rows, low]
    for _ in range(CLASSES - 1):
        up = edged[rows, high + 1] >= edged[rows, low - 1]
        low, high = np.where(up, low, low - 1), np.where(up, high + 1, high)
        added = np.where(up, high, low)
        before[rows, added - 1] = mass
        mass = mass + edged[rows, added]
    return before


@dataclass(frozen=True)
class PredictionSets:
    """What a system needs to give prediction sets.

    Attributes
    ----------
    calibrated_on : {"cv", "test"}
        The answers that calibrate it: those out of fold, or those for the test rows.
    images, rows : int
        Number of images and rows that calibrate it.
    mass : mapping of float to float or None
        By level: a set holds each score before which at most so much probability is gathered. None: all scores, since
        there are too few images for this level.
    """

    calibrated_on: str
    images: int
    rows: int
    mass: Mapping[float, float | None]

    @classmethod
    def fit(
        cls, probabilities: Floats, labels: Ints, images: npt.NDArray[Any], *, calibrated_on: str
    ) -> "PredictionSets":
        """Calibrate on answers for images that the system was not trained on.

        Each image has the same weight, divided among its rows, and the new image has the weight of one more.

        Parameters
        ----------
        probabilities : (n, 5) float64
            Probabilities of the scores.
        labels : (n,) int64
            Classes, 0 to 4.
        images : (n,) array
            Equal for rows of the same image.
        calibrated_on : {"cv", "test"}
            Which answers these are.

        References
        ----------
        Lee, Barber & Willett, Distribution-Free Inference with Hierarchical Data, arXiv:2306.06342: hierarchical
        conformal prediction.
        """
        reached = mass_before(probabilities)[np.arange(len(labels)), labels]
        _, image, rows = np.unique(images, return_inverse=True, return_counts=True)
        order = np.argsort(reached, kind="stable")
        weight = np.cumsum(1 / rows[image][order]) / (len(rows) + 1)
        mass: dict[float, float | None] = {}
        for level in LEVELS:
            place = int(np.searchsorted(weight, level - _SLACK))
            mass[level] = float(reached[order][place]) if place < len(order) else None
        return cls(calibrated_on, len(rows), len(labels), mass)

    def ranges(self, probabilities: Floats, level: float) -> Ints:
        """Return the lowest and the highest score of each set, (n, 2) int64, 1 to 5.

        Parameters
        ----------
        probabilities : (n, 5) float64
            Probabilities of the scores.
        level : float
            One of `LEVELS`.
        """
        most = self.mass[level]
        held = mass_before(probabilities) <= (np.inf if most is None else most + _SLACK)
        return np.stack([held.argmax(axis=1) + 1, CLASSES - held[:, ::-1].argmax(axis=1)], axis=1)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        mass = {f"{level:.2f}": value for level, value in self.mass.items()}
        return {"calibrated_on": self.calibrated_on, "images": self.images, "rows": self.rows, "mass": mass}


def load_sets(folder: Path, level: float) -> Callable[[Floats], Ints]:
    """Return what turns probabilities into the sets of a run: `PredictionSets.ranges` of this level.

    Raises
    ------
    InputError
        If the run has no sets or none of this level, or the file cannot be read or is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(
            f"{folder} has no {FILE} and gives no sets: expected a run of heads or finetune with probabilities, whose "
            "test images are not in train"
        )
    try:
        with os_errors_as(InputError, f"{path} cannot be read"):
            saved = json.loads(path.read_bytes())
        mass = {float(level): value if value is None else float(value) for level, value in saved["mass"].items()}
        sets = PredictionSets(saved["calibrated_on"], int(saved["images"]), int(saved["rows"]), mass)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}): train again") from error
    if level not in sets.mass:
        raise InputError(f"there are no sets of level {level:g}: give 0.50, 0.51, ... or 0.99")
    return partial(sets.ranges, level=level)
