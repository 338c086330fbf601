"""What annotators answer: one line for each score or undo, and the score that counts in the end."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consistency.data.pairs import PairTable
from consistency.errors import DataError
from consistency.text import csv_lines

COLUMNS = (
    "annotator",
    "time",
    "id",
    "row",
    "image_sha256",
    "hashtag",
    "score",
    "undo_of",
    "note",
    "queue",
    "blind",
)
CANNOT_SAY = 0  # an answer, but no score
QUEUES = ("random", "doubtful", "list")
LONGEST_NOTE = 1000  # characters
_ID = re.compile(r"[0-9A-Za-z-]{8,64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ROW = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class Annotation:
    """A line of an answers file.

    Attributes
    ----------
    annotator : str
        Who answered.
    time : str
        When, in UTC: 2026-11-27T04:52:41.123Z.
    id : str
        Identifies the line, so that it counts once however often it is sent.
    row : int
        Row of the pair table, as `PairTable.rows`.
    image_sha256, hashtag : str
        What was shown: the digest of the image file in hexadecimal, and the text as in the table.
    score : int or None
        1 to 5, CANNOT_SAY, or None for a line that undoes another.
    undo_of : str
        Id of the line that this one undoes; empty otherwise.
    note : str
        A remark on one line, perhaps empty.
    queue : {"random", "doubtful", "list"}
        How the row was chosen.
    blind : bool
        Whether the annotator had not seen the label, predictions and the answers of others.
    """

    annotator: str
    time: str
    id: str
    row: int
    image_sha256: str
    hashtag: str
    score: int | None
    undo_of: str = ""
    note: str = ""
    queue: str = "random"
    blind: bool = True

    def cells(self) -> tuple[str, ...]:
        """The cells of its line, in the order of COLUMNS."""
        score = "" if self.score is None else str(self.score)
        blind = "yes" if self.blind else "no"
        known = (self.annotator, self.time, self.id, str(self.row), self.image_sha256, self.hashtag)
        return *known, score, self.undo_of, self.note, self.queue, blind


def annotation_of(cells: Mapping[str, str]) -> Annotation:
    """Read a line from its cells by column.

    Raises
    ------
    DataError
        If a cell is none of the values that its column can have; the message names the column.
    """

    def cell(name: str, fits: bool, expected: str) -> str:
        if not fits:
            raise DataError(f"{name} is {cells[name][:40]!r}, expected {expected}")
        return cells[name]

    undo = cells["undo_of"]
    if undo:
        cell("undo_of", bool(_ID.fullmatch(undo)), "the id of a line")
        cell("score", cells["score"] == "", "nothing, because the line undoes another")
    else:
        cell("score", cells["score"] in ("0", "1", "2", "3", "4", "5"), "1 to 5, or 0 for `cannot say`")
    return Annotation(
        annotator=cells["annotator"],
        time=cell("time", bool(_TIME.fullmatch(cells["time"])), "a time such as 2026-11-27T04:52:41.123Z"),
        id=cell("id", bool(_ID.fullmatch(cells["id"])), "8 to 64 letters, digits and hyphens"),
        row=int(cell("row", bool(_ROW.fullmatch(cells["row"])), "the number of a row, from 1")),
        image_sha256=cell("image_sha256", bool(_DIGEST.fullmatch(cells["image_sha256"])), "64 hexadecimal digits"),
        hashtag=cells["hashtag"],
        score=int(cells["score"]) if cells["score"] else None,
        undo_of=undo,
        note=plain_note(cells["note"]),
        queue=cell("queue", cells["queue"] in QUEUES, f"one of {', '.join(QUEUES)}"),
        blind=cell("blind", cells["blind"] in ("yes", "no"), "yes or no") == "yes",
    )


def plain_note(text: str) -> str:
    """A note on one line, at most LONGEST_NOTE characters long."""
    return " ".join(text.split())[:LONGEST_NOTE]


def annotations_csv(annotations: Iterable[Annotation], *, header: bool = True) -> bytes:
    """Lines of an answers file."""
    lines = csv_lines(annotation.cells() for annotation in annotations)
    return csv_lines([COLUMNS]) + lines if header else lines


def not_undone(annotations: Iterable[Annotation]) -> list[Annotation]:
    """The answers that were not undone, in order; several of a row if it was changed."""
    lines = list(annotations)
    undone = {line.undo_of for line in lines if line.undo_of}
    return [line for line in lines if line.score is not None and line.id not in undone]


def standing(annotations: Iterable[Annotation]) -> dict[int, Annotation]:
    """The answer that counts for each row: its last one that was not undone."""
    return {line.row: line for line in not_undone(annotations)}


@dataclass(frozen=True, eq=False)
class Panel:
    """The answers of k annotators to the n rows of a table.

    Attributes
    ----------
    annotators : tuple of str
        Their names.
    scores : (n, k) int64
        1 to 5; 0 where there is none, or the annotator could not say.
    chosen : (n,) object
        How a row came to be annotated: "random" if any annotator met it in a random queue, otherwise as in QUEUES;
        empty for rows without a score.
    given : tuple of dict
        For each annotator the answer that counts, by index of the row; "cannot say" included.
    foreign : int
        Number of answers that count, but belong to no row of the table.
    """

    annotators: tuple[str, ...]
    scores: npt.NDArray[np.int64]
    chosen: npt.NDArray[np.object_]
    given: tuple[dict[int, Annotation], ...]
    foreign: int


def make_panel(
    table: PairTable, answers: Mapping[str, Iterable[Annotation]], digests: Mapping[str, str] | None = None
) -> Panel:
    """Put answers beside the rows of a table.

    Parameters
    ----------
    table : PairTable
        With n rows.
    answers : mapping of str to iterables of Annotation
        All lines by annotator.
    digests : mapping of str to str, optional
        SHA-256 in hexadecimal by image name; answers to another image of that name are foreign.
    """
    place = {int(row): at for at, row in enumerate(table.rows.tolist())}
    known = digests or {}
    scores = np.zeros((len(table), len(answers)), dtype=np.int64)
    chosen = np.full(len(table), "", dtype=object)
    given, foreign = [], 0
    for column, lines in enumerate(answers.values()):
        mine: dict[int, Annotation] = {}
        for row, answer in standing(lines).items():
            at = place.get(row)
            if at is None or not fits(answer, table, at, known):
                foreign += 1
                continue
            mine[at] = answer
            scores[at, column] = answer.score or 0
            if answer.score and chosen[at] != "random":
                chosen[at] = answer.queue
        given.append(mine)
    return Panel(tuple(answers), scores, chosen, tuple(given), foreign)


def fits(answer: Annotation, table: PairTable, at: int, digests: Mapping[str, str]) -> bool:
    """Whether an answer is about the pair at index `at`; its image is compared where its digest is known."""
    digest = digests.get(table.images[at], answer.image_sha256)
    return bool(table.hashtags[at] == answer.hashtag) and digest == answer.image_sha256
