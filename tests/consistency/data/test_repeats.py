"""Repeats are merged by the rule that was chosen, and contradicting scores are never merged silently."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistency.data.hashtags import hashtag_identity
from consistency.data.pairs import PairTable
from consistency.data.repeats import Merged, merge_repeats
from consistency.errors import DataError
from consistency.options import OnConflict
from tests.builders.tables import make_table


def table_of(pairs: list[tuple[str, str, int]]) -> PairTable:
    images, hashtags, scores = (list(column) for column in zip(*pairs, strict=True)) if pairs else ([], [], [])
    return make_table(images, hashtags, scores)


def merge(pairs: list[tuple[str, str, int]], rule: OnConflict) -> Merged:
    table = table_of(pairs)
    return merge_repeats(table, table.images, rule)


CONFLICT = [("a", "x", 2), ("b", "x", 5), ("a", " #X ", 3), ("a", "#y", 1), ("b", "x", 5), ("a", "x", 2), ("a", "x", 3)]


def test_repeats_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(DataError) as error:
        merge(CONFLICT, "abort")
    assert str(error.value) == (
        "pairs.csv: rows 1, 3, 6, 7 have the same image and hashtag (a, x) but scores 2, 3, 2, 3; pairs with "
        "conflicting scores: 1. Correct the table, or choose --on-conflict mean, first or drop"
    )


@pytest.mark.parametrize(
    ("rule", "kept", "score"),
    [("mean", [0, 1, 3], 3), ("first", [0, 1, 3], 2), ("drop", [1, 3], None)],
)
def test_repeats_that_contradict_each_other_by_each_rule(rule: OnConflict, kept: list[int], score: int | None) -> None:
    merged = merge(CONFLICT, rule)  # the mean of 2, 3, 2, 3 is 2.5: halves go up
    assert merged.first.tolist() == [0, 1, 0, 3, 1, 0, 0]
    assert np.flatnonzero(merged.kept).tolist() == kept
    assert merged.scores[[1, 3]].tolist() == [5, 1]
    if score is not None:
        assert merged.scores[[0, 2, 5, 6]].tolist() == [score] * 4


def test_repeats_in_the_published_layout() -> None:
    """Several scripts, and a hashtag in decomposed Unicode."""
    decomposed = "\u1112\u1161\u11ab\u1100\u1161\u11bc"
    merged = merge(
        [
            ("fall_01.png", "헬스", 5),
            ("fall_01.png", "#카페", 4),
            ("sea.png", "海", 1),
            ("sea.png", "OOTD", 2),
            ("fall_01.png", "헬스", 5),
            ("sea.png", decomposed, 3),
            ("sea.png", "🌊", 3),
        ],
        "abort",
    )
    assert merged.first.tolist() == [0, 1, 2, 3, 0, 5, 6]
    assert merged.kept.sum() == 6


def test_images_of_the_same_content_are_the_same_image() -> None:
    table = table_of(
        [("a.jpg", "한강", 4), ("copy.jpg", "\u1112\u1161\u11ab\u1100\u1161\u11bc", 4), ("c.jpg", "한강", 4)]
    )
    merged = merge_repeats(table, np.array(["one", "one", "two"], dtype=object))
    assert merged.first.tolist() == [0, 0, 2]


pairs_of = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["x", " x", "#x", "y"]), st.integers(1, 5)))


@given(pairs_of, st.sampled_from(["mean", "first", "drop"]))
def test_laws_of_merging(pairs: list[tuple[str, str, int]], rule: OnConflict) -> None:
    merged = merge(pairs, rule)
    groups: dict[tuple[str, str], list[int]] = {}
    for index, (image, hashtag, _) in enumerate(pairs):
        groups.setdefault((image, hashtag_identity(hashtag)), []).append(index)
    assert merged.first.tolist() == [groups[image, hashtag_identity(tag)][0] for image, tag, _ in pairs]
    for rows in groups.values():
        given_scores = [pairs[row][2] for row in rows]
        agree = len(set(given_scores)) == 1
        assert merged.kept[rows].tolist() == [agree or rule != "drop"] + [False] * (len(rows) - 1)
        if agree or rule == "first":
            expected = given_scores[0]
        elif rule == "mean":
            expected = (2 * sum(given_scores) + len(rows)) // (2 * len(rows))
        else:
            continue
        assert set(merged.scores[rows].tolist()) == {expected}
    kept = [(image, tag, int(score)) for (image, tag, _), score in zip(pairs, merged.scores, strict=True)]
    again = merge([pair for pair, keep in zip(kept, merged.kept, strict=True) if keep], "abort")
    assert again.kept.all()  # nothing is left to merge
