"""A table to score, in batches: every row with all its cells, and the pairs among them that can be scored."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consistency.data.cells import plain
from consistency.data.files import ImageFile, find_images
from consistency.data.formats import Cell
from consistency.data.inputs import Inputs, no_image_found, open_source, read_batches, refuse_skipped
from consistency.data.memo import DigestMemo
from consistency.data.tables import TableFile
from consistency.errors import DataError
from consistency.options import Source

BATCH = 16_384  # rows
FILES = 65_536  # images whose digests are remembered from batch to batch


@dataclass(frozen=True, eq=False)
class TableBatch:
    """Some consecutive rows of a table; a row whose cell of several hashtags is split comes once for each of them.

    Attributes
    ----------
    cells : list of lists
        The table's own cells by column, each n long; None where a row is too short.
    rows : list of n int
        Numbers of the rows from 1, as `PairTable.rows` counts them.
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
    """A table whose header has been read; iterating reads it from the beginning, one batch at a time.

    Iterating raises DataError if the table is damaged or holds no row that can be used, if none of its images exists,
    or, with `--on-error abort`, if a row cannot be used.
    """

    table: TableFile
    source: Source
    memo: DigestMemo | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the table's own columns."""
        return self.table.columns

    def __iter__(self) -> Iterator[TableBatch]:
        files: dict[str, ImageFile] = {}
        first, usable, found = 1, 0, False
        for cells, counts, pairs in read_batches(self.source, BATCH, table=self.table):
            if found and len(files) > FILES:  # until then the error counts them
                files.clear()
            files.update(
                find_images((name for name in pairs.images if name not in files), self.source.images, self.memo)
            )
            faults = {name: problem for name in set(pairs.images) if (problem := files[name].problem)}
            here, lost = pairs.without_images(faults)
            skipped = (*pairs.skipped, *lost)
            refuse_skipped(skipped, self.source.on_error)
            inputs = Inputs(here, {name: files[name] for name in dict.fromkeys(here.images)}, skipped)
            usable, found = usable + len(pairs), found or bool(len(here))
            yield _batch(_columns(cells, counts, len(self.columns)), first, sum(counts), inputs)
            first += sum(counts)
        if not usable:
            raise DataError(f"{self.source.data} has no usable row: correct it, or name another file with --data")
        if not found:
            raise no_image_found(self.source, files)


def open_batches(source: Source, memo: DigestMemo | None = None) -> TableBatches:
    """Read the header of the table of `source`; an image whose digest `memo` knows is not read.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    return TableBatches(open_source(source), source, memo)


def _batch(cells: list[list[str | None]], first: int, n: int, inputs: Inputs) -> TableBatch:
    table = inputs.table
    images, hashtags, scores = [""] * n, [""] * n, np.full(n, None).tolist()
    for each in inputs.skipped:
        if each.row is not None:
            images[each.row - first], hashtags[each.row - first] = each.image, each.hashtag
    at = table.rows - first
    pairs = zip(at.tolist(), table.images, table.hashtags, table.scores.tolist(), strict=True)
    for place, image, hashtag, score in pairs:
        images[place], hashtags[place], scores[place] = image, hashtag, score or None
    return TableBatch(cells, list(range(first, first + n)), images, hashtags, scores, inputs, at)


def _columns(rows: Iterable[list[Cell]], counts: Iterable[int], width: int) -> list[list[str | None]]:
    """The cells as text by column, a row as often as it has pairs."""
    columns: list[list[str | None]] = [[] for _ in range(width)]
    for cells, count in zip(rows, counts, strict=True):
        texts: list[str | None] = [*map(plain, cells[:width])]
        texts += [None] * (width - len(texts))
        for column, text in zip(columns, texts, strict=True):
            column += [text] * count
    return columns
