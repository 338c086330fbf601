"""`annotate`: answers of annotators taken over, put beside the table, and counted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from consistency.data.annotations import CANNOT_SAY, COLUMNS, Annotation, Panel, annotation_of, make_panel, standing
from consistency.data.answer_files import AnswersFile, check_name, read_all
from consistency.data.cells import plain
from consistency.data.files import ImageFile, find_images
from consistency.data.formats import Cell
from consistency.data.inputs import open_source, read_table, refuse_overwriting
from consistency.data.pairs import PairTable
from consistency.data.ratings import CHOSEN_BY
from consistency.data.table_writer import Type, check_table_output, table_writer
from consistency.data.tables import open_table
from consistency.errors import DataError, InputError
from consistency.options import AnnotateExportOptions, AnnotateImportOptions, AnnotateStatusOptions, Source
from koclip_consistency.workflows.queue import choose_queue

PAUSE = 300  # seconds between two answers from which on the annotator was away


@dataclass(frozen=True)
class Imported:
    """What was taken over from a file: lines that were new, and lines that were there."""

    file: Path
    annotator: str
    new: int
    known: int

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "file": str(self.file)}


@dataclass(frozen=True)
class Exported:
    """A table with a column for each annotator.

    Attributes
    ----------
    path : Path
        The file.
    columns : tuple of str
        The columns of the annotators in it.
    rows, rated : int
        Number of rows, and of those with a score.
    by_doubt : int
        Rows that are rated because their label was doubtful.
    foreign : int
        Answers that belong to no row of the table, which are left out.
    """

    path: Path
    columns: tuple[str, ...]
    rows: int
    rated: int
    by_doubt: int
    foreign: int

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class Progress:
    """How far an annotator is.

    Attributes
    ----------
    annotator : str
        The name.
    done : int
        Answered pairs of the queue.
    left : int
        The others.
    cannot_say : int
        Answers of `done` that are no score.
    elsewhere : int
        Answers about other pairs of the table.
    foreign : int
        Answers that belong to no pair of the table.
    undone : int
        Answers that were undone.
    per_hour : float or None
        Answers per hour of work; pauses of PAUSE seconds or longer do not count.
    last : str or None
        Time of the last answer.
    """

    annotator: str
    done: int
    left: int
    cannot_say: int
    elsewhere: int
    foreign: int
    undone: int
    per_hour: float | None
    last: str | None


def read_panel(source: Source, answers: Path, table: PairTable) -> Panel:
    """The answers of a folder beside the rows of a table; images are compared where they are found."""
    given = read_all(answers)
    if not given:
        raise InputError(f"there are no answers in {answers}: annotate in `app`, or name their folder with --answers")
    shown = {table.images[at] for at in _answered(table, given)}
    return make_panel(table, given, digests_of(find_images(sorted(shown), source.images)))


def digests_of(files: Mapping[str, ImageFile]) -> dict[str, str]:
    """SHA-256 in hexadecimal by name of the images that were found."""
    return {name: file.digest.hex() for name, file in files.items() if file.digest}


def import_answers(options: AnnotateImportOptions) -> list[Imported]:
    """Take over the answers that pages have saved; a second time changes nothing.

    Raises
    ------
    InputError
        If a file is no answers file, or one of its lines is about no pair of the table. Nothing is taken over then.
    """
    table = read_table(options.source, require_scores=False)
    read = {path: _read_saved(path) for path in options.files}
    every = [line for lines in read.values() for line in lines]
    digests = digests_of(find_images({table.images[at] for at in _answered(table, {"": every})}, options.source.images))
    for path, lines in read.items():
        _check_lines(path, lines, table, digests)
    found = []
    for path, lines in read.items():
        with AnswersFile(options.answering.answers, lines[0].annotator) as file:
            new = file.append(lines)
        found.append(Imported(path, file.annotator, len(new), len(lines) - len(new)))
    return found


def export_answers(options: AnnotateExportOptions) -> Exported:
    """Write the table with a column for each annotator, and how each rated row was chosen in CHOSEN_BY.

    Raises
    ------
    InputError
        If there are no answers.
    """
    source, out = options.source, options.file
    refuse_overwriting(source, out)
    check_table_output(out)
    table = read_table(source, require_scores=False)
    panel = read_panel(source, options.answering.answers, table)
    header, rows = table_cells(source, table)
    names = rater_names(panel, header)
    place = {int(row): at for at, row in enumerate(table.rows.tolist())}
    places = [place.get(row, -1) for row, _ in rows]
    columns: list[tuple[str, Type]] = [(name, "text") for name in header]
    columns += [*((name, "integer") for name in names), (CHOSEN_BY, "text")]
    added: list[list[Any]] = [
        [None if at < 0 or not column[at] else int(column[at]) for at in places] for column in panel.scores.T
    ]
    chosen = [None if at < 0 else panel.chosen[at] or None for at in places]
    with table_writer(out, columns) as write:
        write([*([cells[i] for _, cells in rows] for i in range(len(header))), *added, chosen])
    rated = (panel.scores > 0).any(axis=1)
    by_doubt = int((panel.chosen == "doubtful").sum())
    return Exported(out, names, len(rows), int(rated.sum()), by_doubt, panel.foreign)


def rater_names(panel: Panel, columns: Sequence[str]) -> tuple[str, ...]:
    """What the annotators are called beside the columns of a table."""
    taken = {*columns, CHOSEN_BY}
    return tuple(f"{name} (annotator)" if name in taken else name for name in panel.annotators)


def annotation_status(options: AnnotateStatusOptions) -> list[Progress]:
    """How far every annotator is with a queue."""
    source = options.source
    table = read_table(source, require_scores=False)
    files = find_images(table.images, source.images)
    queue = choose_queue(options.queue, table, files)
    every = read_all(options.answering.answers)
    panel = make_panel(table, every, digests_of(files))
    asked = set(queue.places.tolist())
    found = []
    for name, mine in zip(panel.annotators, panel.given, strict=True):
        lines = every[name]
        done = asked & mine.keys()
        count = len(standing(lines))
        found.append(
            Progress(
                annotator=name,
                done=len(done),
                left=len(asked) - len(done),
                cannot_say=sum(mine[at].score == CANNOT_SAY for at in done),
                elsewhere=len(mine) - len(done),
                foreign=count - len(mine),
                undone=len({line.undo_of for line in lines if line.undo_of}),
                per_hour=rate([line.time for line in lines if line.score is not None]),
                last=max((line.time for line in lines), default=None),
            )
        )
    return found


def rate(times: Sequence[str]) -> float | None:
    """Answers per hour of work from their times; None if there are no two in a row without a long pause."""
    seconds = np.diff(sorted(datetime.fromisoformat(time).timestamp() for time in times))
    working = seconds[seconds < PAUSE]
    return float(3600 * len(working) / working.sum()) if len(working) and working.sum() > 0 else None


def _answered(table: PairTable, given: Mapping[str, Sequence[Annotation]]) -> list[int]:
    """Indices of the rows that the lines are about."""
    rows = {line.row for lines in given.values() for line in lines}
    return [at for at, row in enumerate(table.rows.tolist()) if row in rows]


def table_cells(source: Source, table: PairTable) -> tuple[list[str], list[tuple[int, list[str | None]]]]:
    """Header and rows of the file with their numbers; of the pairs, if cells of several hashtags were split."""
    if table.file_rows is not None:
        header = [source.image_column, source.hashtag_column, *source.score_columns]
        pairs = zip(table.rows.tolist(), table.images, table.hashtags, table.scores.tolist(), strict=True)
        return header, [(row, [image, tag, str(score) if score else None]) for row, image, tag, score in pairs]
    opened = open_source(source)
    rows: list[tuple[int, list[str | None]]] = []
    for number, cells in enumerate(opened.rows(), start=1):
        filled: list[Cell] = [*cells, *[""] * len(opened.columns)][: len(opened.columns)]
        rows.append((number, [plain(cell) for cell in filled]))
    return list(opened.columns), rows


def _read_saved(path: Path) -> list[Annotation]:
    """The lines of a file that a page has saved, perhaps opened and saved by a spreadsheet since."""
    table = open_table(path, wanted=COLUMNS)
    if set(COLUMNS) - set(table.columns):
        lacking = next(name for name in COLUMNS if name not in table.columns)
        raise DataError(f"{path} holds no answers: it has no column {lacking}; save the answers of the page again")
    places = {name: table.columns.index(name) for name in COLUMNS}
    found: list[Annotation] = []
    known: dict[str, int] = {}
    for number, cells in enumerate(table.rows(COLUMNS), start=2):
        try:
            if len(cells) != len(table.columns):
                raise DataError(f"{len(cells)} cells, the header has {len(table.columns)}")
            line = annotation_of({name: plain(cells[at]) for name, at in places.items()})
            check_name(line.annotator)
            if line.id in known:
                raise DataError(f"the id {line.id} is that of line {known[line.id]}, expected an id of its own")
            if found and line.annotator != found[0].annotator:
                raise DataError(f"the annotator is {line.annotator!r}, but above {found[0].annotator!r}")
        except InputError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        known[line.id] = number
        found.append(line)
    if not found:
        raise DataError(f"{path} holds no answer: save the answers of the page again")
    return found


def _check_lines(path: Path, lines: Sequence[Annotation], table: PairTable, digests: Mapping[str, str]) -> None:
    """Refuse lines about other pairs than those of the table."""
    place = {int(row): at for at, row in enumerate(table.rows.tolist())}
    for number, line in enumerate(lines, start=2):
        where = f"{path}, line {number}"
        at = place.get(line.row)
        if at is None:
            raise DataError(f"{where}: {table.path} has no row {line.row}: name the annotated table with --data")
        if table.hashtags[at] != line.hashtag:
            raise DataError(
                f"{where}: the hashtag of row {line.row} is {table.hashtags[at]!r} in {table.path}, but "
                f"{line.hashtag!r} was annotated: name the annotated table with --data"
            )
        digest = digests.get(table.images[at])
        if digest is None:
            raise DataError(f"{where}: the image {table.images[at]} is not found: name its folder with --images")
        if digest != line.image_sha256:
            raise DataError(
                f"{where}: the image {table.images[at]} has the SHA-256 {digest[:12]}..., but one with "
                f"{line.image_sha256[:12]}... was annotated: name the annotated images with --images"
            )
