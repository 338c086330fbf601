"""The split of a large table: repeats merged and whole images or hashtags drawn as `splits` does, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.data.large_table import LargeTable
from consistency.data.leakage import Leakage
from consistency.data.repeats import conflict_error, mean_score
from consistency.data.splits import Whole, choose_test_groups
from consistency.data.spool import BATCH, whole_groups
from consistency.errors import DataError
from consistency.options import OnConflict
from consistency.scale import CLASSES, SCORES

KEPT = ("row", "image", "hashtag", "shown", "tag", "score", "usable")
_SORTED = "SELECT *, shown * {0} + tag AS pair FROM pairs ORDER BY shown, tag, row"
# In the order of the images, as they are looked up in the cache.
_SIDES = """
CREATE TABLE sides AS
SELECT row, image, hashtag, shown, tag, score, cluster, k.{0} IN (SELECT member FROM tested) AS tested
FROM kept k JOIN clusters c ON k.{0} = c.member WHERE usable ORDER BY shown, row
"""
_LEAKAGE = """
SELECT count(*), count(*) FILTER (shown IN (SELECT shown FROM sides WHERE NOT tested)),
    count(*) FILTER (tag IN (SELECT tag FROM sides WHERE NOT tested))
FROM sides WHERE tested
"""


@dataclass(frozen=True, eq=False)
class LargeSplit:
    """Train and test rows of a large table, without repeats; its spool has this table.

    | table | columns |
    | --- | --- |
    | sides | row, image, hashtag, shown, tag, score, cluster, tested: rows with vectors, in the order of images |

    `score` follows the rule for conflicts, and `cluster` is what intervals draw as one: the first row of its image or
    hashtag.

    Attributes
    ----------
    table : LargeTable
        The table.
    whole : {"images", "hashtags"}
        What stays on one side.
    leakage : Leakage
        The test rows that overlap with the training rows.
    """

    table: LargeTable
    whole: Whole
    leakage: Leakage

    def parts(self) -> Iterator[dict[str, Any]]:
        """All rows in order, batch by batch: row, image and hashtag as in the table, and whether it is tested."""
        member, spool = _member(self.whole), self.table.spool
        query = f"SELECT row, image, hashtag, {member} IN (SELECT member FROM tested) AS tested FROM pairs ORDER BY row"
        for batch in spool.batches(query):
            texts = {name: spool.texts(f"{name}s", batch[name]) for name in ("image", "hashtag")}
            yield {**batch, **texts}


def draw_split(
    table: LargeTable, *, whole: Whole, seed: int, test_fraction: float, on_conflict: OnConflict
) -> LargeSplit:
    """Split a table after `LargeTable.code`, into the same train and test rows as `splits.make_split` does in memory.

    The number of rows of each score is held in memory for each image (or hashtag): about 100 bytes.

    Parameters
    ----------
    table : LargeTable
        The table; all rows need a score.
    whole : {"images", "hashtags"}
        What stays on one side: the protocol "grouped" or "hashtag".
    seed, test_fraction, on_conflict
        As for `splits.make_split`.

    Raises
    ------
    DataError
        If the table is too small, none of the rows of a side has vectors, or repeats have different scores and
        `on_conflict` is "abort".
    """
    spool, member = table.spool, _member(whole)
    _merge_repeats(table, on_conflict)
    counted = ", ".join(f"count(*) FILTER (score = {score}) AS s{score}" for score in SCORES)
    query = f"SELECT {member} AS member, {counted} FROM kept GROUP BY member ORDER BY min(row)"
    parts = [np.stack(list(batch.values()), axis=1) for batch in spool.batches(query)]
    groups = np.concatenate(parts) if parts else np.empty((0, CLASSES + 1), np.int64)
    chosen = choose_test_groups(groups[:, 1:], test_fraction, seed, "test rows")
    spool.create("tested", {"member": "BIGINT"})
    spool.append("tested", {"member": groups[chosen, 0]})
    spool.seal("tested")
    spool.run(f"CREATE TABLE clusters AS SELECT {member} AS member, min(row) AS cluster FROM pairs GROUP BY {member}")
    spool.run(_SIDES.format(member))
    for side, condition in (("train", "NOT tested"), ("test", "tested")):
        if not spool.one(f"SELECT count(*) FROM sides WHERE {condition}")[0]:
            tested = f"{member} IN (SELECT member FROM tested)"
            found = spool.one(f"SELECT count(*) FROM kept WHERE ({tested}) = {side == 'test'}")[0]
            raise DataError(f"none of the {found} {side} rows has an image that can be used")
    n, image, hashtag = spool.one(_LEAKAGE)
    return LargeSplit(table, whole, Leakage(n, image, 0, hashtag))  # repeats are merged: no pair is on both sides


def _member(whole: Whole) -> str:
    return "shown" if whole == "images" else "tag"


def _merge_repeats(table: LargeTable, on_conflict: OnConflict) -> None:
    """Write the table `kept`: the first row of each pair, with its score by the rule of `repeats.merge_repeats`."""
    spool, conflicts, first = table.spool, 0, None
    kinds = dict.fromkeys(KEPT, "BIGINT") | {"score": "TINYINT", "usable": "BOOLEAN"}
    spool.create("kept", kinds)  # type: ignore[arg-type]
    for rows in whole_groups(spool.batches(_SORTED.format(table.hashtags)), BATCH, "pair"):
        starts = np.flatnonzero(np.diff(rows["pair"], prepend=-1))
        scores = rows["score"].astype(np.int64)
        count = np.diff(starts, append=len(scores))
        differ = np.minimum.reduceat(scores, starts) < np.maximum.reduceat(scores, starts)
        conflicts += int(differ.sum())
        for at in np.flatnonzero(differ) if on_conflict == "abort" else ():
            if first is None or rows["row"][starts[at]] < first["row"][0]:
                same = slice(starts[at], starts[at] + count[at])
                first = {name: rows[name][same] for name in ("row", "image", "hashtag", "score")}
        kept = {name: np.array(rows[name])[starts] for name in KEPT}
        if on_conflict == "mean":
            kept["score"] = mean_score(np.add.reduceat(scores, starts), count)
        chosen = ~differ if on_conflict == "drop" else np.ones(len(starts), dtype=bool)
        spool.append("kept", {name: cells[chosen] for name, cells in kept.items()})
    spool.seal("kept")
    if first is not None:
        image, hashtag = (spool.texts(f"{name}s", first[name][:1])[0] for name in ("image", "hashtag"))
        raise conflict_error(table.table.path, first["row"], first["score"], image, hashtag, conflicts)


def grouped_values(
    parts: Iterator[dict[str, npt.NDArray[Any]]],
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]:
    """Count the scores of each distinct value.

    Parameters
    ----------
    parts : iterator of dict
        Rows with a `value` and a `score`, values ascending.

    Yields
    ------
    values : (m,) float64
        Distinct and ascending, over all parts.
    counts : (m, 5) int64
        Rows of each score.
    """
    held: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]] | None = None  # its last value may go on
    for part in parts:
        values, which = np.unique(part["value"], return_inverse=True)
        counts = np.zeros((len(values), CLASSES), np.int64)
        np.add.at(counts, (which, part["score"].astype(np.int64) - 1), 1)
        if held is not None:
            if held[0][-1] == values[0]:
                counts[0] += held[1][-1]
                held = held[0][:-1], held[1][:-1]
            if len(held[0]):
                yield held
        held = values, counts
    if held is not None:
        yield held
