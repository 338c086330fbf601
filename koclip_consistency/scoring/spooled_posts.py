"""The answers of `posts.PostAnswers` in bounded memory: rows and answers wait on disk."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.data.files import find_images
from consistency.data.inputs import Inputs
from consistency.data.memo import DigestMemo
from consistency.data.spool import Spool, Type
from consistency.options import Source
from koclip_consistency.scoring.batches import BATCH, TableBatch
from koclip_consistency.scoring.posts import WHOLE, post_inputs
from koclip_consistency.scoring.scored import POST_READ, WHY_NOT, answer_columns
from koclip_consistency.scoring.scorer import Scorer

ASKED: dict[str, Type] = {"place": "BIGINT", "row": "BIGINT", "image": "BLOB", "hashtag": "BLOB", "post": "BLOB"}
OF_POSTS = "SELECT place, row, image, hashtag, first FROM asked JOIN posts USING (post) ORDER BY first, place"


class SpooledPostAnswers:
    """The answers to all rows of a table, which are read once, in the order of the rows.

    Posts are answered in the same order and in the same batches as by `PostAnswers`, so the answers are the same.

    Parameters
    ----------
    scorer : Scorer
        Whose `reads_post` is true.
    batches : iterable of TableBatch
        The table.
    source : Source
        Where it comes from.
    spool : Spool
        Where rows and answers wait; it must stay open until the last row is read.
    memo : DigestMemo, optional
        Digests of images that are known already; every image is looked up several times.
    """

    def __init__(
        self,
        scorer: Scorer,
        batches: Iterable[TableBatch],
        source: Source,
        spool: Spool,
        memo: DigestMemo | None = None,
    ) -> None:
        self._source, self._spool, self._memo, self.n = source, spool, memo, 0
        spool.create("asked", ASKED)
        for batch in batches:
            self._add(batch)
        spool.run("CREATE TABLE posts AS SELECT post, min(place) AS first FROM asked GROUP BY post")
        for _, inputs in self._by_post():
            scorer.encode_table(inputs, source)  # all of it, before any cosine is compared with the cache's
        names = answer_columns(None, 0)
        kinds: dict[str, Type] = {"place": "BIGINT", **{name: _type(name) for name in names}}
        spool.create("answers", kinds)
        for at, inputs in self._by_post():
            self._put(at, scorer, inputs)
        self._answers = _rows(spool.batches("SELECT * FROM answers ORDER BY place"), [*names])
        self._next = next(self._answers, None)

    def rows(self, start: int, stop: int) -> dict[str, list[Any]]:
        """The columns of `answer_columns` for the next rows; `start` is where the last call stopped."""
        columns = answer_columns(None, stop - start)
        while self._next is not None and self._next[0] < stop:
            at, cells = self._next
            for name, cell in cells.items():
                columns[name][at - start] = cell
            self._next = next(self._answers, None)
        return columns

    def _add(self, batch: TableBatch) -> None:
        table = batch.inputs.table
        asked = {"row": table.rows, "image": table.images, "hashtag": table.hashtags, "post": batch.inputs.posts}
        self._spool.append("asked", {"place": self.n + batch.at, **asked})
        self.n += len(batch.rows)

    def _by_post(self) -> Iterator[tuple[npt.NDArray[np.int64], Inputs]]:
        """Whole posts, about BATCH rows at once: the places of the rows in the table, and the rows."""
        for rows in whole_posts(self._spool.batches(OF_POSTS), BATCH):
            images, hashtags = (np.array(rows[name], dtype=object) for name in ("image", "hashtag"))
            files = find_images(images, self._source.images, self._memo)
            yield rows["place"], post_inputs(self._source, rows["row"], images, hashtags, rows["first"], files)

    def _put(self, at: npt.NDArray[np.int64], scorer: Scorer, inputs: Inputs) -> None:
        answers = scorer.answer_table(inputs, self._source)
        pairs = zip(inputs.table.rows.tolist(), inputs.table.hashtags, strict=True)
        places = {pair: place for place, pair in enumerate(pairs)}
        reasons = {places[each.row, each.hashtag]: each.reason for each in answers.skipped}
        self._spool.append("answers", {"place": at, **answer_columns(answers, len(at), reasons)})


def whole_posts(parts: Iterable[dict[str, Any]], size: int) -> Iterator[dict[str, Any]]:
    """Join batches of rows, and cut them where a post ends: at the first end after `size` rows or more.

    Parameters
    ----------
    parts : iterable of dict
        Columns of rows in the order of their posts; the column `first` is the post.
    size : int
        Rows of a batch, if a post ends there.
    """
    waiting: dict[str, Any] = {}
    for part in parts:
        waiting = {name: _joined(waiting[name], part[name]) for name in part} if waiting else part
        ends = np.flatnonzero(np.diff(waiting["first"])) + 1
        start = 0
        while (place := np.searchsorted(ends, start + size)) < len(ends):
            yield {name: column[start : ends[place]] for name, column in waiting.items()}
            start = int(ends[place])
        waiting = {name: column[start:] for name, column in waiting.items()}
    if waiting:
        yield waiting


def _joined(one: Any, other: Any) -> Any:
    return one + other if isinstance(one, list) else np.concatenate([one, other])


def _type(name: str) -> Type:
    if name == WHY_NOT:
        return "BLOB"
    return "BOOLEAN" if name in ("familiar", POST_READ) else "BIGINT" if name in WHOLE else "DOUBLE"


def _rows(batches: Iterable[dict[str, Any]], names: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Place and answer of each row."""
    for batch in batches:
        columns = [batch[name] if isinstance(batch[name], list) else batch[name].tolist() for name in names]
        for at, *cells in zip(batch["place"].tolist(), *columns, strict=True):
            yield at, dict(zip(names, cells, strict=True))
