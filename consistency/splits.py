"""Who is in train, validation and test: the published split by rows, the honest one by picture, folds."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold, train_test_split

from consistency.errors import DataError, InputError
from consistency.pairs import OnConflict, PairTable, merge_repeats, normalise_hashtag

Protocol = Literal["grouped", "paper"]
Side = Literal["train", "val", "test"]
Pairs = tuple[npt.NDArray[np.object_], npt.NDArray[np.object_]]

PAPER_SEED = 42
PAPER_TEST_FRACTION = 0.2
CLASSES = 5


@dataclass(frozen=True, eq=False)
class Split:
    """One division of a pair table with n rows.

    side: (n,) object, "train", "val" or "test" for every row. fold: (n,) int64, -1 where not cross-validated.
    kept: (n,) bool, False where a repeat was merged into an earlier row or a conflict was dropped; such a row
    stands on the side of its picture. labels: (n,) int64 classes 0..4, after the rule for conflicting scores.
    """

    protocol: str
    seed: int
    side: npt.NDArray[np.object_]
    fold: npt.NDArray[np.int64]
    kept: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]

    def rows(self, side: Side) -> npt.NDArray[np.int64]:
        """(m,) int64 indices into the table: the kept rows of `side`, in the order of the table."""
        return np.flatnonzero(self.kept & (self.side == side))


@dataclass(frozen=True)
class Leakage:
    """Of `n` test rows, how many have their picture, exact pair or hashtag among the other rows."""

    n: int
    image: int
    pair: int
    hashtag: int


def make_split(
    table: PairTable,
    identity: npt.NDArray[np.object_],
    *,
    protocol: Protocol = "grouped",
    seed: int = PAPER_SEED,
    test_fraction: float = PAPER_TEST_FRACTION,
    on_conflict: OnConflict = "abort",
) -> Split:
    """Divide `table` into train and test.

    `paper` is `train_test_split(test_size=0.2, stratify=score, random_state=42)` over all rows, whatever the
    seed: rows of one picture, and repeats of one pair, fall on both sides. `grouped` merges repeats and puts
    all rows of a picture on one side, with the proportions of the scores as alike as whole pictures allow.

    identity: (n,) object, equal where two rows show the same picture. Raises DataError where the table is too
    small.
    """
    n = len(table)
    if len(identity) != n:
        raise ValueError(f"{len(identity)} picture identities for {n} rows")
    if not 0 < test_fraction < 1:
        raise InputError(f"a test fraction of {test_fraction} was asked for, expected one between 0 and 1")
    if seed < 0:
        raise InputError(f"the seed is {seed}, expected 0 or more")
    if n and table.scores.min() < 1:
        raise DataError(f"{table.path} has rows without a score, and a split needs all of them: add the scores")
    unfolded = np.full(n, -1, dtype=np.int64)
    if protocol == "paper":
        if test_fraction != PAPER_TEST_FRACTION:
            raise InputError(
                f"the paper protocol tests on {PAPER_TEST_FRACTION} of the rows, not {test_fraction}: "
                "use the grouped protocol for another fraction"
            )
        labels = table.labels
        side = _sides(n, _choose_rows(labels, test_fraction, PAPER_SEED, "the paper protocol"), "train", "test")
        return Split(protocol, PAPER_SEED, side, unfolded, np.ones(n, dtype=bool), labels)
    if protocol != "grouped":
        raise InputError(f"there is no protocol {protocol!r}: choose grouped or paper")
    merged = merge_repeats(table, identity, on_conflict)
    labels = merged.scores - 1
    test = _choose_images(labels, identity, merged.kept, test_fraction, seed, "test rows")
    return Split(protocol, seed, _sides(n, np.flatnonzero(test), "train", "test"), unfolded, merged.kept, labels)


def hold_out_validation(split: Split, identity: npt.NDArray[np.object_], *, fraction: float = 0.15, seed: int) -> Split:
    """`split` with `fraction` of its train rows turned into "val": whole pictures; single rows under `paper`.

    Test rows stay as they are. Raises DataError where train is too small to give any away.
    """
    if split.protocol == "paper":
        train = split.rows("train")
        chosen = train[_choose_rows(split.labels[train], fraction, seed, "validation rows")]
    else:
        train_rows = split.kept & (split.side == "train")
        chosen = np.flatnonzero(_choose_images(split.labels, identity, train_rows, fraction, seed, "validation rows"))
    side = split.side.copy()
    side[chosen] = "val"
    return replace(split, side=side)


def make_folds(
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.object_] | None,
    *,
    folds: int = 5,
    seed: int = PAPER_SEED,
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
        if len(labels) == 0 or np.bincount(labels).max() < folds:
            raise DataError(f"no score has the {folds} rows that {folds} folds need: ask for fewer folds")
        with warnings.catch_warnings():  # a rare score that is missing from some folds is no fault
            warnings.filterwarnings("ignore", "The least populated class")
            parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)
            for number, (_, tested) in enumerate(parts):
                fold[tested] = number
        return fold
    counts, index = _scores_per_group(labels, groups)
    if len(counts) < folds:
        raise DataError(f"{len(counts)} distinct pictures cannot make {folds} folds: ask for fewer folds")
    of_group = np.zeros(len(counts), dtype=np.int64)
    rng = np.random.default_rng(seed)
    for number in range(folds - 1):  # each fold takes its share of what is left; the rest is fold 0
        left = np.flatnonzero(of_group == 0)
        share = _choose_groups(counts[left], 1 / (folds - number), rng, spare=folds - 1 - number)
        of_group[left[share]] = folds - 1 - number
    return of_group[index]


def leakage(split: Split, identity: npt.NDArray[np.object_], hashtags: npt.NDArray[np.object_]) -> Leakage:
    """How many test rows were seen before. identity, hashtags: (n,) object, hashtags as in the table."""
    test, rest = (split.kept & side for side in (split.side == "test", split.side != "test"))
    return seen_before((identity[test], hashtags[test]), (identity[rest], hashtags[rest]))


def seen_before(test: Pairs, rest: Pairs) -> Leakage:
    """How many `test` pairs have their picture, pair or hashtag in `rest`; each (pictures, hashtags)."""
    known = list(_identities(rest))
    asked = list(_identities(test))
    pictures, hashtags = {picture for picture, _ in known}, {hashtag for _, hashtag in known}
    pairs = set(known)
    return Leakage(
        n=len(asked),
        image=sum(picture in pictures for picture, _ in asked),
        pair=sum(pair in pairs for pair in asked),
        hashtag=sum(hashtag in hashtags for _, hashtag in asked),
    )


def _identities(pairs: Pairs) -> Iterator[tuple[object, str]]:
    return zip(pairs[0], map(normalise_hashtag, pairs[1]), strict=True)


def _sides(n: int, chosen: npt.NDArray[np.int64], rest: Side, name: Side) -> npt.NDArray[np.object_]:
    side = np.full(n, rest, dtype=object)
    side[chosen] = name
    return side


def _choose_rows(labels: npt.NDArray[np.int64], fraction: float, seed: int, what: str) -> npt.NDArray[np.int64]:
    """scikit-learn's stratified choice of single rows; its second part."""
    try:
        chosen = train_test_split(np.arange(len(labels)), test_size=fraction, stratify=labels, random_state=seed)[1]
    except ValueError as error:  # a score with one row, or fewer test rows than scores
        counts = {int(score): int((labels == score - 1).sum()) for score in np.unique(labels) + 1}
        raise DataError(
            f"{what} cannot be drawn from {len(labels)} rows with score counts {counts}: expected two rows or more "
            "of every score; add rows, or use the grouped protocol"
        ) from error
    return np.asarray(chosen, dtype=np.int64)


