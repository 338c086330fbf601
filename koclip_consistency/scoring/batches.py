"""A table to score, in batches: every row with all its cells, and the pairs among them that can be scored."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consistency.data.inputs import Inputs, read_inputs
from consistency.options import Source


@dataclass(frozen=True, eq=False)
class TableBatch:
    """Some consecutive rows of a table.

    Attributes
    ----------
    cells : list of lists
        The table's own cells by column, each n long; None where a row is too short.
    rows : list of n int
        Data rows, numbered from 1.
    images, hashtags : list of n str
        Text as in the table.
    scores : list of n int or None
        The labels, 1 to 5.
    inputs : Inputs
        The m rows that can be scored, and the reasons of the others.
    at : (m,) int64
        Place of each of these among the n rows.
    """

    cells: list[list[str | None]]
    rows: list[int]
    images: list[str]
    hashtags: list[str]
    scores: list[int | None]
    inputs: Inputs
    at: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TableBatches:
    """A table whose header has been read; iterating reads it from the beginning.

    Attributes
    ----------
    columns : tuple of str
        Names of the table's own columns.
    """

    columns: tuple[str, ...]
    source: Source

    def __iter__(self) -> Iterator[TableBatch]:
        inputs = read_inputs(self.source, require_scores=False)
        table = inputs.table
        text = self.source.data.read_bytes().decode(self.source.encoding).removeprefix("\ufeff")
        lines = list(filter(None, csv.reader(io.StringIO(text, newline=""))))[1:]
        width = len(self.columns)
        cells = [[line[column] if column < len(line) else None for line in lines] for column in range(width)]
        images, hashtags = (
            [cell or "" for cell in cells[self.columns.index(name)]]
            for name in (self.source.image_column, self.source.hashtag_column)
        )
        at = table.rows - 1
        scores: list[int | None] = [None] * len(lines)
        for place, score in zip(at.tolist(), table.scores.tolist(), strict=True):
            scores[place] = score or None
        yield TableBatch(cells, list(range(1, len(lines) + 1)), images, hashtags, scores, inputs, at)


def open_batches(source: Source) -> TableBatches:
    """Read the header of the table of `source`."""
    text = source.data.read_bytes().decode(source.encoding).removeprefix("\ufeff")
    return TableBatches(tuple(next(filter(None, csv.reader(io.StringIO(text, newline=""))))), source)
