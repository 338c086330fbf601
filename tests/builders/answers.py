"""Scores and answers by chance, for what is measured on them."""

import numpy as np
import numpy.typing as npt

Rows = tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.object_],
]


def random_rows(seed: int, n: int, pictures: int, classes: int = 5) -> Rows:
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, classes + 1, n)
    probabilities = rng.dirichlet(np.ones(5), n)
    predicted = np.where(rng.random(n) < 0.5, scores, probabilities.argmax(axis=1) + 1)
    values = np.round(probabilities @ np.arange(1, 6), 1)  # rounded, so that there are ties
    images = np.array([f"{picture}.png" for picture in rng.integers(0, pictures, n)], dtype=object)
    return scores, predicted, values, probabilities, images
