"""Codebooks of small tables, counted by hand, and of the published table's codes."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from consistency.data.codebook import MEANINGS, make_codebook, parse_meanings
from consistency.errors import DataError, InputError
from consistency.options import Source

TABLE = """Image Filename,Hashtag,Score,likes,note
a.png,#바다,5,10,
a.png,카페,5.0,9.5,"a | b"
b.png,카페,1,-3,
b.png,산,?,7,<b>
"""


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "my_table.csv").write_text(TABLE, encoding="utf-8")
    return Source(data=tmp_path / "my_table.csv")


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


def test_columns_and_codes_are_counted(source: Source) -> None:
    files = make_codebook(source).files()
    columns = {row["variable"]: row for row in rows_of(files["columns.csv"])}
    assert [(name, row["role"], row["type"]) for name, row in columns.items()] == [
        ("Image Filename", "image", "text"),
        ("Hashtag", "hashtag", "text"),
        ("Score", "score", "text"),
        ("likes", "", "number"),
        ("note", "", "text"),
    ]
    assert (columns["likes"]["lowest"], columns["likes"]["highest"]) == ("-3", "10")
    assert (columns["note"]["filled"], columns["note"]["empty"], columns["note"]["distinct"]) == ("2", "2", "2")
    assert columns["Hashtag"]["examples"] == "#바다; 카페; 산"
    assert [(row["code"], row["labels"], row["rows"]) for row in rows_of(files["codes.csv"])] == [
        ("1", "1", "1"),
        ("2", "", "0"),
        ("3", "", "0"),
        ("4", "", "0"),
        ("5", "5; 5.0", "2"),
        ("", "?", "1"),
    ]
    assert {row["variable"] for row in rows_of(files["codes.csv"])} == {"Score"}


def test_contents_of_the_table_are_no_markup_of_the_page(source: Source) -> None:
    page = make_codebook(source).files()["codebook.md"].decode()
    assert "# Codebook of my\\_table.csv" in page
    assert "a \\| b; \\<b>" in page
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines[:7]} == {10}
    assert {line.count("|") for line in lines[7:]} == {6}
    assert "| 5 | Very high relevance | 5; 5.0 | 2 | 50 % |" in page


def test_labels_on_another_scale_and_other_meanings(source: Source) -> None:
    source.data.write_text("Image Filename,Hashtag,Score\na.png,바다,low\nb.png,바다,high\n", encoding="utf-8")
    codebook = make_codebook(
        replace(source, score_map={"low": 1, "high": 5}), parse_meanings(["5=Names it", " 1 = Not"])
    )
    assert [(code.code, code.meaning, code.labels) for code in codebook.codes if code.rows] == [
        (1, "Not", ("low",)),
        (5, "Names it", ("high",)),
    ]
    assert len(codebook.codes) == 5
    assert codebook.codes[2].meaning == MEANINGS[3]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["5"], "is not SCORE=TEXT"),
        (["6=x"], "is not SCORE=TEXT"),
        (["5="], "is not"),
        (["5=a", "5=b"], "two meanings"),
    ],
)
def test_a_meaning_of_no_score_is_refused(given: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_meanings(given)


def test_what_has_no_codebook_is_refused(source: Source) -> None:
    with pytest.raises(DataError, match="has no column 'Label'.*--score-column"):
        make_codebook(replace(source, score_column="Label"))
    source.data.write_text("Image Filename,Hashtag,Score\na.png,바다\n", encoding="utf-8")
    with pytest.raises(DataError, match="row 1: 2 cells, the header has 3"):
        make_codebook(source)
    source.data.write_text("Image Filename,Hashtag,Score\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no row"):
        make_codebook(source)


def test_several_columns_of_scores_are_counted_together(tmp_path: Path) -> None:
    path = tmp_path / "rated.csv"
    path.write_text("Image Filename,Hashtag,a,b\nx,1,5,4\nx,2,5,\n")
    book = make_codebook(Source(data=path, score_column=("a", "b")))
    assert book.variable == "a, b"
    assert [column.role for column in book.columns] == ["image", "hashtag", "score", "score"]
    assert [code.rows for code in book.codes] == [0, 0, 0, 1, 2, 1]
    assert "| 5 | Very high relevance | 5 | 2 | 50" in book.files()["codebook.md"].decode()
