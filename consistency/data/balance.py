"""Choosing whole groups of rows so that every score has its share of them."""

import numpy as np
import numpy.typing as npt

from consistency.data.distinct import number_distinct
from consistency.scale import CLASSES


def scores_per_group(
    labels: npt.NDArray[np.int64], groups: npt.NDArray[np.object_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(g, 5) int64 rows of each score in each group (in order of first appearance), and (n,) the group of
    each row.
    """
    firsts, index = number_distinct(groups)
    counts = np.zeros((len(firsts), CLASSES), dtype=np.int64)
    np.add.at(counts, (index, labels), 1)
    return counts, index


def choose_groups(
    counts: npt.NDArray[np.int64], fraction: float, rng: np.random.Generator, *, spare: int
) -> npt.NDArray[np.int64]:
    """Groups holding about `fraction` of the rows of every score; at least one, leaving at least `spare`.

    counts: (g, 5) int64. Of many random orders of the groups, each cut where it fits best, the best is taken,
    and improved by exchanging two groups while that helps: a random choice among nearly balanced ones, not a
    sorted one.
    """
    counted = np.column_stack([counts, counts.sum(axis=1)]).astype(np.float64)  # the sixth column: all rows
    target = fraction * counted.sum(axis=0)
    weight = 1 / np.maximum(target, 1)
    groups = len(counts)

    def misfit(chosen: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """chi-square-like distance of (..., 6) chosen counts from the target, (...)."""
        return ((chosen - target) ** 2 * weight).sum(axis=-1)

    best, best_misfit = np.arange(1), np.inf
    for _ in range(max(5, min(300, 300_000 // groups))):  # many groups are nearly balanced by chance alone
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
    """One group, the first, of those with the same counts: to exchange another one would come to the same."""
    return groups[np.sort(np.unique(kind[groups], return_index=True)[1])]
