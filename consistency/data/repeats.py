"""Repeats in a pair table: rows of the same image and the same hashtag, merged into one."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consistency.data.distinct import number_distinct
from consistency.data.hashtags import identities
from consistency.data.pairs import PairTable
from consistency.errors import DataError
from consistency.options import OnConflict
from consistency.text import listed


@dataclass(frozen=True, eq=False)
class Merged:
    """A pair table with n rows whose repeats are merged.

    Attributes
    ----------
    first : (n,) int64
        Index of the first row of the same image and hashtag; the row's own index for that first row.
    kept : (n,) bool
        False for repeats, and for pairs that were dropped because their scores conflict.
    scores : (n,) int64
        Scores 1 to 5 after the rule for conflicts; 0 for rows without a score.
    """

    first: npt.NDArray[np.int64]
    kept: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.int64]


def merge_repeats(table: PairTable, identity: npt.NDArray[np.object_], on_conflict: OnConflict = "abort") -> Merged:
    """Merge rows of the same image and hashtag into the first of them.

    Parameters
    ----------
    table : PairTable
        The n rows. Two hashtags are the same if `hashtags.hashtag_identity` says so.
    identity : (n,) object
        Identity of each row's image: equal for rows that show the same image.
    on_conflict : {"abort", "mean", "first", "drop"}
        What to do if the scores of such rows differ: raise DataError, take their mean rounded half up, take the first
        row's score, or keep none of the rows.

    Returns
    -------
    Merged

    Raises
    ------
    DataError
        If scores differ and `on_conflict` is "abort".
    """
    n = len(table)
    firsts, pair_of = number_distinct(zip(identity, identities(table.hashtags), strict=True))
    first = firsts[pair_of]
    kept, scores = first == np.arange(n), table.scores
    conflicting = np.zeros(n, dtype=bool)  # indexed by first row
    conflicting[first[scores != scores[first]]] = True
    if not conflicting.any():
        return Merged(first, kept, scores)
    if on_conflict == "abort":
        pair = int(conflicting.argmax())
        same = first == pair
        raise DataError(
            f"{table.path}: rows {listed(table.rows[same], 10)} have the same image and hashtag ({table.images[pair]}, "
            f"{table.hashtags[pair]}) but scores {listed(scores[same], 10)}; pairs with conflicting scores: "
            f"{conflicting.sum()}. Correct the table, or choose --on-conflict mean, first or drop"
        )
    if on_conflict == "drop":
        return Merged(first, kept & ~conflicting, scores)
    if on_conflict == "mean":
        count, total = np.bincount(first, minlength=n), np.zeros(n, dtype=np.int64)
        np.add.at(total, first, scores)
        scores = (2 * total + count) // np.maximum(2 * count, 1)  # indexed by first row; halves round up
    return Merged(first, kept, scores[first])
