"""The strict rules of delimited text hold under every separator; `test_pairs` has those of commas."""

from pathlib import Path

import pytest

from consistency.data.delimited import open_delimited
from consistency.errors import DataError


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_quotes_line_breaks_and_ragged_rows(separator: str, tmp_path: Path) -> None:
    path = tmp_path / "t"
    lines = ['\ufeff"a",b', "", '"1\r\n2","x""y"', "1", "1,2,3"]
    path.write_bytes("\r\n".join(lines).replace(",", separator).encode())
    found, columns, rows = open_delimited(path, "utf-8", separator if separator == "|" else None, ())
    assert (found, columns) == (separator, ("a", "b"))
    assert list(rows((), None)) == [["1\r\n2", 'x"y'], ["1"], ["1", "2", "3"]]


@pytest.mark.parametrize(("separator", "name"), [("\t", "tabs"), (";", "semicolons"), ("|", "'|'")])
def test_an_open_quote_is_refused_under_every_separator(separator: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text('a,b\n1,2\n3,"x\n5,6\n7,y"\n'.replace(",", separator))
    _, _, rows = open_delimited(path, "utf-8", separator, ())
    with pytest.raises(
        DataError, match=rf"from line 3: a quote is not closed .* separated by {name}".replace("|", r"\|")
    ):
        list(rows((), lambda cells: cells[0].isdigit()))
    assert len(list(rows((), None))) == 2  # valid, unless rows are known by their look


def test_a_header_that_no_separator_reads(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text('"a"x,b\n1,2\n')
    with pytest.raises(DataError, match=r"from line 1: ',' expected after"):
        open_delimited(path, "utf-8", None, ())
