"""Numbers the distinct values of a sequence in the order in which they first appear."""

from collections.abc import Hashable, Iterable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def number_distinct(values: Iterable[Hashable]) -> tuple[Ints, Ints]:
    """Number the distinct values 0, 1, ... in the order of their first appearance.

    Parameters
    ----------
    values : iterable of hashable, length n
        NumPy object arrays are fine; convert integer arrays with `tolist` first, which is faster.

    Returns
    -------
    firsts : (g,) int64
        Position at which each of the g distinct values first appears; ascending.
    index : (n,) int64
        Number of each value, so that `values[firsts][index]` equals `values`.
    """
    places: dict[Hashable, int] = {}
    firsts: list[int] = []
    index: list[int] = []
    for position, value in enumerate(values):
        number = places.setdefault(value, len(firsts))
        if number == len(firsts):
            firsts.append(position)
        index.append(number)
    return np.array(firsts, dtype=np.int64), np.array(index, dtype=np.int64)