def _choose_images(
    labels: npt.NDArray[np.int64],
    identity: npt.NDArray[np.object_],
    rows: npt.NDArray[np.bool_],
    fraction: float,
    seed: int,
    what: str,
) -> npt.NDArray[np.bool_]:
    """(n,) bool: all rows, merged ones too, of the pictures chosen among `rows`."""
    counts, index = _scores_per_group(labels[rows], identity[rows])
    if len(counts) < 2:
        raise DataError(f"{what} need pictures of their own, but there are {len(counts)} pictures to divide: add some")
    chosen = _choose_groups(counts, fraction, np.random.default_rng(seed), spare=1)
    pictures = set(identity[rows][np.isin(index, chosen)])
    return np.array([picture in pictures for picture in identity], dtype=bool)


def _scores_per_group(
    labels: npt.NDArray[np.int64], groups: npt.NDArray[np.object_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(g, 5) int64 rows of each score in each group (in order of first appearance), and (n,) the group of
    each row.
    """
    names: dict[object, int] = {}
    index = np.array([names.setdefault(group, len(names)) for group in groups], dtype=np.int64)
    counts = np.zeros((len(names), CLASSES), dtype=np.int64)
    np.add.at(counts, (index, labels), 1)
    return counts, index


def _choose_groups(
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
    while chosen.sum() * (~chosen).sum() <= 250_000:
        inside, outside = np.flatnonzero(chosen), np.flatnonzero(~chosen)
        total = counted[inside].sum(axis=0)
        swaps = misfit(total - counted[inside][:, None] + counted[outside][None])
        leave, enter = np.unravel_index(int(swaps.argmin()), swaps.shape)
        if swaps[leave, enter] >= best_misfit - 1e-9:
            break
        best_misfit = swaps[leave, enter]
        chosen[inside[leave]], chosen[outside[enter]] = False, True
    return np.flatnonzero(chosen)
