"""Tables of any number of rows in a temporary folder, queried by DuckDB: what is too large for memory waits there."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from consistency.data.tables import TableFile
from consistency.errors import InputError, StorageError, one_line

EXTRA = "tables"
MEMORY = "64MB"  # of DuckDB; what exceeds it is written to the temporary folder
BATCH = 16_384  # rows

# As DuckDB calls them. Bytes hold text in UTF-8, since a table may hold text that is not Unicode (lone surrogates).
Type = Literal["BIGINT", "INTEGER", "TINYINT", "DOUBLE", "BOOLEAN", "BLOB"]


def spool_missing() -> str | None:
    """Name the package that a spool needs and that is not installed; None if it can be used."""
    return next((name for name in ("duckdb", "pyarrow") if find_spec(name) is None), None)


def spooled(table: TableFile, large_rows: int) -> tuple[bool, str | None]:
    """Decide whether a table is read through a spool, and return a line for the user if its extra is missing.

    Parameters
    ----------
    table : TableFile
        The table.
    large_rows : int
        It is if the table may have more rows than this, and the extra is installed.
    """
    if table.most_rows is None or table.most_rows <= large_rows:
        return False, None
    if missing := spool_missing():
        return False, (
            f"{table.path} has up to {table.most_rows:,} rows, all of which are held in memory, since {missing} is not "
            f"installed: pip install 'koclip-consistency[{EXTRA}]' bounds the memory"
        )
    return True, None


class Spool:
    """A temporary database, which is removed when the block ends. Rows are appended and read in batches.

    Memory is bounded by MEMORY and a few batches, whatever the number of rows. Appended rows wait in a Parquet file,
    since rows that are inserted into the database while a query is read need memory that cannot be spilled.

    Attributes
    ----------
    folder : Path
        The temporary folder.

    Raises
    ------
    InputError
        If the extra `tables` is not installed.
    StorageError
        If the temporary folder is full.
    """

    def __init__(self) -> None:
        if missing := spool_missing():
            raise InputError(f"large tables need the package {missing}: pip install 'koclip-consistency[{EXTRA}]'")
        import duckdb

        self._folder = tempfile.TemporaryDirectory(prefix="koclip-tables-")
        place = self.folder = Path(self._folder.name)
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "threads": 1,  # each thread holds blocks that cannot be spilled
            "temp_directory": str(place / "spilled"),
        }
        self._database = duckdb.connect(str(place / "tables.duckdb"), config=settings)
        self._writers: dict[str, Any] = {}

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            writer.close()
        self._database.close()
        self._folder.cleanup()

    def create(self, table: str, columns: Mapping[str, Type]) -> None:
        """Create an empty table for `append`; `seal` ends it."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {
            "BIGINT": pa.int64(),
            "INTEGER": pa.int32(),
            "TINYINT": pa.int8(),
            "DOUBLE": pa.float64(),
            "BOOLEAN": pa.bool_(),
            "BLOB": pa.binary(),
        }
        schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
        with _failures():
            self._writers[table] = pq.ParquetWriter(self.folder / f"{table}.parquet", schema)

    def append(self, table: str, columns: Mapping[str, Any]) -> None:
        """Append rows to a table of `create`: n cells for each of its columns, text for BLOB, None for no value."""
        import pyarrow as pa

        schema, arrays = self._writers[table].schema, []
        for name, kind in zip(schema.names, schema.types, strict=True):
            cells: Any = columns[name]
            if pa.types.is_binary(kind):
                cells = [None if cell is None else cell.encode("utf-8", "surrogatepass") for cell in cells]
            arrays.append(pa.array(cells, kind))
        with _failures():
            self._writers[table].write_table(pa.table(arrays, schema))

    def seal(self, table: str) -> None:
        """End a table of `create`, which can be queried from now on."""
        with _failures():
            self._writers.pop(table).close()
        self.run(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{self.folder / table}.parquet')")

    def drop(self, table: str) -> None:
        """Remove a table of `create`."""
        self.run(f"DROP VIEW {table}")
        (self.folder / f"{table}.parquet").unlink()

    def run(self, statement: str, *values: object) -> None:
        """Execute a statement without a result."""
        with _failures(), self._database.cursor() as cursor:
            cursor.execute(statement, values or None)

    def one(self, query: str, *values: object) -> tuple[Any, ...]:
        """Return the only row of a result."""
        with _failures(), self._database.cursor() as cursor:
            return cursor.execute(query, values or None).fetchone() or ()

    def texts(self, table: str, numbers: npt.NDArray[np.int64], column: str = "cell") -> npt.NDArray[np.object_]:
        """Look up the text of the rows of a table whose `number` is given: (n,) object for n numbers with repeats.

        Texts are looked up a batch at a time, because sorting rows with texts takes memory that grows with the rows.
        """
        import pyarrow as pa

        distinct, which = np.unique(numbers, return_inverse=True)
        with _failures(), self._database.cursor() as cursor:
            cursor.register("wanted", pa.table({"number": distinct}))
            found = cursor.execute(f"SELECT number, {column} FROM {table} SEMI JOIN wanted USING (number)").fetchall()
        texts = np.empty(len(distinct), dtype=object)
        for number, cell in found:
            texts[np.searchsorted(distinct, number)] = cell.decode("utf-8", "surrogatepass")
        return texts[which]

    def batches(self, query: str, *values: object, size: int = BATCH) -> Iterator[dict[str, Any]]:
        """Read a result in batches of at most `size` rows.

        Yields
        ------
        dict of str to array or list
            By column: an array of NumPy for numbers without a missing value; otherwise a list, text for BLOB.
        """
        import pyarrow as pa

        with _failures(), self._database.cursor() as cursor:
            for batch in cursor.sql(query, params=values).to_arrow_reader(size):
                yield {
                    name: _texts(column)
                    if pa.types.is_binary(column.type)
                    else column.to_pylist()
                    if column.null_count or pa.types.is_boolean(column.type)
                    else column.to_numpy()
                    for name, column in zip(batch.schema.names, batch.columns, strict=True)
                }


def whole_groups(parts: Iterable[dict[str, Any]], size: int, group: str) -> Iterator[dict[str, Any]]:
    """Join batches of rows, and cut them where a group ends: at the first end after `size` rows or more.

    Parameters
    ----------
    parts : iterable of dict
        Columns of rows in the order of their groups.
    size : int
        Rows of a batch, if a group ends there.
    group : str
        The column whose number is that of the group.
    """
    waiting: dict[str, Any] = {}
    for part in parts:
        waiting = {name: _joined(waiting[name], part[name]) for name in part} if waiting else part
        ends = np.flatnonzero(np.diff(waiting[group])) + 1
        start = 0
        while (place := np.searchsorted(ends, start + size)) < len(ends):
            yield {name: column[start : ends[place]] for name, column in waiting.items()}
            start = int(ends[place])
        waiting = {name: column[start:] for name, column in waiting.items()}
    if waiting:
        yield waiting


def _joined(one: Any, other: Any) -> Any:
    return one + other if isinstance(one, list) else np.concatenate([one, other])


def _texts(column: Any) -> list[str | None]:
    """The texts of a column of bytes; equal cells of a batch are one object."""
    coded = column.dictionary_encode()
    texts = [cell.decode("utf-8", "surrogatepass") for cell in coded.dictionary.to_pylist()]
    return [None if code is None else texts[code] for code in coded.indices.to_pylist()]


@contextmanager
def _failures() -> Iterator[None]:
    """Report that nothing can be written as an error of the storage."""
    import duckdb

    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.TransactionException, OSError) as error:
        raise StorageError(
            f"a large table cannot be kept in {tempfile.gettempdir()} ({one_line(error)[:200]}): "
            "free disk space there, or name another folder with the environment variable TMPDIR"
        ) from error
