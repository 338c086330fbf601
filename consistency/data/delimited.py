"""Rows of a delimited text file (CSV, TSV, or with another separator), by strict rules."""

import csv
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from consistency.data.formats import Cell
from consistency.errors import DataError, os_errors_as

SEPARATORS = (",", "\t", ";")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")

IsRow = Callable[[Sequence[str]], bool]


def open_delimited(
    path: Path, encoding: str, separator: str | None, wanted: Sequence[str]
) -> tuple[str, tuple[str, ...], Callable[[Sequence[str], IsRow | None], Iterator[list[Cell]]]]:
    """The separator, the columns and the rows of a text file in `encoding`.

    Without `separator` it is the one that finds the most of the `wanted` columns in the header, then the most columns.

    Raises
    ------
    DataError
        If the header cannot be read.
    """
    separator = "\t" if separator in ("\\t", "tab") else separator  # a tab is hard to type in a shell
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise DataError(f"--separator is {separator!r}, expected one character, or tab")
    headers: dict[str, list[str]] = {}
    faults: dict[str, csv.Error] = {}
    for each in (separator,) if separator else SEPARATORS:
        try:
            headers[each] = _header(path, encoding, each)
        except csv.Error as error:  # quoted cells look broken under the wrong separator
            faults[each] = error
    if not headers:
        each, fault = next(iter(faults.items()))
        raise _broken(path, 1, fault, each) from fault
    found = max(headers, key=lambda each: (len(set(wanted) & set(headers[each])), len(headers[each])))

    def rows(needed: Sequence[str], is_row: IsRow | None) -> Iterator[list[Cell]]:
        return _rows(path, encoding, found, is_row)

    return found, tuple(headers[found]), rows


def _lines(path: Path, encoding: str) -> Generator[str, None, None]:
    with os_errors_as(DataError, f"{path} cannot be read"), path.open(encoding=encoding, newline="") as file:
        yield from (line.removeprefix("\ufeff") if at == 0 else line for at, line in enumerate(file))


def _header(path: Path, encoding: str, separator: str) -> list[str]:
    with closing(_lines(path, encoding)) as lines:
        return next(filter(None, csv.reader(lines, delimiter=separator, strict=True)), [])


def _rows(path: Path, encoding: str, separator: str, is_row: IsRow | None) -> Iterator[list[Cell]]:
    line = 0  # on which the last row ended
    with closing(_lines(path, encoding)) as lines:
        try:
            reader = csv.reader(lines, delimiter=separator, strict=True)
            header = next(filter(None, reader), [])
            line = reader.line_num
            for cells in filter(None, reader):
                if is_row and reader.line_num > line + 1 and _swallows_rows(cells, len(header), separator, is_row):
                    raise csv.Error("a quote is not closed before the next row")
                line = reader.line_num
                yield list[Cell](cells)
        except csv.Error as error:
            raise _broken(path, line + 1, error, separator) from error


def _broken(path: Path, line: int, error: csv.Error, separator: str) -> DataError:
    name = {",": "commas", "\t": "tabs", ";": "semicolons"}.get(separator, repr(separator))
    return DataError(
        f"{path}, from line {line}: {error}; expected cells separated by {name}: "
        'close the quote, or write a quote inside a quoted cell as ""'
    )


def _swallows_rows(cells: list[str], width: int, separator: str, is_row: IsRow) -> bool:
    """Whether a quoted cell contains line breaks that look like ends of rows, because a quote was left open.

    Such a file is valid CSV if a later row has another stray quote, but all rows between the two would be lost.
    """
    for at, cell in enumerate(cells):
        lines = _LINE_BREAK.split(cell)
        if len(lines) > 1:
            before, after = cells[:at] + lines[0].split(separator), lines[-1].split(separator) + cells[at + 1 :]
            if width > 1 and all(len(half) == width and is_row(half) for half in (before, after)):
                return True
    return False
