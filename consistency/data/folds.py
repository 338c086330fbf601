"""Folds for cross-validation: of single rows, or of whole groups with balanced scores.

scikit-learn is imported inside functions, because importing it takes a second and most commands need no folds.
"""

import warnings
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from consistency.data.balance import choose_groups, scores_per_group
from consistency.data.splits import PAPER_SEED, Seed, Split, random_state
from consistency.errors import DataError, InputError


def with_folds(split: Split, folds: int) -> Split:
    """Add outer folds over the kept rows: of whole groups, or of single rows if there are no groups.

    Rows that were merged away get the fold of their group. A split that has folds is returned unchanged.

    Parameters
    ----------
    split : Split
        The split.
    folds : int
        Number of folds.

    Returns
    -------
    Split

    Raises
    ------
    InputError
        If the split has a different number of folds.
    DataError
        If there are too few groups or rows.
    """
    if (split.fold >= 0).any():
        found = int(split.fold.max()) + 1
        if found != folds:
            raise InputError(f"the split file has {found} folds, expected {folds}: give --folds {found}")
        return split
    kept = np.flatnonzero(split.kept)
    groups = split.groups_of(kept)
    of_kept = make_folds(split.labels[kept], groups, folds=folds, seed=split.seed)
    if split.groups is None or groups is None:
        return replace(split, fold=of_kept)
    of_group = dict(zip(groups, of_kept, strict=True))
    return replace(split, fold=np.array([of_group.get(group, -1) for group in split.groups], dtype=np.int64))


def make_folds(
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.object_] | None,
    *,
    folds: int = 5,
    seed: Seed = PAPER_SEED,
) -> npt.NDArray[np.int64]:
    """Divide n rows into folds for cross-validation.

    Without groups this is scikit-learn's `StratifiedKFold(folds, shuffle=True, random_state=seed)`.

    Parameters
    ----------
    labels : (n,) int64
        Classes 0 to 4.
    groups : (n,) object or None
        All rows of a group get the same fold, and scores are as balanced as whole groups allow.
    folds : int
        Number of folds, at least 2.
    seed : int or SeedSequence
        Random seed.

    Returns
    -------
    (n,) int64
        Fold 0 to folds - 1 in which each row is tested.

    Raises
    ------
    InputError
        If `folds` is less than 2.
    DataError
        If there are too few groups or rows.
    """
    if folds < 2:
        raise InputError(f"the number of folds is {folds}, expected at least 2")
    fold = np.empty(len(labels), dtype=np.int64)
    if groups is None:
        from sklearn.model_selection import StratifiedKFold

        if len(labels) == 0 or np.bincount(labels).max() < folds:
            raise DataError(f"no score has the {folds} rows that {folds} folds need: ask for fewer folds")
        with warnings.catch_warnings():  # a rare score may be missing from some folds
            warnings.filterwarnings("ignore", "The least populated class")
            parts = StratifiedKFold(folds, shuffle=True, random_state=random_state(seed)).split(labels, labels)
            for number, (_, tested) in enumerate(parts):
                fold[tested] = number
        return fold
    counts, index = scores_per_group(labels, groups)
    if len(counts) < folds:
        raise DataError(
            f"{len(counts)} distinct images (protocol hashtag: hashtags) are too few for {folds} folds: ask for fewer"
        )
    of_group = np.zeros(len(counts), dtype=np.int64)
    rng = np.random.default_rng(seed)
    for number in range(folds - 1):  # each fold takes its share of the remaining groups; fold 0 gets the rest
        left = np.flatnonzero(of_group == 0)
        share = choose_groups(counts[left], 1 / (folds - number), rng, spare=folds - 1 - number)
        of_group[left[share]] = folds - 1 - number
    return of_group[index]


def make_divisions(
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.object_] | None,
    *,
    folds: int,
    repeats: int,
    seed: int,
) -> list[npt.NDArray[np.int64]]:
    """Divide n rows into folds several times; see `make_folds`.

    Every division has its own random stream, spawned from `seed`. With seed + repeat as seeds, the second division of
    one seed would equal the first division of the next.

    Parameters
    ----------
    labels, groups, folds
        As for `make_folds`.
    repeats : int
        Number of divisions.
    seed : int
        Random seed.

    Returns
    -------
    list of (n,) int64
        Folds of each division.
    """
    streams = np.random.SeedSequence(seed).spawn(repeats)
    return [make_folds(labels, groups, folds=folds, seed=stream) for stream in streams]
