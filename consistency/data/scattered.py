"""Numbers that become known in any order and are read in the order of their rows, in bounded memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from consistency.durable import make_folder
from consistency.errors import StorageError, os_errors_as

PART = 65_536  # rows that are in one file, and in memory when they are read
MOST_PARTS = 512  # beyond which a part has more rows

Floats = npt.NDArray[np.float64]


class Scattered:
    """Columns of n rows, in files of PART consecutive rows each, to which cells are appended as they come.

    Sorting wide rows takes memory that grows with their number; here each row's place is known, so none is sorted.

    Parameters
    ----------
    folder : Path
        A new folder for the files.
    names : sequence of str
        The k columns.
    n : int
        Number of rows. A part has n / MOST_PARTS rows if that is more than PART.
    """

    def __init__(self, folder: Path, names: Sequence[str], n: int) -> None:
        make_folder(folder)
        self._folder, self.names, self.n = folder, tuple(names), n
        self._part = max(PART, -(-n // MOST_PARTS))
        self._row = np.dtype([("at", np.int64), ("cells", np.float64, len(self.names))])

    def put(self, at: npt.NDArray[np.int64], columns: Mapping[str, npt.ArrayLike]) -> None:
        """Append m rows: their places, and the cells of all columns, NaN for none.

        Raises
        ------
        StorageError
            If they cannot be written.
        """
        rows = np.empty(len(at), self._row)
        rows["at"] = at
        for place, name in enumerate(self.names):
            rows["cells"][:, place] = columns[name]
        rows = rows[np.argsort(at, kind="stable")]
        parts, starts = np.unique(rows["at"] // self._part, return_index=True)
        for part, some in zip(parts.tolist(), np.split(rows, starts[1:]), strict=True):
            with os_errors_as(StorageError, f"cannot write into {self._folder}"), self._file(part).open("ab") as file:
                file.write(some.tobytes())

    def parts(self) -> Iterator[tuple[int, dict[str, Floats]]]:
        """The number of the first row of each part and its columns, NaN where nothing was put; in order."""
        for part, start in enumerate(range(0, self.n, self._part)):
            cells = np.full((min(self._part, self.n - start), len(self.names)), np.nan)
            if (path := self._file(part)).exists():
                rows = np.fromfile(path, self._row)
                cells[rows["at"] - start] = rows["cells"]
            yield start, {name: cells[:, place] for place, name in enumerate(self.names)}

    def _file(self, part: int) -> Path:
        return self._folder / f"{part}.bin"
