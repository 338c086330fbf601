"""Who is in train, validation and test: the published split by rows, the honest ones by image and by hashtag, folds.

scikit-learn is imported where it is called: it takes a second, and most commands draw no split.
"""

import warnings
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from consistency.data.balance import choose_groups, scores_per_group
from consistency.data.hashtags import identities
from consistency.data.pairs import PairTable
from consistency.data.repeats import merge_repeats
from consistency.errors import DataError, InputError
from consistency.options import TEST_FRACTION, OnConflict, Protocol

Side = Literal["train", "val", "test"]
Whole = Literal["images", "hashtags"]

PROTOCOLS: tuple[Protocol, ...] = ("grouped", "hashtag", "paper")
SIDES: tuple[Side, ...] = ("train", "val", "test")
PAPER_SEED = 42

Seed = int | np.random.SeedSequence


@dataclass(frozen=True, eq=False)
class Split:
    """One division of a pair table with n rows.

    side: (n,) object, "train", "val" or "test" for every row. fold: (n,) int64, -1 where not cross-validated.
    kept: (n,) bool, False where a repeat was merged into an earlier row or a conflict was dropped; such a row
    stands on the side of its group. labels: (n,) int64 classes 0..4, after the rule for conflicting scores.
    groups: (n,) object, rows of one value are never divided; None where every row stands for itself. whole: what
    those are, and what intervals draw: images or hashtags. digest: SHA-256 in hex of the file that the split was read
    from, None where it was drawn here.
    """

    protocol: str
    seed: int
    side: npt.NDArray[np.object_]
    fold: npt.NDArray[np.int64]
    kept: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.object_] | None = None
    whole: Whole = "images"
    digest: str | None = None

    def rows(self, side: Side) -> npt.NDArray[np.int64]:
        """(m,) int64 indices into the table: the kept rows of `side`, in the order of the table."""
        return np.flatnonzero(self.kept & (self.side == side))

    @property
    def train(self) -> npt.NDArray[np.int64]:
        """(m,) int64 indices of the training rows."""
        return self.rows("train")

    @property
    def val(self) -> npt.NDArray[np.int64]:
        """(m,) int64 indices of the validation rows."""
        return self.rows("val")

    @property
    def test(self) -> npt.NDArray[np.int64]:
        """(m,) int64 indices of the test rows."""
        return self.rows("test")

    @property
    def scores(self) -> npt.NDArray[np.int64]:
        """(n,) int64 scores 1 to 5, after the rule for conflicting scores; 0 where a row has none."""
        return self.labels + 1

    def groups_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.object_] | None:
        """The groups of `rows`, for folds inside them."""
        return None if self.groups is None else self.groups[rows]


def make_split(
    table: PairTable,
    identity: npt.NDArray[np.object_],
    *,
    protocol: Protocol = "grouped",
    seed: int = PAPER_SEED,
    test_fraction: float = TEST_FRACTION,
    on_conflict: OnConflict = "abort",
    scenes: npt.NDArray[np.object_] | None = None,
) -> Split:
    """Divide `table` into train and test.

    `paper` is `train_test_split(test_size=0.2, stratify=score, random_state=42)` over all rows, whatever the
    seed: rows of one image, and repeats of one pair, fall on both sides. `grouped` merges repeats and puts
    all rows of an image on one side, `hashtag` all rows of a hashtag (images then fall on both sides), with
    the proportions of the scores as alike as whole groups allow.

    identity: (n,) object, equal where two rows show the same image. scenes: (n,) object, the same with
    near-duplicates alike, which `grouped` then keeps together. Raises DataError where the table is too small.
    """
    n = len(table)
    if not 0 < test_fraction < 1:
        raise InputError(f"a test fraction of {test_fraction} was asked for, expected one between 0 and 1")
    if seed < 0:
        raise InputError(f"the seed is {seed}, expected 0 or more")
    if protocol not in PROTOCOLS:
        raise InputError(f"there is no protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}")
    if protocol == "paper" and test_fraction != TEST_FRACTION:
        raise InputError(
            f"the paper protocol tests on {TEST_FRACTION} of the rows, not {test_fraction}: "
            "use the grouped protocol for another fraction"
        )
    side = np.full(n, "train", dtype=object)
    if protocol == "paper":
        split = whole_rows(table, identity, side, protocol=protocol, seed=PAPER_SEED)
        test = _choose_rows(split.labels, test_fraction, PAPER_SEED, "the paper protocol")
    else:
        whole: Whole = "hashtags" if protocol == "hashtag" else "images"
        groups = identities(table.hashtags) if whole == "hashtags" else identity if scenes is None else scenes
        split = whole_groups(
            table, identity, side, groups, whole, protocol=protocol, seed=seed, on_conflict=on_conflict
        )
        test = _choose_whole(split, split.kept, test_fraction, seed, "test rows")
    side[test] = "test"
    return split


def whole_rows(
    table: PairTable, identity: npt.NDArray[np.object_], side: npt.NDArray[np.object_], *, protocol: str, seed: int
) -> Split:
    """The split in which every row stands for itself, repeats too."""
    _check(table, identity)
    n = len(table)
    return Split(protocol, seed, side, np.full(n, -1, dtype=np.int64), np.ones(n, dtype=bool), table.labels)


