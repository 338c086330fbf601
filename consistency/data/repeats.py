"""Repeats in a pair table: rows of the same image and the same hashtag, merged into one."""

from dataclasses import dataclass
from pathlib import Path

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
        names = table.images[pair], table.hashtags[pair]
        raise conflict_error(table.path, table.rows[same], scores[same], *names, int(conflicting.sum()))
    if on_conflict == "drop":
        return Merged(first, kept & ~conflicting, scores)
    if on_conflict == "mean":
        count, total = np.bincount(first, minlength=n), np.zeros(n, dtype=np.int64)
        np.add.at(total, first, scores)
        scores = mean_score(total, np.maximum(count, 1))  # indexed by first row
    return Merged(first, kept, scores[first])


def mean_score(total: npt.NDArray[np.int64], count: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The mean of `count` scores that add up to `total`, rounded half up; each (n,)."""
    return (2 * total + count) // (2 * count)


def conflict_error(
    path: Path, rows: npt.NDArray[np.int64], scores: npt.NDArray[np.int64], image: str, hashtag: str, pairs: int
) -> DataError:
    """The error for rows of one pair with these scores, the first of `pairs` pairs whose scores differ."""
    return DataError(
        f"{path}: rows {listed(rows, 10)} have the same image and hashtag ({image}, {hashtag}) but scores "
        f"{listed(scores, 10)}; pairs with conflicting scores: {pairs}. "
        "Correct the table, or choose --on-conflict mean, first or drop"
    )
