"""Pair tables from pandas tables, with a reason for every row that cannot be scored."""

from typing import Any

import numpy as np
import pandas as pd

from consistency.data.files import find_images
from consistency.data.hashtags import hashtag_fault
from consistency.data.inputs import Inputs
from consistency.data.pairs import PairTable, Skipped
from consistency.errors import DataError
from consistency.options import Source


def frame_inputs(frame: pd.DataFrame, source: Source) -> Inputs:
    """The rows of a table that can be scored, with their images found; the others are skipped. Rows count from 1.

    Raises
    ------
    DataError
        If the table lacks a column, or has it twice.
    """
    for column in (source.image_column, source.hashtag_column):
        if (count := list(frame.columns).count(column)) != 1:
            found = ", ".join(map(repr, list(frame.columns)[:20]))
            raise DataError(f"the DataFrame has {count} columns {column!r}, expected one (found {found})")
    images, hashtags = frame[source.image_column].tolist(), frame[source.hashtag_column].tolist()
    faults = [_fault(image, hashtag) for image, hashtag in zip(images, hashtags, strict=True)]
    good = [at for at, fault in enumerate(faults) if fault is None]
    skipped = tuple(
        Skipped(at + 1, str(images[at]), str(hashtags[at]), fault) for at, fault in enumerate(faults) if fault
    )
    table = PairTable(
        rows=np.array(good, dtype=np.int64) + 1,
        images=np.array([images[at] for at in good], dtype=object),
        hashtags=np.array([hashtags[at] for at in good], dtype=object),
        scores=np.zeros(len(good), dtype=np.int64),
        path=source.data,
        digest="",
        skipped=skipped,
    )
    return Inputs(table, find_images(table.images, source.images), skipped)


def _fault(image: Any, hashtag: Any) -> str | None:
    if not isinstance(image, str) or not image.strip():
        return "the image has no name"
    return hashtag_fault(hashtag) if isinstance(hashtag, str) else "the hashtag is empty"
