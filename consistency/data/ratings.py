"""Reads several people's scores of the same pairs: one column for each person, with empty cells where there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from consistency.data.cells import plain
from consistency.data.scores import score_fault, score_of
from consistency.data.tables import open_table
from consistency.errors import DataError, InputError
from consistency.options import Source
from consistency.scale import SCORES, Floats, Ints

CHOSEN_BY = "chosen_by"  # column of a table that `annotate export` has written
BY_DOUBT = "doubtful"


@dataclass(frozen=True, eq=False)
class Ratings:
    """Scores of n pairs by k raters.

    Attributes
    ----------
    raters : tuple of str
        Names of the columns.
    rows : (n,) int64
        Data row of the file, numbered from 1.
    images, hashtags : (n,) object str
        As in the file.
    scores : (n, k) int64
        1 to 5; 0 where a rater has not scored the pair.
    path : Path
        The file.
    chosen : (n,) object str
        How each row came to be rated: BY_DOUBT if its label was doubtful; empty if nothing is known.
    """

    raters: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    images: npt.NDArray[np.object_]
    hashtags: npt.NDArray[np.object_]
    scores: npt.NDArray[np.int64]
    path: Path
    chosen: npt.NDArray[np.object_]

    @property
    def by_doubt(self) -> int:
        """Number of rows with two scores or more that were rated because their label was doubtful."""
        return int((((self.scores > 0).sum(axis=1) >= 2) & (self.chosen == BY_DOUBT)).sum())


def rating_shares(scores: Ints) -> Floats:
    """The share of the raters of each pair who gave each score.

    Parameters
    ----------
    scores : (n, k) int64
        Scores of k raters, 1 to 5; 0 for none. Every pair has at least one.

    Returns
    -------
    (n, 5) float64
    """
    counts = (scores[:, :, None] == SCORES).sum(axis=1)
    return counts / counts.sum(axis=1, keepdims=True)


def read_ratings(source: Source, columns: Sequence[str]) -> Ratings:
    """Read the columns of several raters.

    Parameters
    ----------
    source : Source
        The table, the columns of images and hashtags, and `score_map`.
    columns : sequence of str
        At least two columns of scores.

    Returns
    -------
    Ratings

    Raises
    ------
    InputError
        If fewer than two columns are named, or one twice.
    DataError
        If the table lacks a column, or a cell holds something else than a score or nothing.
    """
    names = tuple(column.strip() for column in columns if column.strip())
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"--columns names {', '.join(names) or 'nothing'}, expected two or more different columns")
    return read_columns(source, names)


def read_columns(source: Source, names: Sequence[str]) -> Ratings:
    """Read any number of different columns of scores; raises DataError as `read_ratings` does."""
    wanted = (source.image_column, source.hashtag_column, *names)
    table = open_table(source.data, encoding=source.encoding, separator=source.separator, wanted=wanted)
    image_at = table.place(source.image_column, "--image-column")
    hashtag_at = table.place(source.hashtag_column, "--hashtag-column")
    places = [table.place(name, "--columns") for name in names]
    chosen_at = table.columns.index(CHOSEN_BY) if CHOSEN_BY in table.columns else None
    images, hashtags, scores, chosen = [], [], [], []
    for row, cells in enumerate(table.rows((*wanted, *[CHOSEN_BY] * (chosen_at is not None))), start=1):
        if len(cells) != len(table.columns):
            raise DataError(f"{table.path}, row {row}: {len(cells)} cells, the header has {len(table.columns)}")
        given = [plain(cells[place]).strip() for place in places]
        found = [score_of(text, source.score_map) if text else 0 for text in given]
        for name, text, score in zip(names, given, found, strict=True):
            if text and not score:
                raise DataError(
                    f"{table.path}, row {row}, column {name}: {score_fault(text, source.score_map)}; "
                    "empty the cell if there is no score"
                )
        images.append(plain(cells[image_at]))
        hashtags.append(plain(cells[hashtag_at]))
        scores.append(found)
        chosen.append("" if chosen_at is None else plain(cells[chosen_at]))
    if not scores:
        raise DataError(f"{table.path} has no row, expected pairs that several people have scored")
    return Ratings(
        raters=tuple(names),
        rows=np.arange(1, len(scores) + 1, dtype=np.int64),
        images=np.array(images, dtype=object),
        hashtags=np.array(hashtags, dtype=object),
        scores=np.array(scores, dtype=np.int64),
        path=table.path,
        chosen=np.array(chosen, dtype=object),
    )
