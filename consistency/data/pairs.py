"""The pair table: images, hashtags and scores. Every row that cannot be used is listed with the reason."""

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from consistency.data.cells import image_fault, pairs_of, plain
from consistency.data.formats import Cell
from consistency.data.hashtags import hashtag_fault
from consistency.data.scores import check_raters, describe_scale, rate, score_fault, score_of
from consistency.data.tables import TableFile, open_table
from consistency.errors import DataError
from consistency.options import Aggregate
from consistency.text import csv_lines, to_csv

_OF_THE_FILE = " (row {} of the file)"
REMEMBERED = 1 << 16  # cells whose fault or score is remembered


@dataclass(frozen=True)
class Skipped:
    """A row, or an image with all its rows, that is left out; a line of `skipped.csv`.

    Attributes
    ----------
    row : int or None
        As `PairTable.rows`; None for an image.
    image, hashtag : str
        Text as in the table.
    reason : str
        Why it is left out.
    """

    row: int | None
    image: str
    hashtag: str
    reason: str


@dataclass(frozen=True, eq=False)
class PairTable:
    """The n usable rows of a pair table.

    Attributes
    ----------
    rows : (n,) int64
        Data row of the file, numbered from 1; where cells with several hashtags were split, number of the pair.
    images, hashtags : (n,) object
        Text exactly as in the file.
    scores : (n,) int64
        1 to 5; 0 for rows without a score.
    path : Path
        The file.
    digest : str
        SHA-256 of the file in hexadecimal.
    skipped : tuple of Skipped
        Rows that cannot be used, in order.
    unscored : mapping of str to int
        Number of those rows per label that is not a score.
    mapped : bool
        Whether the labels were mapped to scores.
    posts : (n,) object or None
        The post of each row as in the file, empty where it has none; None without a column of posts.
    file_rows : (n,) int64 or None
        Data row of the file if cells were split; None where these are `rows`.
    format, encoding : str
        As `tables.TableFile` has them.
    raters : tuple of str
        The columns of scores if there are several; otherwise empty.
    ratings : (n, k) int64 or None
        The scores of the k raters, 0 where there is none; `scores` are their aggregates. None with one column.
    """

    rows: npt.NDArray[np.int64]
    images: npt.NDArray[np.object_]
    hashtags: npt.NDArray[np.object_]
    scores: npt.NDArray[np.int64]
    path: Path
    digest: str
    skipped: tuple[Skipped, ...]
    unscored: Mapping[str, int] = field(default_factory=dict)
    mapped: bool = False
    posts: npt.NDArray[np.object_] | None = None
    file_rows: npt.NDArray[np.int64] | None = None
    format: str = "CSV"
    encoding: str = ""
    raters: tuple[str, ...] = ()
    ratings: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        shapes = {column.shape for column in (self.rows, self.images, self.hashtags, self.scores)}
        if shapes != {(len(self.rows),)}:
            raise ValueError(f"columns of shapes {shapes} do not make a table")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def score_counts(self) -> list[int]:
        """Number of rows with each of the scores 1 to 5."""
        return np.bincount(self.scores, minlength=6)[1:].tolist()

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(n,) int64 classes 0 to 4; -1 for rows without a score."""
        return self.scores - 1

    def file_row_of(self, skipped: Skipped) -> int | None:
        """The data row of the file of a row that the reader skipped; None for an image."""
        if self.file_rows is None or skipped.row is None:
            return skipped.row
        return int(re.findall(r"\d+", skipped.reason)[-1])  # the reason ends with _OF_THE_FILE

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "PairTable":
        """Select rows by index or boolean mask."""
        return replace(
            self,
            rows=self.rows[rows],
            images=self.images[rows],
            hashtags=self.hashtags[rows],
            scores=self.scores[rows],
            posts=None if self.posts is None else self.posts[rows],
            file_rows=None if self.file_rows is None else self.file_rows[rows],
            ratings=None if self.ratings is None else self.ratings[rows],
        )

    def without_images(self, faults: Mapping[str, str]) -> tuple["PairTable", list[Skipped]]:
        """The rows whose image has no fault, and the others with the fault as the reason."""
        usable = np.array([image not in faults for image in self.images], dtype=bool)
        lost = self.take(~usable)
        pairs = zip(lost.rows.tolist(), lost.images, lost.hashtags, strict=True)
        return self.take(usable), [Skipped(row, image, hashtag, faults[image]) for row, image, hashtag in pairs]


def read_pairs(
    data: TableFile | Path | str,
    *,
    image_column: str = "Image Filename",
    hashtag_column: str = "Hashtag",
    score_column: str | Sequence[str] = "Score",
    aggregate: Aggregate = "median",
    post_column: str | None = None,
    encoding: str = "utf-8-sig",
    separator: str | None = None,
    split: bool = False,
    require_scores: bool = True,
    score_map: Mapping[str, int] | None = None,
) -> PairTable:
    """Read a pair table; other columns and empty rows are ignored.

    Parameters
    ----------
    data : Path, str or TableFile
        A delimited text file, JSON Lines, Parquet or XLSX; or an opened table, with which `encoding` and `separator`
        have no effect.
    image_column, hashtag_column, score_column : str
        Names of the columns. Several columns of scores are those of several people; an empty cell is no score.
    aggregate : {"median", "mean"}
        The score of a pair that several people have scored; halves are rounded up.
    post_column : str, optional
        Name of the column that says which post a row belongs to.
    encoding : str
        Text encoding, of text formats.
    separator : str, optional
        Character between the cells of a delimited file; None finds it in the header.
    split : bool
        Whether a cell holds the hashtags of a post, which become a row each. Its score is the score of each of them, or
        there are as many scores in the cell as hashtags.
    require_scores : bool
        Whether rows without a score are skipped; otherwise their score is 0, and the column may be missing.
    score_map : mapping of str to int, optional
        Score of each label, for tables on another scale; rows with other labels are skipped.

    Returns
    -------
    PairTable
        The usable rows; `skipped` lists the others.

    Raises
    ------
    DataError
        If the file is not a table with these columns, or has no usable row.
    """
    table = data
    if not isinstance(table, TableFile):
        scores = [score_column] if isinstance(score_column, str) else score_column
        wanted = [image_column, hashtag_column, *scores, *([post_column] if post_column else [])]
        table = open_table(Path(table), encoding=encoding, separator=separator, wanted=wanted)
    rows = PairRows(
        table,
        image_column=image_column,
        hashtag_column=hashtag_column,
        score_column=score_column,
        aggregate=aggregate,
        post_column=post_column,
        split=split,
        require_scores=require_scores,
        score_map=score_map,
    )
    for cells in rows.cells():
        rows.add(cells)
    pairs = rows.take()
    if not len(pairs):
        raise no_row(pairs.path, pairs.unscored, pairs.skipped, len(pairs.skipped), mapped=pairs.mapped)
    return pairs


class PairRows:
    """Turns the rows of a table into pairs, as many at a time as the caller adds before it takes them.

    Parameters
    ----------
    table : TableFile
        The table; parameters beside it are those of `read_pairs`.

    Raises
    ------
    DataError
        If the table lacks a column.
    """

    def __init__(
        self,
        table: TableFile,
        *,
        image_column: str,
        hashtag_column: str,
        score_column: str | Sequence[str],
        aggregate: Aggregate = "median",
        post_column: str | None = None,
        split: bool = False,
        require_scores: bool = True,
        score_map: Mapping[str, int] | None = None,
    ) -> None:
        self._table, self._split, self._require, self._map = table, split, require_scores, score_map
        self._image_at = table.place(image_column, "--image-column")
        self._hashtag_at = table.place(hashtag_column, "--hashtag-column")
        self._raters = (score_column,) if isinstance(score_column, str) else tuple(score_column)
        check_raters(self._raters, split=split)
        scored = require_scores or set(self._raters) <= set(table.columns)
        self._scores_at = [table.place(name, "--score-column") for name in self._raters] if scored else []
        self._aggregate: Aggregate = aggregate
        self._post_at = table.place(post_column, "--post-column") if post_column else None
        self._needed = [name for name in (image_column, hashtag_column, *self._raters, post_column) if name]
        self._fault = lru_cache(REMEMBERED)(image_fault)  # cells repeat
        self._hashtag_fault = lru_cache(REMEMBERED)(hashtag_fault)
        self._score = lru_cache(REMEMBERED)(lambda text: score_of(text, score_map))
        self._known: dict[str, str] = {}  # one object for equal cells
        self._number = self._row = 0
        self._clear()

    def cells(self, *, every: bool = False) -> Iterator[list[Cell]]:
        """The rows of the table, for `add`; cells of columns that are not needed may be empty unless `every` is set."""
        return self._table.rows(() if every else self._needed, self._is_row)

    def add(self, cells: Sequence[Cell]) -> int:
        """Add the pairs of the next row, and return their number."""
        self._number += 1
        before = self._row
        where = _OF_THE_FILE.format(self._number) if self._split else ""
        if len(cells) != len(self._table.columns):
            self._row += 1
            image, hashtag = ("".join(map(plain, cells[at : at + 1])) for at in (self._image_at, self._hashtag_at))
            wrong = f"{len(cells)} cells, the header has {len(self._table.columns)}"
            self._skipped.append(Skipped(self._row, image, hashtag, wrong + where))
            return 1
        image, label = plain(cells[self._image_at]), cells[self._scores_at[0]] if self._scores_at else ""
        ratings = None
        if len(self._scores_at) > 1:
            ratings = rate([plain(cells[at]) for at in self._scores_at], self._score, self._aggregate)
        image = self._known.setdefault(image, image)
        for hashtag, given, fault in pairs_of(cells[self._hashtag_at], label, self._split, self._score):
            self._row += 1
            score = self._score(given)
            reason = self._fault(image) or fault or self._hashtag_fault(hashtag)
            if ratings is not None:
                score, given = ratings.score, ratings.unused
            if not score and (self._require or given.strip()):
                self._unscored[given] += 1
                reason = reason or score_fault(given, self._map)
            if reason:
                self._skipped.append(Skipped(self._row, image, hashtag, reason + where))
                continue
            self._rows.append(self._row)
            self._file_rows.append(self._number)
            self._images.append(image)
            self._hashtags.append(self._known.setdefault(hashtag, hashtag))
            self._scores.append(score)
            if ratings is not None:
                self._ratings.append(ratings.scores)
            if self._post_at is not None:
                post = plain(cells[self._post_at]).strip()
                self._posts.append(self._known.setdefault(post, post))
        return self._row - before

    def take(self) -> PairTable:
        """The pairs of all rows that were added since the last call; there may be none."""
        pairs = PairTable(
            rows=np.array(self._rows, dtype=np.int64),
            images=np.array(self._images, dtype=object),
            hashtags=np.array(self._hashtags, dtype=object),
            scores=np.array(self._scores, dtype=np.int64),
            path=self._table.path,
            digest=self._table.digest,
            skipped=tuple(self._skipped),
            unscored=self._unscored,
            mapped=self._map is not None,
            posts=None if self._post_at is None else np.array(self._posts, dtype=object),
            file_rows=np.array(self._file_rows, dtype=np.int64) if self._split else None,
            format=self._table.format,
            encoding=self._table.encoding,
            raters=self._raters if len(self._scores_at) > 1 else (),
            ratings=np.array(self._ratings, np.int64).reshape(-1, len(self._raters)) if self._scores_at[1:] else None,
        )
        self._clear()
        return pairs

    def _clear(self) -> None:
        self._known.clear()
        self._rows, self._file_rows, self._scores = array("q"), array("q"), array("q")
        self._images: list[str] = []
        self._hashtags: list[str] = []
        self._posts: list[str] = []
        self._ratings: list[tuple[int, ...]] = []
        self._skipped: list[Skipped] = []
        self._unscored: Counter[str] = Counter()

    def _is_row(self, cells: Sequence[str]) -> bool:
        return not self._scores_at or any(self._score(cells[at]) > 0 for at in self._scores_at)


def no_row(
    path: Path, unscored: Mapping[str, int], first: Sequence[Skipped], skipped: int, *, mapped: bool
) -> DataError:
    """The error for a table without a usable row: `skipped` rows have a fault, of which `first` begins with one."""
    found = f"row {first[0].row}: {first[0].reason}" if first else "there is only a header"
    every_label = not mapped and sum(unscored.values()) == skipped
    if every_label and (scale := describe_scale(unscored, [0] * 5)):
        return DataError(f"{path} has no usable row: {scale}")
    return DataError(f"{path} has no usable row ({found}): correct it, or name another file with --data")


SKIPPED_COLUMNS = ("row", "image", "hashtag", "reason")


def skipped_csv(skipped: Sequence[Skipped], *, header: bool = True) -> bytes:
    """The content of `skipped.csv`: one line per skipped row or image."""
    lines = (("" if s.row is None else s.row, s.image, s.hashtag, s.reason) for s in skipped)
    return to_csv(SKIPPED_COLUMNS, lines) if header else csv_lines(lines)
