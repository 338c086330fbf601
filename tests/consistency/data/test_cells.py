"""Cells of a row: as text, as pairs, and as names of images."""

import pytest

from consistency.data.cells import image_fault, pairs_of, plain
from consistency.data.formats import Cell


def number(text: str) -> int:
    return int(text) if text in {"1", "2", "3", "4", "5"} else 0


def test_a_list_is_joined_by_spaces() -> None:
    assert [plain("#바다, 산"), plain(("#바다", "산")), plain(())] == ["#바다, 산", "#바다 산", ""]


@pytest.mark.parametrize(
    ("cell", "label", "expected"),
    [
        ("#a #b", "4", [("#a", "4", None), ("#b", "4", None)]),
        ("#a #b", "4|2", [("#a", "4", None), ("#b", "2", None)]),
        (("#a", " ", "b"), ("5", "1"), [("#a", "5", None), ("b", "1", None)]),
        ("", "3", [("", "3", None)]),
        ("#a #b", (), [("#a", "", None), ("#b", "", None)]),
        ("#a #b", "1 2 3", [("#a #b", "1 2 3", "the row has 3 scores for 2 hashtags")]),
    ],
)
def test_a_cell_that_is_split(cell: Cell, label: Cell, expected: list[tuple[str, str, str | None]]) -> None:
    assert list(pairs_of(cell, label, True, number)) == expected


def test_a_cell_that_is_not_split() -> None:
    assert list(pairs_of("#a #b", ("4",), False, number)) == [("#a #b", "4", None)]
    fault = "the cell is a list of 2 hashtags: split it with --split-hashtags"
    assert list(pairs_of(("a", "b"), "4", False, number)) == [("a b", "4", fault)]


def test_names_that_cannot_be_in_the_image_folder() -> None:
    assert [name for name in ("a.jpg", "가을 (1).jpg", "a..b.jpg", "/home/a.jpg") if image_fault(name)] == []
    for name in ("../a.jpg", "a/..", "\\\\host\\a.jpg", "C:a.jpg"):
        assert image_fault(name) == "the image's name leads out of the image folder"
    assert image_fault("s3://bucket/a.jpg") == "the image is a URL, expected a file name: download it first"
    assert [image_fault(" "), image_fault("a\0")] == ["the image has no name", "the image's name has a NUL character"]
