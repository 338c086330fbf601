"""Columns of several raters: scores, empty cells, and what is neither."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consistency.data.ratings import rating_shares, read_columns, read_ratings
from consistency.errors import DataError, InputError
from consistency.options import Source

TABLE = "Image Filename,Hashtag,a,b\nx.png,#바다,5,4\nx.png,카페,,3.0\ny.png,카페, 1 ,\n"


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "rated.csv").write_text(TABLE, encoding="utf-8")
    return Source(data=tmp_path / "rated.csv")


def test_scores_by_column_with_0_for_empty_cells(source: Source) -> None:
    found = read_ratings(source, ["b", " a "])
    assert found.raters == ("b", "a")
    assert found.scores.tolist() == [[4, 5], [3, 0], [0, 1]]
    assert found.rows.tolist() == [1, 2, 3]
    assert found.images.tolist() == ["x.png", "x.png", "y.png"]
    assert found.hashtags.tolist() == ["#바다", "카페", "카페"]


def test_labels_on_another_scale_are_mapped(source: Source) -> None:
    source.data.write_text("Image Filename,Hashtag,a,b\nx.png,바다,low,high\n", encoding="utf-8")
    assert read_ratings(replace(source, score_map={"low": 1, "high": 5}), ["a", "b"]).scores.tolist() == [[1, 5]]
    with pytest.raises(DataError, match="row 1, column a: score 'low', expected a whole number from 1 to 5; empty the"):
        read_ratings(source, ["a", "b"])


@pytest.mark.parametrize("columns", [["a"], ["a", "a"], [""]])
def test_two_different_columns_are_needed(source: Source, columns: list[str]) -> None:
    with pytest.raises(InputError, match="expected two or more different columns"):
        read_ratings(source, columns)


def test_what_is_no_table_of_these_columns_is_refused(source: Source) -> None:
    with pytest.raises(DataError, match="has no column 'c'.*--columns"):
        read_ratings(source, ["a", "c"])
    source.data.write_text("Image Filename,Hashtag,a,b\nx.png,바다,5\n", encoding="utf-8")
    with pytest.raises(DataError, match="row 1: 3 cells, the header has 4"):
        read_ratings(source, ["a", "b"])
    source.data.write_text("Image Filename,Hashtag,a,b\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no row"):
        read_ratings(source, ["a", "b"])


def test_shares_of_the_scores_that_raters_gave() -> None:
    shares = rating_shares(np.array([[5, 5, 4], [0, 2, 0]]))
    assert shares[0].tolist() == pytest.approx([0, 0, 0, 1 / 3, 2 / 3])
    assert shares[1].tolist() == [0, 1, 0, 0, 0]


def test_rows_that_were_chosen_by_doubt_are_counted(source: Source) -> None:
    assert read_ratings(source, ["a", "b"]).by_doubt == 0
    lines = [
        "Image Filename,Hashtag,a,b,chosen_by",
        "x.png,바다,5,4,doubtful",
        "x.png,산,,3,doubtful",
        "y.png,산,1,2,random",
    ]
    source.data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = read_ratings(source, ["a", "b"])
    assert found.chosen.tolist() == ["doubtful", "doubtful", "random"]
    assert found.by_doubt == 1  # the second row has one score
    assert read_columns(source, ["b"]).scores.tolist() == [[4], [3], [2]]
