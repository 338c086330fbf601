"""Lines of answers files: what they may hold, which of them count, and how they fit a table."""

from dataclasses import replace

import numpy as np
import pytest

from consistency.data.annotations import (
    COLUMNS,
    Annotation,
    annotation_of,
    annotations_csv,
    fits,
    make_panel,
    not_undone,
    plain_note,
    standing,
)
from consistency.errors import DataError
from tests.builders.annotations import answer, undoing
from tests.builders.tables import make_table


def test_a_line_is_read_as_it_was_written() -> None:
    line = answer(3, 0, annotator="김 철수", hashtag='"a",\nb', note="why, not?", queue="list", blind=False)
    assert annotation_of(dict(zip(COLUMNS, line.cells(), strict=True))) == line
    undo = undoing(line)
    assert annotation_of(dict(zip(COLUMNS, undo.cells(), strict=True))) == undo
    text = annotations_csv([line, undo]).decode()
    assert text.startswith("annotator,time,id,row,image_sha256,hashtag,score,undo_of,note,queue,blind\n")
    assert annotations_csv([line, undo], header=False).decode() == text.split("\n", 1)[1]


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("score", "6", "score is '6', expected 1 to 5, or 0"),
        ("score", "", "expected 1 to 5, or 0"),
        ("score", "4.0", "score is '4.0'"),
        ("row", "0", "row is '0', expected the number of a row"),
        ("row", "1e3", "row is '1e3'"),
        ("time", "yesterday", "expected a time such as"),
        ("id", "../../x", "id is '../../x', expected 8 to 64"),
        ("image_sha256", "ab", "expected 64 hexadecimal digits"),
        ("queue", "mine", "expected one of random, doubtful, list"),
        ("blind", "1", "expected yes or no"),
    ],
)
def test_a_line_with_something_else_is_refused(column: str, cell: str, said: str) -> None:
    cells = dict(zip(COLUMNS, answer(3, 4).cells(), strict=True))
    with pytest.raises(DataError, match="^" + column) as error:
        annotation_of({**cells, column: cell})
    assert said in str(error.value)


def test_an_undo_has_no_score() -> None:
    cells = dict(zip(COLUMNS, undoing(answer(3, 4)).cells(), strict=True))
    with pytest.raises(DataError, match="score is '3', expected nothing"):
        annotation_of({**cells, "score": "3"})
    with pytest.raises(DataError, match=r"undo_of is '\.\./x', expected the id of a line"):
        annotation_of({**cells, "undo_of": "../x"})


def test_the_last_answer_counts_that_was_not_undone() -> None:
    first, second, other, third = answer(1, 2), answer(1, 4), answer(2, 5), answer(1, 3)
    lines = [first, second, other, undoing(second), third, undoing(third)]
    assert standing(lines) == {1: first, 2: other}
    assert not_undone(lines) == [first, other]
    assert standing([*lines, undoing(first)]) == {2: other}


def test_notes_are_one_line() -> None:
    assert plain_note(" a\n  b\u2028c ") == "a b c"
    assert len(plain_note("x" * 5000)) == 1000


def test_answers_beside_a_table() -> None:
    table = make_table(["a.png", "a.png", "b.png"], ["바다", "#카페", "밤"], [5, 1, 3])
    digests = {"a.png": "a" * 64, "b.png": "b" * 64}
    kim: list[Annotation] = [
        answer(1, 4, hashtag="바다", queue="doubtful"),
        answer(3, 0, hashtag="밤", digest="b"),
        answer(2, 3, hashtag="카페"),  # in the table it is written with #
        answer(9, 3, hashtag="바다"),
    ]
    lee = [
        answer(1, 2, hashtag="바다"),
        answer(3, 1, hashtag="밤", digest="c"),
        answer(2, 5, hashtag="#카페", queue="list"),
    ]
    panel = make_panel(table, {"kim": kim, "lee": lee}, digests)
    assert panel.annotators == ("kim", "lee")
    np.testing.assert_array_equal(panel.scores, [[4, 2], [0, 5], [0, 0]])
    assert panel.chosen.tolist() == ["random", "list", ""]  # row 1 is in a random queue, too
    assert make_panel(table, {"lee": lee, "kim": kim}, digests).chosen.tolist() == panel.chosen.tolist()
    assert panel.foreign == 3
    assert sorted(panel.given[0]) == [0, 2]  # "cannot say" is an answer
    assert make_panel(table, {"lee": lee}).foreign == 0  # without images nothing tells
    assert fits(replace(kim[0], hashtag="바다"), table, 0, {})
