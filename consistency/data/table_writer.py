"""Writes a table of any number of rows batch by batch, as CSV or Parquet, completely or not at all."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

from consistency.durable import check_output, writing
from consistency.errors import InputError, StorageError, os_errors_as
from consistency.text import csv_cell, csv_lines, without_formula

# A number d stands for vectors of d float32, which Parquet alone can hold; their cells are an array (rows, d).
Type = Literal["text", "integer", "number", "truth"] | int
# The cells of one batch, by column: each sequence has one cell per row, None where it is empty.
Cells = Sequence[Sequence[Any]]

PARQUET = ".parquet"
WORKBOOKS = (".xlsx", ".xls")  # a CSV under such a name does not open


def check_table_output(path: Path) -> None:
    """Check that a table can be written to `path`, before the work whose result it will hold.

    Raises
    ------
    InputError
        If the folder cannot be written to, the file is named as a workbook, or the library for it is not installed.
    """
    check_output(path)
    if path.suffix.lower() in WORKBOOKS:
        raise InputError(f"{path} cannot be written, since tables are written as CSV or Parquet: name a .csv file")
    if path.suffix.lower() == PARQUET:
        try:
            import pyarrow.parquet  # noqa: F401  (whether it is there)
        except ImportError as error:
            raise InputError(
                f"{path} needs the package pyarrow: pip install 'koclip-consistency[parquet]', or name a .csv file"
            ) from error


@contextmanager
def table_writer(
    path: Path,
    columns: Sequence[tuple[str, Type]],
    metadata: Mapping[str, str] | None = None,
    *,
    formulas: bool = True,
) -> Iterator[Callable[[Cells], None]]:
    """Write a table to `path`, which appears when the block ends.

    Parameters
    ----------
    path : Path
        The file: Parquet if it ends with .parquet, otherwise CSV (UTF-8).
    columns : sequence of (str, Type)
        Name and type of each column.
    metadata : mapping of str to str, optional
        Kept in the file's metadata by Parquet, and left out of CSV.
    formulas : bool
        Whether a CSV keeps text that a spreadsheet would calculate; otherwise an apostrophe is put before it.

    Yields
    ------
    callable
        Appends a batch: one sequence of cells for each column.

    Raises
    ------
    StorageError
        If writing fails.
    """
    with ExitStack() as stack:
        write = stack.enter_context(writing(path))
        if path.suffix.lower() == PARQUET:
            yield stack.enter_context(_parquet(write, columns, metadata))
        else:
            shown: Callable[[str], str] = str if formulas else without_formula
            write(csv_lines([[shown(name) for name, _ in columns]]))
            kinds = [kind for _, kind in columns]

            def append(cells: Cells) -> None:
                # by column, which is three times as fast as by cell
                texts = (_as_text(column, kind, shown) for column, kind in zip(cells, kinds, strict=True))
                write("".join(",".join(row) + "\n" for row in zip(*texts, strict=True)).encode())

            yield append


def parquet_metadata(path: Path, key: str) -> str | None:
    """What a Parquet file keeps under a key of its metadata, "" if nothing; None if it is no whole Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return (pq.read_schema(path).metadata or {}).get(key.encode(), b"").decode(errors="replace")
    except pa.ArrowInvalid:
        return None


def count_empty(path: Path, column: str) -> tuple[int, int]:
    """Number of rows of a Parquet file, and of those whose cell of a column is empty."""
    import pyarrow.parquet as pq

    with os_errors_as(StorageError, f"{path} cannot be read"):
        cells = pq.read_table(path, columns=[column]).column(0)
    return len(cells), cells.null_count


def _as_text(cells: Sequence[Any], kind: Type, shown: Callable[[str], str]) -> list[str]:
    if kind == "truth":
        words = {None: "", True: "true", False: "false"}
        return [words[cell] for cell in cells]
    if kind == "text":
        known = {cell: csv_cell(shown(cell)) for cell in set(cells) if cell is not None}
        return [known.get(cell, "") for cell in cells]
    return ["" if cell is None else repr(cell) for cell in cells]


@contextmanager
def _parquet(
    write: Callable[[bytes], None], columns: Sequence[tuple[str, Type]], metadata: Mapping[str, str] | None
) -> Iterator[Callable[[Cells], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "truth": pa.bool_()}
    fields = [(name, pa.list_(pa.float32(), kind) if isinstance(kind, int) else types[kind]) for name, kind in columns]
    schema = pa.schema(fields, metadata=metadata)

    def array(cells: Any, kind: Any) -> Any:
        if pa.types.is_fixed_size_list(kind):
            return pa.FixedSizeListArray.from_arrays(pa.array(cells.reshape(-1), kind.value_type), kind.list_size)
        return pa.array(list(cells), kind)

    with pq.ParquetWriter(_Sink(write), schema) as file:

        def append(cells: Cells) -> None:
            arrays = [array(column, each.type) for column, each in zip(cells, schema, strict=True)]
            file.write_batch(pa.record_batch(arrays, schema=schema))

        yield append


class _Sink(io.RawIOBase):
    """A file that can only be appended to, for a library that writes to files."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write, self._at = write, 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._write(part)
        self._at += len(part)
        return len(part)
