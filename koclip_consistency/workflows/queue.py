"""Which pairs an annotator is asked about, in which order: at random, doubtful labels first, or a list of rows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consistency.data.cells import plain
from consistency.data.distinct import number_distinct
from consistency.data.files import ImageFile, image_identity
from consistency.data.hashtags import hashtag_identity, identities
from consistency.data.pairs import PairTable
from consistency.data.tables import open_table
from consistency.errors import InputError
from consistency.evaluation.results import Audited
from consistency.options import QueueChoice
from consistency.runs.read import read_audit
from consistency.scale import Ints

ROW = "row"


@dataclass(frozen=True, eq=False)
class Queue:
    """Pairs to annotate.

    Attributes
    ----------
    kind : {"random", "doubtful", "list"}
        How they were chosen.
    places : (m,) int64
        Indices of the table's rows, in the order in which they are shown. Each pair is there once.
    """

    kind: str
    places: Ints


def choose_queue(choice: QueueChoice, table: PairTable, files: Mapping[str, ImageFile]) -> Queue:
    """The queue that the options ask for.

    Raises
    ------
    InputError
        If the list or the audit cannot be read, or is about another table.
    """
    if choice.rows is not None:
        return list_queue(table, files, choice.rows, limit=choice.limit)
    if choice.audit is not None:
        audited = read_audit(choice.audit)
        if audited is None:
            raise InputError(f"{choice.audit} holds no audit.csv: name a run of `audit`")
        return doubtful_queue(table, files, audited, limit=choice.limit)
    return random_queue(table, files, choice.seed, limit=choice.limit)


def random_queue(table: PairTable, files: Mapping[str, ImageFile], seed: int, *, limit: int | None = None) -> Queue:
    """All pairs with an image, in a random order that is the same for the same table and seed."""
    pairs = np.flatnonzero(_pairs(table, files) == np.arange(len(table)))
    return Queue("random", np.random.default_rng(seed).permutation(pairs)[:limit])


def doubtful_queue(
    table: PairTable, files: Mapping[str, ImageFile], audited: Sequence[Audited], *, limit: int | None = None
) -> Queue:
    """The pairs whose label an audit doubts, the most doubtful first.

    Raises
    ------
    InputError
        If the audit is of another table.
    """
    place = {int(row): at for at, row in enumerate(table.rows.tolist())}
    found = []
    for line in sorted(audited, key=lambda line: line.rank):
        at = place.get(line.row)
        if at is None or not _same(table, at, line.image, line.hashtag):
            raise InputError(
                f"row {line.row} of the audit is {line.image} with {line.hashtag}, but not in {table.path}: name the "
                "table that was audited"
            )
        if line.doubt > 0:
            found.append(at)
    return Queue("doubtful", _once(found, _pairs(table, files))[:limit])


def list_queue(table: PairTable, files: Mapping[str, ImageFile], path: Path, *, limit: int | None = None) -> Queue:
    """The pairs of the rows that a table lists in its column `row`.

    Raises
    ------
    InputError
        If the list cannot be read, or names a row that the table does not have.
    """
    listed = open_table(path, wanted=(ROW,))
    if ROW not in listed.columns:
        raise InputError(f"{path} has no column {ROW!r}, expected one with numbers of rows of {table.path}")
    at_row = listed.columns.index(ROW)
    place = {int(row): at for at, row in enumerate(table.rows.tolist())}
    found = []
    for number, cells in enumerate(listed.rows((ROW,)), start=1):
        text = plain(cells[at_row]).strip() if at_row < len(cells) else ""
        row = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0
        if row not in place:
            raise InputError(
                f"{path}, row {number}: {text!r} is no row of {table.path} that can be used, expected numbers from 1"
            )
        found.append(place[row])
    return Queue("list", _once(found, _pairs(table, files))[:limit])


def _pairs(table: PairTable, files: Mapping[str, ImageFile]) -> Ints:
    """For each of the n rows the index of the first row of its pair, (n,) int64; -1 for rows without an image."""
    usable = np.array([files[name].path is not None for name in table.images], dtype=bool)
    firsts, number = number_distinct(zip(image_identity(table.images, files), identities(table.hashtags), strict=True))
    return np.where(usable, firsts[number], -1)


def _once(places: Sequence[int], first: Ints) -> Ints:
    """The pairs of some rows, each once, without those that have no image."""
    pairs = dict.fromkeys(first[list(places)].tolist()) if places else {}
    return np.array([pair for pair in pairs if pair >= 0], dtype=np.int64)


def _same(table: PairTable, at: int, image: str, hashtag: str) -> bool:
    return bool(table.images[at] == image) and hashtag_identity(table.hashtags[at]) == hashtag_identity(hashtag)
