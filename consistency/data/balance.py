"""Chooses whole groups of rows such that every score is represented in proportion."""

import numpy as np
import numpy.typing as npt

from consistency.data.distinct import number_distinct
from consistency.scale import CLASSES


def scores_per_group(
    labels: npt.NDArray[np.int64], groups: npt.NDArray[np.object_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count the rows of each score in each group.

    Parameters
    ----------
    labels : (n,) int64
        Classes 0 to 4.
    groups : (n,) object
        Group of each row.

    Returns
    -------
    counts : (g, 5) int64
        Rows per group, in the order of first appearance, and class.
    index : (n,) int64
        Row of `counts` for each row.
    """
    firsts, index = number_distinct(groups)
    counts = np.zeros((len(firsts), CLASSES), dtype=np.int64)
    np.add.at(counts, (index, labels), 1)
    return counts, index


def choose_groups(
    counts: npt.NDArray[np.int64], fraction: float, rng: np.random.Generator, *, spare: int
) -> npt.NDArray[np.int64]:
    """Choose groups that hold about a given fraction of the rows of every score.

    Many random orders of the groups are each cut where the counts fit best. The best of them is improved by swapping
    two groups for as long as that helps. The result is a random choice among nearly balanced ones.

    Parameters
    ----------
    counts : (g, 5) int64
        Rows per group and class.
    fraction : float
        Fraction of rows to choose, between 0 and 1.
    rng : numpy.random.Generator
        Source of randomness.
    spare : int
        Number of groups to leave at least; at least one group is chosen.

    Returns
    -------
    (m,) int64
        Rows of `counts`, ascending.
    """
    counted = np.column_stack([counts, counts.sum(axis=1)]).astype(np.float64)  # the sixth column: all rows
    target = fraction * counted.sum(axis=0)
    weight = 1 / np.maximum(target, 1)
    groups = len(counts)

    def misfit(chosen: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Distance of chosen counts, (..., 6), from the target, like a chi-square statistic: (...)."""
        return ((chosen - target) ** 2 * weight).sum(axis=-1)

    best, best_misfit = np.arange(1), np.inf
    for _ in range(max(5, min(300, 300_000 // groups))):  # with many groups, random orders are nearly balanced already
        order = rng.permutation(groups)
        cuts = misfit(np.cumsum(counted[order], axis=0)[: groups - spare])
        cut = int(cuts.argmin())
        if cuts[cut] < best_misfit:
            best, best_misfit = order[: cut + 1], cuts[cut]
    chosen = np.zeros(groups, dtype=bool)
    chosen[best] = True
    kind = np.unique(counts, axis=0, return_inverse=True)[1].ravel()
    while True:
        inside, outside = (_first_of_kind(np.flatnonzero(part), kind) for part in (chosen, ~chosen))
        if len(inside) * len(outside) > 250_000:
            break
        total = counted[chosen].sum(axis=0)
        swaps = misfit(total - counted[inside][:, None] + counted[outside][None])
        leave, enter = np.unravel_index(int(swaps.argmin()), swaps.shape)
        if swaps[leave, enter] >= best_misfit - 1e-9:
            break
        best_misfit = swaps[leave, enter]
        chosen[inside[leave]], chosen[outside[enter]] = False, True
    return np.flatnonzero(chosen)


def _first_of_kind(groups: npt.NDArray[np.int64], kind: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The first of all groups with the same counts; swapping any other of them has the same effect."""
    return groups[np.sort(np.unique(kind[groups], return_index=True)[1])]
