"""What the pages Annotate and Agreement ask for: a queue of pairs, answers that are kept, and what they agree on."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from consistency.data.annotations import (
    QUEUES,
    Annotation,
    Panel,
    annotation_of,
    fits,
    make_panel,
    not_undone,
    standing,
)
from consistency.data.answer_files import AnswersFile, check_name, list_annotators, read_all
from consistency.data.files import ImageFile
from consistency.data.inputs import open_source
from consistency.data.ratings import CHOSEN_BY, Ratings, read_columns
from consistency.errors import InputError, StorageError
from consistency.options import QueueChoice
from koclip_consistency.service.study import Study
from koclip_consistency.workflows.agreement import agree
from koclip_consistency.workflows.annotate import digests_of, rater_names
from koclip_consistency.workflows.queue import Queue, choose_queue

AT_ONCE = 1000  # answers in a request
LISTED = 500  # disagreements


class Line(BaseModel):
    """An answer, or the undoing of one, as the page sends it."""

    id: str
    time: str
    row: int
    hashtag: str
    score: int | None = None
    undo_of: str = ""
    note: str = ""
    queue: str
    blind: bool = True


class Lines(BaseModel):
    """What the page sends at once."""

    annotator: str
    lines: list[Line] = Field(max_length=AT_ONCE)


class Annotations:
    """The answers to the pairs of a collection.

    Parameters
    ----------
    study : Study
        The collection and the runs.
    folder : Path
        Folder of the answers. It need not exist.
    rows : Path, optional
        Table that lists rows to annotate.
    """

    def __init__(self, study: Study, folder: Path, rows: Path | None = None) -> None:
        self.study, self.folder, self.rows = study, folder, rows
        self._open: dict[str, AnswersFile] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let other programs write the answers."""
        with self._lock:
            for file in self._open.values():
                file.close()
            self._open.clear()

    def about(self) -> dict[str, Any]:
        """Who annotates, and what can be annotated or compared, as JSON."""
        return {
            "annotators": list(list_annotators(self.folder)),
            "folder": str(self.folder),
            "list": None if self.rows is None else str(self.rows),
            "table": self.study.collection.table.digest,
        }

    def queue(self, name: str, kind: str, audit: str, seed: int, limit: int | None) -> dict[str, Any]:
        """The pairs to annotate, and what the annotator has answered so far, as JSON.

        Raises
        ------
        InputError
            If the name or the queue cannot be used, or another program writes the annotator's file.
        StorageError
            If the file cannot be written.
        """
        c = self.study.collection
        places = self._queue(kind, audit, seed, limit).places
        with self._lock:
            file = self._file(name)
        place = {int(c.table.rows[at]): at for at in places.tolist()}
        digests = digests_of(self._files)
        lines = [
            line
            for line in not_undone(file.lines)
            if line.row in place and fits(line, c.table, place[line.row], digests)
        ]
        return {
            "annotator": file.annotator,
            "table": c.table.digest,
            "file": str(file.path),
            "torn": None if file.torn is None else str(file.torn),
            "items": [
                {"row": int(c.table.rows[at]), "image": int(c.image[at]), "hashtag": str(c.table.hashtags[at])}
                for at in places.tolist()
            ],
            "lines": [{"id": line.id, "row": line.row, "score": line.score, "note": line.note} for line in lines],
        }

    def save(self, told: Lines) -> dict[str, Any]:
        """Keep answers; they are on the disk when this returns the ids of all of them.

        Raises
        ------
        InputError
            If an answer is about no pair of the table, or no answer at all.
        StorageError
            If the disk is full or failing: none of the answers is kept.
        """
        name = check_name(told.annotator)
        lines = [self._annotation(name, line) for line in told.lines]
        with self._lock:
            file = self._file(name)
            try:
                file.append(lines)
            except StorageError:
                with suppress(StorageError):  # whoever opens it next looks at what is really there
                    self._open.pop(name).close()
                raise
        return {"saved": [line.id for line in lines]}

    def others(self, name: str, row: int, run: str, system: str, unanswered: bool) -> dict[str, Any]:
        """Label, prediction, doubt and the answers of others, as JSON.

        Raises
        ------
        InputError
            If the annotator has not answered the row yet, unless `unanswered` pairs may be shown, too.
        """
        c = self.study.collection
        at = self._place(row)
        found = {who: standing(lines).get(row) for who, lines in read_all(self.folder).items()}
        if found.get(name) is None and not unanswered:
            raise InputError("label, prediction and the answers of others are shown once the pair is answered")
        (told,) = c.described(np.array([at]), self.study.opinions(run, system))
        fitting = {
            who: answer
            for who, answer in found.items()
            if who != name and answer is not None and fits(answer, c.table, at, {})
        }
        return {**told, "others": [{"annotator": who, "score": a.score, "note": a.note} for who, a in fitting.items()]}

    def raters(self) -> dict[str, Any]:
        """Whose scores can be compared, as JSON; `chosen` are those that are compared at first."""
        panel, c = self._panel(), self.study.collection
        source, label = c.source, self._label
        labels = source.score_columns if label is not None or len(source.score_columns) > 1 else ()
        names = list(rater_names(panel, self._columns))
        answered = [name for name, column in zip(names, panel.scores.T, strict=True) if column.any()]
        known = (source.image_column, source.hashtag_column, label, CHOSEN_BY)
        more = [] if c.table.file_rows is not None else [name for name in self._columns if name not in known]
        return {"chosen": [*labels, *answered], "raters": [*filter(None, [label]), *names], "columns": more}

    def agreement(self, raters: Sequence[str], run: str) -> dict[str, Any]:
        """What `agreement` says about these raters, as JSON; images have their numbers."""
        c = self.study.collection
        folder = self.study.shelf.run(run).run if run else None
        ratings = self._ratings(list(dict.fromkeys(raters)))
        agreed = agree(ratings, None if folder is None else folder.path)
        told, number = agreed.as_dict(), {name: at for at, name in enumerate(c.names)}
        shown = [{**each, "id": number[each["image"]]} for each in told["disagreements"][:LISTED]]
        return {**told, "disagreements": shown, "disagreeing": len(agreed.disagreements)}

    def state(self) -> tuple[Any, ...]:
        """Changes whenever an answer does."""
        return tuple((name, path.stat().st_mtime_ns, path.stat().st_size) for name, path in self._listed().items())

    def _listed(self) -> dict[str, Path]:
        return list_annotators(self.folder)

    @cached_property
    def _label(self) -> str | None:
        """The column of labels; None if there are several, or no labels."""
        c = self.study.collection
        several = len(c.source.score_columns) > 1
        return c.source.score_columns[0] if (c.table.scores > 0).any() and not several else None

    @cached_property
    def _columns(self) -> tuple[str, ...]:
        return open_source(self.study.collection.source).columns

    @cached_property
    def _files(self) -> dict[str, ImageFile]:
        return {file.name: file for file in self.study.collection.files().values()}

    def _panel(self) -> Panel:
        return make_panel(self.study.collection.table, read_all(self.folder), digests_of(self._files))

    def _ratings(self, raters: Sequence[str]) -> Ratings:
        if len(raters) < 2:
            raise InputError(f"{len(raters)} raters are chosen, expected at least two")
        c, panel = self.study.collection, self._panel()
        table, names = c.table, rater_names(panel, self._columns)
        columns = dict(zip(names, panel.scores.T, strict=True))
        if self._label is not None:
            columns[self._label] = table.scores
        chosen = panel.chosen
        if more := [name for name in raters if name not in columns]:
            read = read_columns(c.source, more)
            columns |= dict(zip(more, read.scores[table.rows - 1].T, strict=True))
            chosen = np.where(chosen == "", read.chosen[table.rows - 1], chosen)
        scores = np.stack([columns[name] for name in raters], axis=1)
        return Ratings(tuple(raters), table.rows, table.images, table.hashtags, scores, table.path, chosen)

    def _queue(self, kind: str, audit: str, seed: int, limit: int | None) -> Queue:
        if kind not in QUEUES:
            raise InputError(f"the queue is {kind!r}, expected one of {', '.join(QUEUES)}")
        if kind == "list" and self.rows is None:
            raise InputError("there is no list of rows: start the app with --rows FILE")
        rows = self.rows if kind == "list" else None
        folder = None
        if kind == "doubtful":
            found = self.study.shelf.run(audit or self.study.newest_audit()).run
            folder = None if found is None else found.path
        choice = QueueChoice(rows=rows, audit=folder, limit=limit, seed=seed)
        return choose_queue(choice, self.study.collection.table, self._files)

    def _file(self, name: str) -> AnswersFile:
        """The annotator's file, opened once and then kept open; the lock is held."""
        name = check_name(name)
        if name not in self._open:
            self._open[name] = AnswersFile(self.folder, name)
        return self._open[name]

    def _place(self, row: int) -> int:
        found = np.flatnonzero(self.study.collection.table.rows == row)
        if not len(found):
            raise InputError(f"there is no row {row} in {self.study.collection.table.path}")
        return int(found[0])

    def _annotation(self, name: str, line: Line) -> Annotation:
        c, at = self.study.collection, self._place(line.row)
        table, image = c.table, int(c.image[at])
        file = c.files([image])[image]  # not all of them: a page may go on before the queue is asked for again
        if table.hashtags[at] != line.hashtag:
            raise InputError(f"row {line.row} is another pair in {table.path} by now: load the page again")
        if file.digest is None:
            raise InputError(f"the image of row {line.row} is not there: {file.problem}")
        cells = {
            "annotator": name,
            "time": line.time,
            "id": line.id,
            "row": str(line.row),
            "image_sha256": file.digest.hex(),
            "hashtag": line.hashtag,
            "score": "" if line.score is None else str(line.score),
            "undo_of": line.undo_of,
            "note": line.note,
            "queue": line.queue,
            "blind": "yes" if line.blind else "no",
        }
        return annotation_of(cells)
