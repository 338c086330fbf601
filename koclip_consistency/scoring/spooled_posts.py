"""The answers of `posts.PostAnswers` in bounded memory: rows and answers wait on disk."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.data.files import find_images
from consistency.data.inputs import Inputs
from consistency.data.memo import DigestMemo
from consistency.data.scattered import Scattered
from consistency.data.spool import Spool, Type, whole_groups
from consistency.options import Source
from koclip_consistency.scoring.batches import BATCH, TableBatch
from koclip_consistency.scoring.posts import answers_to, cells_of, post_inputs
from koclip_consistency.scoring.scored import WHY_NOT, answer_columns
from koclip_consistency.scoring.scorer import Scorer

ASKED: dict[str, Type] = {"place": "BIGINT", "row": "BIGINT", "image": "BLOB", "hashtag": "BLOB", "post": "BLOB"}
NUMBERED = "CREATE TABLE {0}s AS SELECT min(place) AS number, {0} AS cell FROM asked GROUP BY {0}"
# Numbers in place of texts, since sorting texts takes memory that grows with the rows; `first` is the post.
OF_POSTS = """
CREATE TABLE ordered AS
SELECT place, row, i.number AS image, h.number AS hashtag, p.number AS first
FROM asked JOIN images i ON image = i.cell JOIN hashtags h ON hashtag = h.cell JOIN posts p ON post = p.cell
ORDER BY first, place
"""


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
        spool.seal("asked")
        for kind in ("image", "hashtag", "post"):
            spool.run(NUMBERED.format(kind))
        spool.run(OF_POSTS)
        spool.drop("asked")
        for _, inputs in self._by_post():
            scorer.encode_table(inputs, source)  # all of it, before any cosine is compared with the cache's
        names = [name for name in answer_columns(None, 0) if name != WHY_NOT]
        self._answers = Scattered(spool.folder / "answers", [*names, WHY_NOT], self.n)
        self._reasons: dict[str, int] = {}  # the distinct ones, by number
        for at, inputs in self._by_post():
            self._put(at, scorer, inputs)
        self._parts, self._part = self._answers.parts(), (0, dict[str, npt.NDArray[np.float64]]())

    def rows(self, start: int, stop: int) -> dict[str, list[Any]]:
        """The columns of `answer_columns` for the next rows; `start` is where the last call stopped."""
        columns: dict[str, list[Any]] = {name: [] for name in answer_columns(None, 0)}
        reasons = [*self._reasons]
        while start < stop:
            first, part = self._part
            if not part or start >= first + len(part[WHY_NOT]):
                self._part = next(self._parts)
                continue
            some = slice(start - first, stop - first)
            for name, cells in columns.items():
                if name == WHY_NOT:
                    cells += [None if code != code else reasons[int(code)] for code in part[name][some].tolist()]
                else:
                    cells += cells_of(name, part[name][some])
            start = min(stop, first + len(part[WHY_NOT]))
        return columns

    def _add(self, batch: TableBatch) -> None:
        table = batch.inputs.table
        asked = {"row": table.rows, "image": table.images, "hashtag": table.hashtags, "post": batch.inputs.posts}
        self._spool.append("asked", {"place": self.n + batch.at, **asked})
        self.n += len(batch.rows)

    def _by_post(self) -> Iterator[tuple[npt.NDArray[np.int64], Inputs]]:
        """Whole posts, about BATCH rows at once: the places of the rows in the table, and the rows."""
        for rows in whole_groups(self._spool.batches("SELECT * FROM ordered"), BATCH, "first"):
            images, hashtags = (self._spool.texts(f"{name}s", rows[name]) for name in ("image", "hashtag"))
            files = find_images(images, self._source.images, self._memo)
            yield rows["place"], post_inputs(self._source, rows["row"], images, hashtags, rows["first"], files)

    def _put(self, at: npt.NDArray[np.int64], scorer: Scorer, inputs: Inputs) -> None:
        numbers, reasons = answers_to(scorer, inputs, self._source)
        why = np.full(len(at), np.nan)
        for place, reason in reasons.items():
            why[place] = self._reasons.setdefault(reason, len(self._reasons))
        self._answers.put(at, {**numbers, WHY_NOT: why})
