"""Labels become scores from 1 to 5, and tables on another scale are refused in one line with the cure."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistency.data.scores import (
    aggregate,
    check_raters,
    check_scores,
    describe_scale,
    parse_score_map,
    plain_label,
    rate,
    score_fault,
    score_of,
)
from consistency.errors import DataError, InputError


def refusal(unused: dict[str, int], used: list[int], *, allow: bool = False) -> str:
    with pytest.raises(DataError) as error:
        check_scores(unused, used, path="pairs.csv", allow=allow)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_mapping_of_labels() -> None:
    assert parse_score_map("0=1,1=2,2=3,3=4,4=5") == {"0": 1, "1": 2, "2": 3, "3": 4, "4": 5}
    assert parse_score_map(" low = 1, mid=3 ,아주 좋음=5") == {"low": 1, "mid": 3, "아주 좋음": 5}
    assert parse_score_map("a=b=2") == {"a=b": 2}
    assert parse_score_map("-1=1,0.0=2") == {"-1": 1, "0": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has '', expected LABEL=SCORE pairs such as 0=1,1=2 or low=1,high=5"),
        ("low", "has 'low', expected LABEL=SCORE"),
        ("low=1,", "has '', expected LABEL=SCORE"),
        ("=3", "has '=3', expected LABEL=SCORE"),
        ("0=6", "gives '0' the score '6', expected 1, 2, 3, 4 or 5"),
        ("low=five", "gives 'low' the score 'five', expected 1"),
        ("low=５", "expected 1, 2, 3, 4 or 5"),
        ("0=1,0.0=2", "has the label '0.0' twice: give it one score"),
    ],
)
def test_what_is_no_mapping(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_score_map(text)
    assert str(error.value).startswith("--score-map ")
    assert message in str(error.value)


@given(st.text())
def test_any_text_is_a_mapping_or_an_error_of_ours(text: str) -> None:
    try:
        found = parse_score_map(text)
    except InputError:
        return
    assert set(found.values()) <= {1, 2, 3, 4, 5}


@pytest.mark.parametrize(("text", "score"), [("1", 1), (" 5 ", 5), ("4.0", 4), ("3.00", 3)])
def test_labels_that_are_scores(text: str, score: int) -> None:
    assert score_of(text) == score


@pytest.mark.parametrize("text", ["", "0", "6", "NaN", "５", "1_0", "3.5", "four", "1e0", "\t3"])
def test_labels_that_are_none(text: str) -> None:
    assert score_of(text) == 0
    assert score_fault(text) == f"score {text!r}, expected a whole number from 1 to 5"


def test_labels_by_a_mapping() -> None:
    low_to_high = {"low": 1, "0": 2}
    assert [score_of(text, low_to_high) for text in ("low", " low ", "0", "0.0", "1", "Low")] == [1, 1, 2, 2, 0, 0]
    assert score_fault("1", low_to_high) == "score '1' is not in --score-map"
    assert [plain_label(text) for text in (" 4.0 ", "4", "4.5", "-0", "a.0")] == ["4", "4", "4.5", "0", "a.0"]


MAP = "expected 1 to 5: map them with --score-map"


@pytest.mark.parametrize(
    ("unused", "used", "expected"),
    [
        ({"0": 20}, [20, 20, 20, 20, 0], f"scores run 0 to 4, {MAP} 0=1,1=2,2=3,3=4,4=5"),
        ({"0": 1}, [97, 1, 1, 1, 0], f"scores run 0 to 4, {MAP}"),  # however rare the zeros are
        ({"6": 9, "7": 9}, [10] * 5, f"scores run 1 to 7, {MAP} 1=1,2=2,3=2,4=3,5=4,6=4,7=5"),
        ({"0": 5, "100": 50, "50": 10}, [0] * 5, f"scores run 0 to 100, {MAP} 0=1,...,100=5"),
        ({"low": 3, "high": 4}, [0] * 5, f"scores are 'low', 'high', {MAP} low=1,..."),
        (
            {"5 4": 3, "2,1, 3": 4},
            [0] * 5,
            "cells hold several scores ('5 4'): give each hashtag its own with --split-",
        ),
        ({"-1": 10}, [5, 0, 5, 0, 5], f"scores run -1 to 5, {MAP}"),
    ],
)
def test_other_scales_are_named_with_the_cure(unused: dict[str, int], used: list[int], expected: str) -> None:
    assert (describe_scale(unused, used) or "").startswith(expected)
    for allow in (False, True):  # to leave such rows out would shift or cut the scale
        assert refusal(unused, used, allow=allow).startswith(f"pairs.csv: {expected}")


@pytest.mark.parametrize(
    ("unused", "used"),
    [({}, [1, 1, 1, 1, 1]), ({}, [3, 0, 3, 0, 0]), ({"0": 2, "6": 3}, [20] * 5), ({"NaN": 5, "": 0}, [19] * 5)],
)
def test_few_stray_labels_are_no_other_scale(unused: dict[str, int], used: list[int]) -> None:
    assert describe_scale(unused, used) is None
    check_scores(unused, used, path="pairs.csv", allow=False)


def test_too_many_rows_without_a_score() -> None:
    assert refusal({"": 5, "NaN": 1}, [20, 20, 20, 20, 20]) == (
        "pairs.csv: 6 of 106 rows have no score from 1 to 5 ('', 'NaN'): correct them, map them with "
        "--score-map LABEL=SCORE,..., or leave them out with --on-error allow"
    )
    check_scores({"": 5, "NaN": 1}, [20] * 5, path="pairs.csv", allow=True)
    check_scores({"": 5}, [19] * 5, path="pairs.csv", allow=False)  # 5 % is not more than 5 %


@pytest.mark.parametrize("allow", [False, True])
def test_one_score_teaches_nothing(allow: bool) -> None:
    assert refusal({}, [0, 0, 0, 9, 0], allow=allow) == (
        "pairs.csv: every score is 4, and nothing can be learned from one score: add others"
    )


def test_a_mapping_says_which_labels_are_none() -> None:
    with pytest.raises(DataError, match="10 of 40 rows have no score from 1 to 5"):
        check_scores({"-1": 10}, [10, 0, 10, 0, 10], path="pairs.csv", allow=False, mapped=True)
    check_scores({"-1": 10}, [10, 0, 10, 0, 10], path="pairs.csv", allow=True, mapped=True)


@given(st.lists(st.integers(0, 5), max_size=9))
def test_the_median_and_the_mean_with_halves_rounded_up(scores: list[int]) -> None:
    given_ = [score for score in scores if score]
    for how, measure in (("median", statistics.median), ("mean", statistics.fmean)):
        expected = int(measure(given_) + 0.5) if given_ else 0
        assert aggregate(scores, how) == expected  # type: ignore[arg-type]


def test_labels_of_several_people() -> None:
    assert rate(["4", " ", "5.0"], score_of, "median") == ((4, 0, 5), 5, "")
    assert rate(["", " "], score_of, "mean") == ((0, 0), 0, "")
    assert rate(["4", "good", "7"], score_of, "median") == ((4, 0, 0), 0, "good")


def test_columns_of_raters_that_cannot_be_read() -> None:
    check_raters(["a", "b"], split=False)
    check_raters(["a"], split=True)
    with pytest.raises(InputError, match="--score-column names a, a: expected different columns"):
        check_raters(["a", "a"], split=False)
    with pytest.raises(
        InputError, match="--split-hashtags reads one column of scores, but --score-column names 2: a, b"
    ):
        check_raters(["a", "b"], split=True)
