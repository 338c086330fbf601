"""Opens a table file in any supported format, recognised by its content, and yields its rows one after another."""

import hashlib
import re
import reprlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from consistency.data.delimited import IsRow, open_delimited
from consistency.data.encodings import Survey, survey_text
from consistency.data.formats import Cell, open_excel, open_json_lines, open_parquet, text_of
from consistency.errors import DataError, os_errors_as, os_reason

if TYPE_CHECKING:
    import pandas as pd

_HEAD = 4096  # bytes that tell what a file is
_LOOKS = (
    (b"\xd0\xcf\x11\xe0", "is an old Excel file (.xls), or one with a password: save it as XLSX without a password"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
    (b"BZh", "is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it first"),
    (b"ARROW1", "is an Arrow file: save it as Parquet"),
    (b"SQLite format 3", "is an SQLite database: export the table as CSV"),
    (b"%PDF", "is a PDF: export the table as CSV or XLSX"),
)
_IMAGE_NAME = re.compile(r"\.(?:jpe?g|png|webp|gif|bmp|tiff?|heic|heif|avif)$", re.I)
SAVED_DATASET = ("dataset_dict.json", "dataset_info.json")  # in a folder that the library `datasets` has written
_MARKUP = (b"<!doctype", b"<html", b"<table", b"<?xml", b"<meta")


@dataclass(frozen=True, eq=False)
class TableFile:
    """A table whose header has been read.

    Attributes
    ----------
    path : Path
        The file.
    format : str
        For people: "CSV", "TSV", "CSV separated by ';'", "JSON Lines", "Parquet", "XLSX, sheet 'Sheet1'", "DataFrame".
    encoding : str
        Text encoding, for people; empty for a binary format.
    digest : str
        SHA-256 of the file in hexadecimal.
    columns : tuple of str
        Names of the columns, in order; a name can occur twice in a delimited file.
    most_rows : int or None
        A number that its rows do not exceed: those of a Parquet file, the lines of a text; None where it is unknown.
    """

    path: Path
    format: str
    encoding: str
    digest: str
    columns: tuple[str, ...]
    _rows: Callable[[Sequence[str], IsRow | None], Iterator[list[Cell]]]
    most_rows: int | None = None

    def rows(self, needed: Sequence[str] = (), is_row: IsRow | None = None) -> Iterator[list[Cell]]:
        """Read the rows as text, from the beginning and without keeping them; blank rows are left out.

        Parameters
        ----------
        needed : sequence of str
            The columns that are needed, all of them if empty; the cells of other columns may be empty.
        is_row : callable, optional
            Whether cells look like a row of this table, by which a delimited file with an open quote is recognised.

        Yields
        ------
        list of str or tuple of str
            A cell per column of the file, in order; a tuple is a cell that is a list itself. A row of a delimited file
            can have fewer or more cells than its header.

        Raises
        ------
        DataError
            If the file is damaged at some row.
        """
        return self._rows(needed or self.columns, is_row)

    def place(self, column: str, option: str) -> int:
        """Index of the only column of that name.

        Raises
        ------
        DataError
            If there is none, or more than one; the message names `option`, such as `--image-column`.
        """
        if (count := self.columns.count(column)) == 1:
            return self.columns.index(column)
        listed = ", ".join(map(reprlib.repr, self.columns[:20]))
        found = listed + (f" and {len(self.columns) - 20} more" if len(self.columns) > 20 else "")
        if count:
            raise DataError(f"{self.path} has {count} columns {column!r}, expected one (found {found})")
        if any(_IMAGE_NAME.search(name) for name in self.columns):
            raise DataError(f"{self.path} has no header, its first row looks like data (found {found}): add a header")
        alike = [name for name in self.columns if name.strip().casefold() == column.strip().casefold()]
        advice = f"{option} {alike[0]!r}" if alike else f"name it with {option}"
        raise DataError(f"{self.path} has no column {column!r} (found {found}): {advice}")


def open_table(
    path: Path, *, encoding: str = "utf-8-sig", separator: str | None = None, wanted: Sequence[str] = ()
) -> TableFile:
    """Open a table and read its header.

    Parameters
    ----------
    path : Path
        A delimited text file, JSON Lines, Parquet or XLSX; its name does not matter.
    encoding : str
        Text encoding of a delimited file or JSON Lines.
    separator : str, optional
        Character between the cells of a delimited file; None finds it in the header.
    wanted : sequence of str
        Columns that the caller hopes for: they decide between separators, and between the sheets of a workbook.

    Raises
    ------
    DataError
        If the file cannot be read, is no table, or needs a library that is not installed.
    """
    head = _read_head(path)
    if head.startswith(b"PAR1"):
        count, columns, rows = open_parquet(path)
        return TableFile(path, "Parquet", "", _digest(path), columns, rows, count)
    if head.startswith(b"PK\3\4"):
        _check_workbook(path)
        sheet, columns, rows = open_excel(path, wanted)
        return TableFile(path, f"XLSX, sheet {sheet!r}", "", _digest(path), columns, rows)
    _refuse_what_is_no_table(path, head)
    survey = survey_text(path, encoding)
    if _looks_like_json(path, survey):
        columns, rows = open_json_lines(path, encoding)
        return TableFile(path, "JSON Lines", survey.encoding, survey.digest, columns, rows, survey.lines)
    found, columns, rows = open_delimited(path, encoding, separator, wanted)
    name = {",": "CSV", "\t": "TSV"}.get(found, f"CSV separated by {found!r}")
    return TableFile(path, name, survey.encoding, survey.digest, columns, rows, survey.lines)


def frame_table(frame: "pd.DataFrame", path: Path) -> TableFile:
    """A DataFrame as a table, under the name `path`; its digest is that of its CSV."""
    columns = tuple(map(str, frame.columns))
    digest = hashlib.sha256(frame.to_csv(index=False).encode("utf-8", "surrogatepass")).hexdigest()

    def rows(needed: Sequence[str], is_row: IsRow | None) -> Iterator[list[Cell]]:
        cells = frame.astype(object).where(frame.notna(), None)
        for values in cells.itertuples(index=False, name=None):
            yield list(map(text_of, values))

    return TableFile(path, "DataFrame", "", digest, columns, rows)


def _read_head(path: Path) -> bytes:
    expected = "expected a table file (CSV, TSV, JSON Lines, Parquet or XLSX): name the file with --data"
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():  # reading a FIFO would wait forever
            raise DataError(f"{path} is not a regular file, {expected}")
        with path.open("rb") as file:
            return file.read(_HEAD)
    except FileNotFoundError as error:
        raise DataError(
            f"there is no file {path}: name the pair table with --data, or draw one with `data demo`"
        ) from error
    except IsADirectoryError as error:
        if any((path / mark).is_file() for mark in SAVED_DATASET):
            raise DataError(
                f"{path} is a Hugging Face dataset: make a table and images of it with `data prepare {path} -o DIR`"
            ) from error
        raise DataError(f"{path} is a folder, {expected}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {os_reason(error)}") from error


def _digest(path: Path) -> str:
    with os_errors_as(DataError, f"{path} cannot be read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_workbook(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise DataError(f"{path} looks like an Excel file, but is damaged ({error}): save it again") from error
    if "xl/workbook.xml" in names:
        return
    if "xl/workbook.bin" in names:
        raise DataError(f"{path} is a binary Excel file (.xlsb): save it as XLSX")
    if "content.xml" in names:
        raise DataError(f"{path} is an OpenDocument spreadsheet: save it as XLSX or CSV")
    raise DataError(f"{path} is a ZIP archive, expected a table: unpack it, and name the table in it with --data")


def _refuse_what_is_no_table(path: Path, head: bytes) -> None:
    for mark, reason in _LOOKS:
        if head.startswith(mark):
            raise DataError(f"{path} {reason}")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP):
        raise DataError(f"{path} looks like HTML or XML: open it in a spreadsheet, and save it as XLSX or CSV")


def _looks_like_json(path: Path, survey: Survey) -> bool:
    """Whether a text is JSON Lines; raises DataError for JSON of another shape."""
    start = survey.start.lstrip()
    if start[:1] == "[" and start[1:].lstrip()[:1] in ("{", "[", "]", ""):
        raise DataError(
            f"{path} looks like a JSON array, expected JSON Lines: write one object per line, "
            f"for example with `jq -c '.[]' {path.name} > pairs.jsonl`"
        )
    return start[:1] == "{" and start[1:].lstrip()[:1] in ('"', "}", "")
