"""Splits: train, validation and test rows, by row as published, or by image or hashtag.

scikit-learn is imported inside functions, because importing it takes a second and most commands draw no split.
"""

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
    """A split of a pair table with n rows.

    Attributes
    ----------
    protocol : str
        "grouped", "hashtag", "paper" or "file".
    seed : int
        Random seed.
    side : (n,) object
        "train", "val" or "test" for every row.
    fold : (n,) int64
        Fold in which a row is tested, -1 without cross-validation.
    kept : (n,) bool
        False for rows that were merged into an earlier row, or dropped over conflicting scores. Such a row still has
        the side and fold of its group.
    labels : (n,) int64
        Classes 0 to 4 after the rule for conflicting scores; -1 for rows without a score.
    groups : (n,) object or None
        Rows with the same value are never separated; None if rows are independent.
    whole : {"images", "hashtags"}
        What the groups are, and what confidence intervals resample.
    digest : str or None
        SHA-256 in hexadecimal of the file that the split was read from; None if it was drawn.
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
        """Indices of the kept rows of `side`, (m,) int64, in the order of the table."""
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
        """(n,) int64 scores 1 to 5 after the rule for conflicting scores; 0 for rows without a score."""
        return self.labels + 1

    def groups_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.object_] | None:
        """Groups of some rows, (m,) object, to draw folds within them; None if rows are independent."""
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
    """Split a pair table into train and test rows.

    Parameters
    ----------
    table : PairTable
        The n rows; all of them need a score.
    identity : (n,) object
        Identity of each row's image: equal for rows that show the same image.
    protocol : {"grouped", "hashtag", "paper"}
        "grouped" merges repeats and keeps all rows of an image on one side. "hashtag" merges repeats and keeps all
        rows of a hashtag on one side, so that images are on both. Both balance the scores as far as whole groups
        allow. "paper" is `train_test_split(test_size=0.2, stratify=score, random_state=42)` over all rows, whatever
        the seed: rows of one image, and repeats of one pair, are on both sides.
    seed : int
        Random seed.
    test_fraction : float
        Fraction of test rows, between 0 and 1.
    on_conflict : {"abort", "mean", "first", "drop"}
        What to do with repeats that have different scores; see `repeats.merge_repeats`.
    scenes : (n,) object, optional
        Like `identity`, but also equal for near-duplicates, or for images of one post; "grouped" then keeps these on
        one side.

    Returns
    -------
    Split

    Raises
    ------
    InputError
        If an option is out of range.
    DataError
        If the table is too small, or repeats have different scores and `on_conflict` is "abort".
    """
    n = len(table)
    if not 0 < test_fraction < 1:
        raise InputError(f"the test fraction is {test_fraction}, expected a number between 0 and 1")
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
    """A split of independent rows that keeps repeats; parameters as for `Split` and `make_split`."""
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
    """A split that merges repeats and keeps groups together; parameters as for `Split` and `make_split`."""
    _check(table, identity)
    merged = merge_repeats(table, identity, on_conflict)
    unfolded = np.full(len(table), -1, dtype=np.int64)
    return Split(protocol, seed, side, unfolded, merged.kept, merged.scores - 1, groups, whole)


def hold_out_validation(split: Split, *, fraction: float = 0.15, seed: int) -> Split:
    """Turn a part of the training rows into validation rows: whole groups, or single rows if there are no groups.

    Parameters
    ----------
    split : Split
        The split; its test rows do not change.
    fraction : float
        Fraction of the training rows, between 0 and 1.
    seed : int
        Random seed.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        If there are too few training rows.
    """
    (stream,) = np.random.SeedSequence(seed).spawn(1)  # independent of the stream that test rows are drawn from
    if split.groups is None:
        train = split.rows("train")
        chosen = train[_choose_rows(split.labels[train], fraction, stream, "validation rows")]
    else:
        train_rows = split.kept & (split.side == "train")
        chosen = _choose_whole(split, train_rows, fraction, stream, "validation rows")
    side = split.side.copy()
    side[chosen] = "val"
    return replace(split, side=side)


def random_state(seed: Seed) -> int:
    """The seed as scikit-learn takes it."""
    return seed if isinstance(seed, int) else int(seed.generate_state(1)[0])


def _check(table: PairTable, identity: npt.NDArray[np.object_]) -> None:
    if len(identity) != len(table):
        raise ValueError(f"{len(identity)} image identities for {len(table)} rows")
    if len(table) and table.scores.min() < 1:
        raise DataError(f"{table.path} has rows without a score, and a split needs a score in every row: add them")


def _choose_rows(labels: npt.NDArray[np.int64], fraction: float, seed: Seed, what: str) -> npt.NDArray[np.int64]:
    """Choose single rows, stratified by label, with scikit-learn."""
    from sklearn.model_selection import train_test_split

    try:
        chosen = train_test_split(
            np.arange(len(labels)), test_size=fraction, stratify=labels, random_state=random_state(seed)
        )[1]
    except ValueError as error:  # a score with a single row, or fewer chosen rows than scores
        counts = {int(score): int((labels == score - 1).sum()) for score in np.unique(labels) + 1}
        raise DataError(
            f"{what} cannot be drawn from {len(labels)} rows with score counts {counts}: expected at least two rows of "
            f"every score, and enough rows that {fraction:.0%} of them can hold every score; add rows, or use the "
            "grouped protocol"
        ) from error
    return np.asarray(chosen, dtype=np.int64)


def _choose_whole(
    split: Split, rows: npt.NDArray[np.bool_], fraction: float, seed: Seed, what: str
) -> npt.NDArray[np.int64]:
    """Choose among the groups of `rows`, (n,) bool, and return all their rows, merged ones included."""
    assert split.groups is not None
    counts, index = scores_per_group(split.labels[rows], split.groups[rows])
    chosen = choose_test_groups(counts, fraction, seed, what)
    names = set(split.groups[rows][np.isin(index, chosen)])
    return np.flatnonzero([group in names for group in split.groups])


def choose_test_groups(counts: npt.NDArray[np.int64], fraction: float, seed: Seed, what: str) -> npt.NDArray[np.int64]:
    """Choose groups by the number of their rows of each score: `balance.choose_groups` for at least two groups.

    Raises
    ------
    DataError
        If there are fewer; the message names the rows as `what`.
    """
    if len(counts) < 2:
        raise DataError(
            f"{what} need separate images (protocol hashtag: hashtags), "
            f"but there are only {len(counts)}, expected at least 2: add rows"
        )
    return choose_groups(counts, fraction, np.random.default_rng(seed), spare=1)
