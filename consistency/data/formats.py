"""Rows of JSON Lines, Parquet and Excel files, as text cells; each library is imported when a file asks for it."""

import importlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from consistency.errors import DataError, one_line, os_errors_as

Cell = str | tuple[str, ...]
Rows = Callable[[Sequence[str], Any], Iterator[list[Cell]]]

_FIRST_OBJECTS = 1000  # objects of JSON Lines whose keys are the columns
_BATCH = 65_536  # rows of Parquet in memory
_EXCEL_ERRORS = {"#N/A", "#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!"}


def library(name: str, extra: str, what: str) -> Any:
    """An optional library; DataError naming the extra that installs it if it is missing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{what}, and reading it needs {name.split('.')[0]}: pip install 'koclip-consistency[{extra}]'"
        ) from error


def text_of(value: Any) -> Cell:
    """A typed cell as text: nothing is empty, 5.0 is 5, a list is a tuple of texts."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict) and value.keys() == {"bytes", "path"}:  # an image of the library `datasets`
        return value["path"] or ""
    if isinstance(value, list | tuple):
        return tuple(str(text_of(item)) for item in value)
    return str(value)


def open_json_lines(path: Path, encoding: str) -> tuple[tuple[str, ...], Rows]:
    """The columns of a JSON Lines file, which are the keys of its first objects, and its rows."""
    columns = tuple(dict.fromkeys(key for _, each in islice(_objects(path, encoding), _FIRST_OBJECTS) for key in each))

    def rows(needed: Sequence[str], is_row: Any) -> Iterator[list[Cell]]:
        for _, each in _objects(path, encoding):
            yield [text_of(each.get(column)) for column in columns]

    return columns, rows


def _objects(path: Path, encoding: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON Lines file, each with the number of its line."""
    with os_errors_as(DataError, f"{path} cannot be read"), path.open(encoding=encoding, newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not (line := line.removeprefix("\ufeff").strip()):
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{path} looks like JSON, but line {number} is no whole object ({error}): write JSON Lines, "
                    f"one object per line, for example with `jq -c . {path.name} > pairs.jsonl`"
                ) from error
            if not isinstance(found, dict):
                raise DataError(f"{path}, line {number}: expected a JSON object with a key for each column")
            yield number, found


def open_parquet(path: Path) -> tuple[int, tuple[str, ...], Rows]:
    """The number of rows of a Parquet file, its columns and its rows, read in batches of the needed columns."""
    parquet = library("pyarrow.parquet", "parquet", f"{path} is a Parquet file")
    with _damaged_as(path, "Parquet"):
        about = parquet.read_metadata(path)
        columns = tuple(about.schema.to_arrow_schema().names)

    def rows(needed: Sequence[str], is_row: Any) -> Iterator[list[Cell]]:
        with _damaged_as(path, "Parquet"), parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH, columns=[name for name in columns if name in set(needed)]):
                empty = [""] * len(batch)
                values = {name: map(text_of, batch.column(name).to_pylist()) for name in batch.schema.names}
                for cells in zip(*(values.get(name, empty) for name in columns), strict=True):
                    yield list(cells)

    return about.num_rows, columns, rows


def open_excel(path: Path, wanted: Sequence[str]) -> tuple[str, tuple[str, ...], Rows]:
    """The sheet with the most of the `wanted` columns (else the first), its columns and its rows.

    The header is the first row that is not blank. Of a formula the value counts that Excel stored.
    """
    openpyxl = library("openpyxl", "excel", f"{path} is an Excel file")
    warnings.filterwarnings("ignore", category=UserWarning, module=r"openpyxl\.")  # about styles and validation
    with _damaged_as(path, "Excel"), path.open("rb") as file:  # opened here, since openpyxl goes by a file's name
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        headers = {sheet.title: next(_filled(sheet), []) for sheet in book.worksheets}
    if not headers:
        raise DataError(f"{path} has no sheet with cells: name another file with --data")
    sheet = max(headers, key=lambda name: len(set(wanted) & set(headers[name])))
    columns = tuple(map(str, headers[sheet]))

    def rows(needed: Sequence[str], is_row: Any) -> Iterator[list[Cell]]:
        with _damaged_as(path, "Excel"), path.open("rb") as file:
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            for cells in islice(_filled(book[sheet]), 1, None):
                yield list[Cell](cells + [""] * (len(columns) - len(cells)))

    return sheet, columns, rows


def _filled(sheet: Any) -> Iterator[list[str]]:
    """The rows of a sheet that are not blank, as text without the empty cells at their end."""
    sheet.reset_dimensions()  # some programs write wrong ones
    for values in sheet.iter_rows(values_only=True):
        cells = ["" if value in _EXCEL_ERRORS else str(text_of(value)) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield cells


@contextmanager
def _damaged_as(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a library raises about a damaged file into a DataError."""
    try:
        yield
    except (DataError, MemoryError, GeneratorExit):
        raise
    except Exception as error:  # these libraries raise many kinds of errors for damaged files
        raise DataError(f"{path} is a damaged {kind} file ({one_line(error)[:200]}): save it again") from error