def whole_groups(
    table: PairTable,
    identity: npt.NDArray[np.object_],
    side: npt.NDArray[np.object_],
    groups: npt.NDArray[np.object_],
    whole: Whole,
    *,
    protocol: str,
    seed: int,
    on_conflict: OnConflict,
) -> Split:
    """The split in which repeats are merged and `groups`, (n,) object, never divided."""
    _check(table, identity)
    merged = merge_repeats(table, identity, on_conflict)
    unfolded = np.full(len(table), -1, dtype=np.int64)
    return Split(protocol, seed, side, unfolded, merged.kept, merged.scores - 1, groups, whole)


def hold_out_validation(split: Split, *, fraction: float = 0.15, seed: int) -> Split:
    """`split` with `fraction` of its train rows turned into "val": whole groups; single rows where it has none.

    Test rows stay as they are. Raises DataError where train is too small to give any away.
    """
    (stream,) = np.random.SeedSequence(seed).spawn(1)  # not the one that the test rows were drawn from
    if split.groups is None:
        train = split.rows("train")
        chosen = train[_choose_rows(split.labels[train], fraction, stream, "validation rows")]
    else:
        train_rows = split.kept & (split.side == "train")
        chosen = _choose_whole(split, train_rows, fraction, stream, "validation rows")
    side = split.side.copy()
    side[chosen] = "val"
    return replace(split, side=side)


def with_folds(split: Split, folds: int) -> Split:
    """`split` with outer folds over its kept rows: whole groups, or single rows where it has none.

    A row that was merged away stands in the fold of its group. Folds that a split has already stay as they are;
    raises InputError where there are not as many as `folds`.
    """
    if (split.fold >= 0).any():
        found = int(split.fold.max()) + 1
        if found != folds:
            raise InputError(f"the split file has {found} folds, and {folds} were asked for: give --folds {found}")
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
    """The fold 0..folds-1 each of n rows is tested in, (n,) int64.

    Without `groups` this is scikit-learn's `StratifiedKFold(folds, shuffle=True, random_state=seed)`. With
    `groups`, (n,) object, all rows of a group share a fold and scores are as evenly spread as whole groups
    allow.
    """
    if folds < 2:
        raise InputError(f"{folds} folds were asked for, expected at least 2")
    fold = np.empty(len(labels), dtype=np.int64)
    if groups is None:
        from sklearn.model_selection import StratifiedKFold

        if len(labels) == 0 or np.bincount(labels).max() < folds:
            raise DataError(f"no score has the {folds} rows that {folds} folds need: ask for fewer folds")
        with warnings.catch_warnings():  # a rare score that is missing from some folds is no fault
            warnings.filterwarnings("ignore", "The least populated class")
            parts = StratifiedKFold(folds, shuffle=True, random_state=_state(seed)).split(labels, labels)
            for number, (_, tested) in enumerate(parts):
                fold[tested] = number
        return fold
    counts, index = scores_per_group(labels, groups)
    if len(counts) < folds:
        raise DataError(
            f"{len(counts)} distinct images (protocol hashtag: hashtags) cannot make {folds} folds: ask for fewer folds"
        )
    of_group = np.zeros(len(counts), dtype=np.int64)
    rng = np.random.default_rng(seed)
    for number in range(folds - 1):  # each fold takes its share of what is left; the rest is fold 0
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
    """Divide n rows into folds `repeats` times, as `make_folds` does.

    Each division has a random stream of its own, spawned from `seed`, so that two seeds share none: with seed + repeat
    the second division of one seed would be the first of the next.
    """
    streams = np.random.SeedSequence(seed).spawn(repeats)
    return [make_folds(labels, groups, folds=folds, seed=stream) for stream in streams]


def _state(seed: Seed) -> int:
    """What scikit-learn takes for a seed."""
    return seed if isinstance(seed, int) else int(seed.generate_state(1)[0])


def _check(table: PairTable, identity: npt.NDArray[np.object_]) -> None:
    if len(identity) != len(table):
        raise ValueError(f"{len(identity)} image identities for {len(table)} rows")
    if len(table) and table.scores.min() < 1:
        raise DataError(f"{table.path} has rows without a score, and a split needs all of them: add the scores")


def _choose_rows(labels: npt.NDArray[np.int64], fraction: float, seed: Seed, what: str) -> npt.NDArray[np.int64]:
    """scikit-learn's stratified choice of single rows; its second part."""
    from sklearn.model_selection import train_test_split

    try:
        chosen = train_test_split(
            np.arange(len(labels)), test_size=fraction, stratify=labels, random_state=_state(seed)
        )[1]
    except ValueError as error:  # a score with one row, or fewer test rows than scores
        counts = {int(score): int((labels == score - 1).sum()) for score in np.unique(labels) + 1}
        raise DataError(
            f"{what} cannot be drawn from {len(labels)} rows with score counts {counts}: expected two rows or more "
            f"of every score, and so many that {fraction:.0%} of them hold every score; add rows, or use the grouped "
            "protocol"
        ) from error
    return np.asarray(chosen, dtype=np.int64)


def _choose_whole(
    split: Split, rows: npt.NDArray[np.bool_], fraction: float, seed: Seed, what: str
) -> npt.NDArray[np.int64]:
    """All rows, merged ones too, of the groups chosen among those of `rows`, (n,) bool."""
    assert split.groups is not None
    counts, index = scores_per_group(split.labels[rows], split.groups[rows])
    if len(counts) < 2:
        raise DataError(
            f"{what} need images (protocol hashtag: hashtags) of their own, "
            f"but there is {len(counts)} to divide: add some"
        )
    chosen = choose_groups(counts, fraction, np.random.default_rng(seed), spare=1)
    names = set(split.groups[rows][np.isin(index, chosen)])
    return np.flatnonzero([group in names for group in split.groups])
