"""Typed cells become text as a person would write them."""

import datetime
import math
from typing import Any

import pytest

from consistency.data.formats import library, text_of
from consistency.errors import DataError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (math.nan, ""),
        (" 바다 ", " 바다 "),
        (5, "5"),
        (5.0, "5"),
        (4.5, "4.5"),
        (True, "True"),
        (["a", 1.0, None], ("a", "1", "")),
        ({"bytes": b"x", "path": "a.png"}, "a.png"),
        ({"bytes": b"x", "path": None}, ""),
        (datetime.date(2024, 5, 1), "2024-05-01"),
    ],
)
def test_cells_as_text(value: Any, text: object) -> None:
    assert text_of(value) == text


def test_a_missing_library_is_named_with_its_extra() -> None:
    with pytest.raises(DataError) as error:
        library("no_such_library.part", "excel", "x.xlsx is an Excel file")
    assert str(error.value) == (
        "x.xlsx is an Excel file, and reading it needs no_such_library: pip install 'koclip-consistency[excel]'"
    )
