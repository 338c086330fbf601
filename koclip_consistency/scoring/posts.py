"""Answers to a whole table for a scorer that reads posts, whose rows may be far apart in the table.

The table is read once for the posts, scored post by post, and read again to be written: about 100 bytes per row stay in
memory, besides the distinct names and hashtags.
"""

from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.data.files import ImageFile
from consistency.data.inputs import Inputs
from consistency.data.pairs import PairTable
from consistency.options import Source
from koclip_consistency.scoring.batches import BATCH, TableBatch
from koclip_consistency.scoring.scored import POST_READ, SETS, WHY_NOT, answer_columns
from koclip_consistency.scoring.scorer import Scorer

WHOLE = ("predicted", "rank", "rank_of", *SETS)  # columns of whole numbers


class PostAnswers:
    """The answers to all rows of a table, in the order of the rows.

    Parameters
    ----------
    scorer : Scorer
        Whose `reads_post` is true.
    batches : iterable of TableBatch
        The table.
    source : Source
        Where it comes from.
    """

    def __init__(self, scorer: Scorer, batches: Iterable[TableBatch], source: Source) -> None:
        self._names, self._hashtags, self._posts = _Numbers(), _Numbers(), _Numbers()
        self._files: dict[str, ImageFile] = {}
        self._columns = {name: array("q") for name in ("at", "row", "name", "hashtag", "post")}
        self._values: dict[str, npt.NDArray[np.float64]] = {}
        self._reasons: dict[int, str] = {}
        self._source, self.n = source, 0
        for batch in batches:
            self._add(batch)
        for _, inputs in self._by_post():
            scorer.encode_table(inputs, source)  # all of it, before any cosine is compared with the cache's
        for at, inputs in self._by_post():
            self._put(at, scorer, inputs)

    def rows(self, start: int, stop: int) -> dict[str, list[Any]]:
        """The columns of `answer_columns` for some consecutive rows."""
        columns = answer_columns(None, stop - start, {})
        for name, values in self._values.items():
            columns[name] = cells_of(name, values[start:stop])
        columns[WHY_NOT] = [self._reasons.get(at) for at in range(start, stop)]
        return columns

    def _add(self, batch: TableBatch) -> None:
        table, files = batch.inputs.table, batch.inputs.files
        new = {
            "at": self.n + batch.at,
            "row": table.rows,
            "name": self._names.of(table.images),
            "hashtag": self._hashtags.of(table.hashtags),
            "post": self._posts.of(batch.inputs.posts),
        }
        for name, values in new.items():
            self._columns[name].extend(np.asarray(values).tolist())
        self._files.update(files)
        self.n += len(batch.rows)

    def _by_post(self) -> Iterator[tuple[npt.NDArray[np.int64], Inputs]]:
        """Whole posts, about BATCH rows at once: the places of the rows in the table, and the rows."""
        columns = {name: np.frombuffer(values, np.int64) for name, values in self._columns.items()}
        names, hashtags = (np.array(list(numbers), dtype=object) for numbers in (self._names, self._hashtags))
        order = np.argsort(columns["post"], kind="stable")
        ends = np.append(np.flatnonzero(np.diff(columns["post"][order])) + 1, len(order))
        start = 0
        while start < len(order):
            # to the end of the post in which the batch ends
            stop = int(ends[np.searchsorted(ends, min(start + BATCH, len(order)))])
            rows = order[start:stop]
            images = names[columns["name"][rows]]
            files = {name: self._files[name] for name in dict.fromkeys(images)}
            asked = (columns["row"][rows], images, hashtags[columns["hashtag"][rows]], columns["post"][rows])
            yield columns["at"][rows], post_inputs(self._source, *asked, files)
            start = stop

    def _put(self, at: npt.NDArray[np.int64], scorer: Scorer, inputs: Inputs) -> None:
        numbers, reasons = answers_to(scorer, inputs, self._source)
        for name, values in numbers.items():
            if not np.isnan(values).all():
                self._values.setdefault(name, np.full(self.n, np.nan))[at] = values
        self._reasons.update({int(at[place]): reason for place, reason in reasons.items()})


def answers_to(
    scorer: Scorer, inputs: Inputs, source: Source
) -> tuple[dict[str, npt.NDArray[np.float64]], dict[int, str]]:
    """The columns of the answers to whole posts as numbers, NaN for None; and why rows have none, by their place."""
    answers = scorer.answer_table(inputs, source)
    columns = answer_columns(answers, len(inputs.table))
    pairs = zip(inputs.table.rows.tolist(), inputs.table.hashtags, strict=True)
    places = {pair: place for place, pair in enumerate(pairs)}
    reasons = {places[each.row, each.hashtag]: each.reason for each in answers.skipped}
    return {name: np.array(cells, dtype=float) for name, cells in columns.items() if name != WHY_NOT}, reasons


def cells_of(name: str, values: npt.NDArray[np.float64]) -> list[Any]:
    """The cells of a column of `answer_columns`, None for NaN."""
    kind = bool if name in ("familiar", POST_READ) else int if name in WHOLE else float
    return [None if value != value else kind(value) for value in values.tolist()]


def post_inputs(
    source: Source,
    rows: npt.NDArray[np.int64],
    images: npt.NDArray[np.object_],
    hashtags: npt.NDArray[np.object_],
    posts: npt.NDArray[np.int64],
    files: dict[str, ImageFile],
) -> Inputs:
    """Some rows of the table of `source` as what a scorer is asked about; each column (n,)."""
    table = PairTable(
        rows=rows,
        images=images,
        hashtags=hashtags,
        scores=np.zeros(len(rows), np.int64),
        path=source.data,
        digest="",
        skipped=(),
        posts=posts.astype(str).astype(object),
    )
    return Inputs(table, files, ())


class _Numbers(dict[Any, int]):
    """Numbers values in the order of their first appearance."""

    def of(self, values: Iterable[Any]) -> list[int]:
        return [self.setdefault(value, len(self)) for value in values]
