"""Folds keep groups together and scores balanced, and every row is tested once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from consistency.data.folds import make_folds, with_folds
from consistency.data.leakage import fold_leakage
from consistency.data.pairs import PairTable
from consistency.data.splits import PROTOCOLS, make_split
from consistency.errors import DataError, InputError
from consistency.options import Protocol
from tests.builders.tables import realistic_table, tables


@settings(deadline=None, max_examples=60)
@given(table=tables(least_images=3), seed=st.integers(0, 5), folds=st.integers(2, 3))
def test_folds_never_divide_a_group(table: PairTable, seed: int, folds: int) -> None:
    fold = make_folds(table.labels, table.images, folds=folds, seed=seed)
    assert set(fold) == set(range(folds))
    assert all(len(set(fold[table.images == image])) == 1 for image in set(table.images))


def test_folds_without_groups_are_scikit_learns() -> None:
    table = realistic_table()
    fold = make_folds(table.labels, None)
    parts = StratifiedKFold(5, shuffle=True, random_state=42).split(table.images, table.labels)
    for number, (_, tested) in enumerate(parts):
        assert np.flatnonzero(fold == number).tolist() == sorted(tested)


@pytest.mark.parametrize("seed", range(3))
def test_grouped_folds_are_balanced(seed: int) -> None:
    table = realistic_table(seed=seed)
    fold = make_folds(table.labels, table.images, seed=seed)
    per_fold = np.array([np.bincount(table.labels[fold == number], minlength=5) for number in range(5)])
    assert np.abs(per_fold - np.bincount(table.labels, minlength=5) / 5).max() <= 5


@settings(deadline=None, max_examples=60)
@given(table=tables(least_images=3), seed=st.integers(0, 5), protocol=st.sampled_from(PROTOCOLS))
def test_every_kept_row_is_on_one_side_and_in_one_fold(table: PairTable, seed: int, protocol: Protocol) -> None:
    try:
        split = with_folds(make_split(table, table.images, protocol=protocol, seed=seed), 2)
    except DataError:  # too few rows of a score, or one hashtag
        return
    sides = [split.rows(side) for side in ("train", "val", "test")]
    assert sorted(np.concatenate(sides)) == np.flatnonzero(split.kept).tolist()
    assert set(split.fold[split.kept]) == {0, 1}
    seen = fold_leakage(split, table.images, table.hashtags)
    assert seen.n == split.kept.sum()
    if protocol == "grouped":
        assert (seen.image, seen.pair) == (0, 0)
    if protocol == "hashtag":
        assert (seen.hashtag, seen.pair) == (0, 0)
    counted = 0
    for row in np.flatnonzero(split.kept):  # the plain way
        others = [i for i in np.flatnonzero(split.kept) if split.fold[i] != split.fold[row]]
        counted += table.hashtags[row].strip(" #") in {table.hashtags[i].strip(" #") for i in others}
    assert seen.hashtag == counted


def test_folds_need_enough_images_and_rows() -> None:
    labels, groups = np.array([0, 1, 2]), np.array(["a", "b", "b"], dtype=object)
    with pytest.raises(DataError, match="2 distinct images .* are too few for 3 folds"):
        make_folds(labels, groups, folds=3)
    with pytest.raises(DataError, match="no score has the 5 rows"):
        make_folds(labels, None, folds=5)
    with pytest.raises(InputError, match="at least 2"):
        make_folds(labels, groups, folds=1)
    assert set(make_folds(np.array([0, 0, 0, 1]), None, folds=3)) == {0, 1, 2}  # a rare score is no fault
