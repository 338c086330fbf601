"""Test rows that a system has seen before are counted, whatever the spelling of their hashtag."""

import numpy as np

from consistency.data.leakage import Leakage, fold_leakage, leakage, seen_before
from consistency.data.splits import Split
from tests.builders.tables import make_table


def test_leakage_sees_through_spellings() -> None:
    train = np.array(["a", "b"], dtype=object), np.array(["#카페", "ocean"], dtype=object)
    test = np.array(["a", "a", "c"], dtype=object), np.array(["카페", "＃OCEAN", "산"], dtype=object)
    assert seen_before(test, train) == Leakage(n=3, image=2, pair=1, hashtag=2)


def test_leakage_counts_test_rows_seen_before() -> None:
    table = make_table(["a", "a", "b", "c", "c"], ["#바다", "산 ", "#바다", "#바\u1103\u1161", "산"], [5, 4, 3, 2, 1])
    split = Split(
        protocol="paper",
        seed=42,
        side=np.array(["train", "test", "test", "test", "train"], dtype=object),
        fold=np.full(5, -1),
        kept=np.ones(5, dtype=bool),
        labels=table.labels,
    )
    seen = leakage(split, table.images, table.hashtags)
    assert (seen.n, seen.image, seen.pair, seen.hashtag) == (3, 2, 0, 3)
    same = np.array(["a", "c", "b", "c", "c"], dtype=object)
    assert leakage(split, same, table.hashtags).pair == 1


def test_fold_leakage_is_the_sum_over_folds() -> None:
    table = make_table(["a", "b", "a", "c"], ["#바다", "산", "바다", "강"], [5, 4, 5, 2])
    split = Split(
        protocol="file",
        seed=42,
        side=np.full(4, "train", dtype=object),
        fold=np.array([0, 0, 1, 1]),
        kept=np.ones(4, dtype=bool),
        labels=table.labels,
    )
    scenes = np.array(["one", "one", "one", "c"], dtype=object)  # b is a near-duplicate of a
    assert fold_leakage(split, table.images, table.hashtags, scenes) == Leakage(4, image=2, pair=2, hashtag=2, near=3)


def test_leakage_is_told_in_a_line() -> None:
    assert str(Leakage(1200, 3, 0, 14, near=5)) == (
        "of 1,200 test rows 3 have their image in train, 0 their exact pair, 14 their hashtag, "
        "5 their image or a near-duplicate of it"
    )
