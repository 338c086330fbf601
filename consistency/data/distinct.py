"""Numbers the distinct values of a sequence, lists the rows of each, and joins two divisions of rows into groups."""

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


def members_of(number: Ints) -> list[Ints]:
    """Return the rows with number 0, 1, ..., each ascending; number: (n,) int64 without gaps."""
    ascending = np.argsort(number, kind="stable")
    return np.split(ascending, np.cumsum(np.bincount(number))[:-1])


def join_groups(one: npt.NDArray[np.object_], other: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """The finest groups that divide neither the groups of `one` nor those of `other`.

    Parameters
    ----------
    one, other : (n,) object
        The group of each row.

    Returns
    -------
    (n,) object
        For each row the value in `one` at the first row that a chain of shared groups links it to.
    """
    from scipy.sparse import coo_array  # slow to import, and needed for tables with posts only
    from scipy.sparse.csgraph import connected_components

    (firsts, left), (_, right) = number_distinct(one), number_distinct(other)
    nodes = len(firsts) + int(right.max(initial=-1)) + 1
    links = coo_array((np.ones(len(one), dtype=np.int8), (left, right + len(firsts))), shape=(nodes, nodes))
    component = connected_components(links, directed=False)[1]
    names: dict[int, object] = {}
    for first, of in zip(firsts, component, strict=False):
        names.setdefault(int(of), one[first])
    joined = np.empty(len(one), dtype=object)
    joined[:] = [names[of] for of in component[left].tolist()]
    return joined
