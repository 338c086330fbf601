"""The five ordered classes behind the scores 1 to 5, and what confusion counts of them say."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CLASSES = 5

DISTANCE = np.abs(np.subtract.outer(np.arange(CLASSES), np.arange(CLASSES)))  # (true, predicted)


def confusion(labels: Ints, predicted: Ints) -> Ints:
    """Counts (..., 5, 5) by true and predicted class. labels: (n,), predicted: (..., n), both 0..4."""
    cells = labels * CLASSES + predicted
    stacks = cells.reshape(-1, cells.shape[-1]) + CLASSES**2 * np.arange(cells[..., 0].size)[:, None]
    counts = np.bincount(stacks.ravel(), minlength=CLASSES**2 * len(stacks))
    return counts.reshape(*cells.shape[:-1], CLASSES, CLASSES)


def macro_f1(counts: Ints) -> Floats:
    """Macro-F1 of confusion counts (..., 5, 5), over the classes that occur in truth or prediction.

    The same operations in the same order as scikit-learn's, so that ties break alike.
    """
    occurring = counts.sum(axis=-1) + counts.sum(axis=-2)
    f1 = 2 * np.diagonal(counts, axis1=-2, axis2=-1) / np.maximum(occurring, 1)
    total = f1[..., 0] + f1[..., 1] + f1[..., 2] + f1[..., 3] + f1[..., 4]
    return total / np.maximum((occurring > 0).sum(axis=-1), 1)


def quadratic_kappa(counts: Ints) -> Floats:
    """Quadratic weighted kappa of confusion counts (..., 5, 5); 0 where it is undefined (one class in both)."""
    observed = (counts * DISTANCE**2).sum(axis=(-2, -1))
    truth, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    total = np.maximum(truth.sum(axis=-1), 1)
    expected = np.einsum("...i,ij,...j->...", truth, DISTANCE**2, predicted) / total
    return np.where(expected > 0, 1 - observed / np.where(expected > 0, expected, 1), 0.0)
