"""The five ordered scores, their confusion counts, and the merit that chooses thresholds, heads and epochs.

Users see scores from 1 to 5; computations use classes from 0 to 4. The reported metrics are in
`consistency.evaluation.metrics`.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Objects = npt.NDArray[np.object_]

CLASSES = 5
SCORES: Ints = np.arange(1, CLASSES + 1)
DISTANCE = np.abs(np.subtract.outer(np.arange(CLASSES), np.arange(CLASSES)))  # (true, predicted)


def confusion(labels: Ints, predicted: Ints) -> Ints:
    """Count rows by true and predicted class.

    Parameters
    ----------
    labels : (n,) int64
        True classes, 0 to 4.
    predicted : (..., n) int64
        Predicted classes, 0 to 4, of any number of systems.

    Returns
    -------
    (..., 5, 5) int64
        Rows are true classes, columns predicted ones.
    """
    cells = labels * CLASSES + predicted
    stacks = cells.reshape(-1, cells.shape[-1]) + CLASSES**2 * np.arange(cells[..., 0].size)[:, None]
    counts = np.bincount(stacks.ravel(), minlength=CLASSES**2 * len(stacks))
    return counts.reshape(*cells.shape[:-1], CLASSES, CLASSES)


def macro_f1(counts: Ints | Floats) -> Floats:
    """Compute macro-F1 from confusion counts, averaged over the classes that occur in labels or predictions.

    This is scikit-learn's definition with the same operations in the same order, so that ties break alike.

    Parameters
    ----------
    counts : (..., 5, 5) int64 or float64
        Rows are true classes, columns predicted ones.

    Returns
    -------
    (...) float64
        Macro-F1, from 0 to 1.
    """
    occurring = counts.sum(axis=-1) + counts.sum(axis=-2)
    f1 = 2 * np.diagonal(counts, axis1=-2, axis2=-1) / np.where(occurring > 0, occurring, 1)
    total = f1[..., 0] + f1[..., 1] + f1[..., 2] + f1[..., 3] + f1[..., 4]
    return total / np.maximum((occurring > 0).sum(axis=-1), 1)


def qwk(counts: Ints | Floats) -> Floats:
    """Compute quadratic weighted kappa from confusion counts as scikit-learn defines it.

    scikit-learn numbers the classes that occur 0, 1, ..., so an absent class leaves no gap. The cells are added in its
    order, so that results agree to the last bit if all classes occur.

    Parameters
    ----------
    counts : (..., 5, 5) int64 or float64
        Rows are true classes, columns predicted ones.

    Returns
    -------
    (...) float64
        Kappa; NaN where it is undefined.
    """
    truth, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    place = np.cumsum(truth + predicted > 0, axis=-1) - 1
    weights = (place[..., :, None] - place[..., None, :]) ** 2
    total = np.maximum(truth.sum(axis=-1), 1)[..., None, None]
    expected = predicted[..., :, None] * truth[..., None, :] / total
    observed, chance = (
        (weights * cells).reshape(*counts.shape[:-2], CLASSES**2).sum(axis=-1) for cells in (counts, expected)
    )
    return 1 - np.divide(observed, chance, out=np.full(chance.shape, np.nan), where=chance > 0)


def five_class_kappa(counts: Ints | Floats) -> Floats:
    """Compute the quadratic weighted kappa that choices maximise, from confusion counts (..., 5, 5).

    It differs from the reported metric `qwk`, which is scikit-learn's, in two ways. The distance between two classes
    does not depend on which classes occur (scikit-learn renumbers them), and the result is 0 where kappa is undefined
    because labels and predictions are all of one class.
    """
    observed = (counts * DISTANCE**2).sum(axis=(-2, -1))
    truth, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    total = np.maximum(truth.sum(axis=-1), 1)
    expected = np.einsum("...i,ij,...j->...", truth, DISTANCE**2, predicted) / total
    return np.where(expected > 0, 1 - observed / np.where(expected > 0, expected, 1), 0.0)


def merit(counts: Ints | Floats) -> Floats:
    """Compute the mean of `five_class_kappa` and `macro_f1`, which every choice maximises, from counts (..., 5, 5).

    Kappa rewards predictions in the right order, macro-F1 predictions that cover all scores. Epochs, heads, decision
    rules and controls are chosen by it on training or validation rows. Reports rank systems by the mean of the reported
    metrics, which differs where a class is absent.
    """
    return (five_class_kappa(counts) + macro_f1(counts)) / 2
