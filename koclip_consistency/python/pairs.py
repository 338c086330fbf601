"""Pair tables and splits for notebooks."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from consistency.data.folds import with_folds
from consistency.data.inputs import Inputs, read_inputs
from consistency.data.splits import Split
from consistency.data.tables import frame_table
from consistency.options import Evaluation, Source
from consistency.remote import path_of
from koclip_consistency.keywords import record_of
from koclip_consistency.workflows.division import split_table

FRAME = "the DataFrame"


@dataclass(frozen=True, eq=False, repr=False)
class Pairs:
    """The n usable rows of a pair table, with their images found.

    Attributes
    ----------
    inputs : Inputs
        The table and the files of its images, as the commands take them.
    source : Source
        The options that it was read with.

    Examples
    --------
    >>> import koclip_consistency as kc
    >>> pairs = kc.read_pairs("pairs.csv", images="image")
    >>> pairs.to_frame().columns.tolist()
    ['row', 'image', 'hashtag', 'score']
    """

    inputs: Inputs
    source: Source

    def __len__(self) -> int:
        return len(self.inputs.table)

    def __repr__(self) -> str:
        images, hashtags = len(set(self.inputs.identity)), len(set(self.hashtags))
        return f"<Pairs: {len(self)} rows, {images} images, {hashtags} hashtags, {len(self.inputs.skipped)} left out>"

    @property
    def images(self) -> npt.NDArray[np.object_]:
        """(n,) object: the image's name of each row, as in the table."""
        return self.inputs.table.images

    @property
    def hashtags(self) -> npt.NDArray[np.object_]:
        """(n,) object: the hashtag of each row, as in the table."""
        return self.inputs.table.hashtags

    @property
    def scores(self) -> npt.NDArray[np.int64]:
        """(n,) int64: the score of each row, 1 to 5; 0 where it has none."""
        return self.inputs.table.scores

    @property
    def skipped(self) -> pd.DataFrame:
        """The rows that cannot be used: row (from 1), image, hashtag and reason."""
        return skipped_frame(self.inputs.skipped)

    def to_frame(self) -> pd.DataFrame:
        """The n rows: row (from 1 in the table that was read), image, hashtag and score."""
        columns = {"row": self.inputs.table.rows, "image": self.images, "hashtag": self.hashtags, "score": self.scores}
        return pd.DataFrame(columns)


def read_pairs(
    data: str | os.PathLike[str] | pd.DataFrame,
    images: str | os.PathLike[str] | None = None,
    *,
    require_scores: bool = True,
    near_duplicates: int | None = None,
    **options: Any,
) -> Pairs:
    """Read a pair table and find its images.

    Parameters
    ----------
    data : path or DataFrame
        A CSV, TSV, JSON Lines, Parquet or XLSX file, or a table with the same columns.
    images : path, optional
        Folder, ZIP or tar of the images; the command line's default if None.
    require_scores : bool
        Whether every row needs a score.
    near_duplicates : int, optional
        Images whose 64-bit hashes differ in at most so many bits stay together in a split; None compares none.
    **options
        Other options of the command line about the data: `image_column`, `hashtag_column`, `score_column` (one, or a
        tuple of them), `aggregate` ("median" or "mean"),
        `post_column`, `split_hashtags`, `separator`, `encoding`, `score_map` (the score of each label), `on_error`
        ("skip", "allow" or "abort"), `on_conflict` ("abort", "mean", "first" or "drop").

    Returns
    -------
    Pairs
        Rows that cannot be used are in its `skipped`.

    Raises
    ------
    DataError
        If the table cannot be read, has no usable row, or none of its images is in the folder.

    Examples
    --------
    >>> import pandas as pd
    >>> import koclip_consistency as kc
    >>> pairs = kc.read_pairs(pd.read_csv("pairs.csv"), images="image")
    >>> len(pairs) == len(kc.read_pairs("pairs.csv", images="image"))
    True
    """
    found = {"images": images, **options}
    settings: dict[str, Any] = {"require_scores": require_scores, "near_duplicates": near_duplicates}
    if not isinstance(data, pd.DataFrame):
        source = record_of(Source, {**found, "data": path_of(data)})
        return Pairs(read_inputs(source, **settings), source)
    source = record_of(Source, {**found, "data": Path(FRAME)})
    return Pairs(read_inputs(source, table=frame_table(data, source.data), **settings), source)


def make_split(pairs: Pairs, *, validation: bool = False, folds: int | None = None, **options: Any) -> Split:
    """Divide the rows of a pair table into train and test, as the commands do.

    Parameters
    ----------
    pairs : Pairs
        n rows, all with scores.
    validation : bool
        Whether some of the training rows become validation rows.
    folds : int, optional
        Also give every row one of so many outer folds.
    **options
        Options of the command line about the split: `protocol` ("grouped", "hashtag" or "paper"), `seed`,
        `test_fraction`, or `split`, the path of a split.csv.

    Returns
    -------
    Split
        Its `train`, `val` and `test` are row indices (m,) int64; its `scores` (n,) int64 are the scores after repeated
        pairs were merged.

    Raises
    ------
    DataError
        If the table is too small, or repeated pairs have different scores.

    Examples
    --------
    >>> import koclip_consistency as kc
    >>> pairs = kc.read_pairs("pairs.csv", images="image")
    >>> split = kc.make_split(pairs, protocol="grouped", seed=42)
    >>> set(pairs.images[split.train]) & set(pairs.images[split.test])
    set()
    """
    split = split_table(pairs.inputs, pairs.source, record_of(Evaluation, options), validation=validation)
    return split if folds is None else with_folds(split, folds)


def skipped_frame(skipped: Any) -> pd.DataFrame:
    """Rows that are left out as a table."""
    rows = [(s.row, s.image, s.hashtag, s.reason) for s in skipped]
    return pd.DataFrame(rows, columns=["row", "image", "hashtag", "reason"])
