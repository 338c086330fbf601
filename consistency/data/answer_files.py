"""Answers files: one CSV for each annotator, to which lines are only ever added, each durable before it is confirmed.

A process that is killed, or a loss of power, can leave a part of a last line. The next writer copies that part to a
file beside, and cuts it off. Only one process at a time can write a file.
"""

import csv
import io
import os
import re
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from consistency import durable
from consistency.data.annotations import COLUMNS, Annotation, annotation_of, annotations_csv
from consistency.durable import append_bytes, make_folder, sync_folder, try_lock, write_file
from consistency.errors import DataError, InputError, StorageError, os_errors_as

PREFIX, SUFFIX = "answers-", ".csv"
_NAME = re.compile(r"\w(?:[\w .-]{0,38}\w)?")


def check_name(name: str) -> str:
    """A name of an annotator as it is stored: in Unicode form NFC, without surrounding space.

    Raises
    ------
    InputError
        If it is not 1 to 40 letters and digits of any script, with spaces, dots, hyphens and underscores between them.
    """
    found = unicodedata.normalize("NFC", name).strip()
    if not _NAME.fullmatch(found):
        raise InputError(
            f"the annotator's name is {name[:60]!r}, expected 1 to 40 letters and digits, with spaces, dots or hyphens "
            "only between them"
        )
    return found


def answers_path(folder: Path, name: str) -> Path:
    """The file of an annotator.

    Raises
    ------
    InputError
        If the name cannot be used, or differs from that of another annotator in case alone.
    """
    name = check_name(name)
    alike = [other for other in list_annotators(folder) if other.casefold() == name.casefold() and other != name]
    if alike:
        raise InputError(f"there is an annotator {alike[0]!r} already: use that name, or one that differs in letters")
    return folder / f"{PREFIX}{name}{SUFFIX}"


def list_annotators(folder: Path) -> dict[str, Path]:
    """The answers files in a folder by annotator, sorted; empty if there is no such folder."""
    found = {}
    with os_errors_as(InputError, f"{folder} cannot be read"):
        for path in folder.glob(f"{PREFIX}*{SUFFIX}") if folder.is_dir() else ():
            name = unicodedata.normalize("NFC", path.name[len(PREFIX) : -len(SUFFIX)])
            if _NAME.fullmatch(name) and path.is_file() and not path.is_symlink():
                found[name] = path
    return dict(sorted(found.items()))


def read_answers(path: Path) -> list[Annotation]:
    """All whole lines of an answers file.

    Raises
    ------
    DataError
        If the file cannot be read, or a line of it is damaged.
    """
    with os_errors_as(DataError, f"{path} cannot be read"):
        data = path.read_bytes()
    return _parse(path, data[: _whole(data)])


def read_all(folder: Path) -> dict[str, list[Annotation]]:
    """The lines of all answers files in a folder, by annotator; raises DataError as `read_answers` does."""
    return {name: read_answers(path) for name, path in list_annotators(folder).items()}


class AnswersFile:
    """The file of an annotator, locked for writing. Threads may share it.

    Parameters
    ----------
    folder : Path
        Folder of the answers, created if it is not there.
    name : str
        The annotator.

    Attributes
    ----------
    path : Path
        The file.
    lines : list of Annotation
        Its lines.
    torn : Path or None
        Copy of the part of a line that was cut off when the file was opened; None if there was none.

    Raises
    ------
    InputError
        If the name cannot be used, or another process writes the file.
    DataError
        If the file is damaged before its last line.
    StorageError
        If it cannot be written.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.annotator, self.path = check_name(name), answers_path(folder, name)
        self.torn: Path | None = None
        self._lock = threading.Lock()
        make_folder(folder)
        with os_errors_as(StorageError, f"{self.path} cannot be opened for writing"):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = durable.system.open(self.path, flags, 0o666)
        try:
            with os_errors_as(StorageError, f"{self.path} cannot be locked"):
                if not try_lock(self._fd):
                    raise InputError(f"{self.path} is being written by another program, such as an app: end that first")
            self.lines = self._recover()
        except BaseException:
            self.close()
            raise

    def append(self, lines: Sequence[Annotation]) -> list[Annotation]:
        """Add the lines whose id is not there yet; they are on the disk when this returns.

        Returns
        -------
        list of Annotation
            The lines that were added.

        Raises
        ------
        DataError
            If a known id comes with another answer.
        StorageError
            If nothing was added, because the disk is full or failing.
        """
        with self._lock:
            known, new = {line.id: line for line in self.lines}, []
            for line in lines:
                earlier = known.get(line.id)
                if earlier is None:
                    known[line.id] = line
                    new.append(line)
                elif (earlier.row, earlier.score, earlier.undo_of) != (line.row, line.score, line.undo_of):
                    raise DataError(f"the id {line.id} has been used for another answer: it can be used once")
            if new:
                append_bytes(self._fd, self.path, annotations_csv(new, header=False))
                self.lines += new
            return new

    def close(self) -> None:
        """Let other processes write the file. Raises StorageError if the system reports an error."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1  # it is gone even if closing it fails
            with os_errors_as(StorageError, f"{self.path} cannot be closed"):
                durable.system.close(fd)

    def __enter__(self) -> "AnswersFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _recover(self) -> list[Annotation]:
        """The lines, after a part of a last line was cut off and a new file got its header."""
        with os_errors_as(StorageError, f"{self.path} cannot be recovered"):
            data = self.path.read_bytes()
            whole = _whole(data)
            if whole < len(data):
                self.torn = _free_name(self.path)
                write_file(self.torn, data[whole:])
                durable.system.truncate(self._fd, whole)
                durable.system.fsync(self._fd)
            if not whole:
                append_bytes(self._fd, self.path, annotations_csv([]))
                sync_folder(self.path.parent)
        return _parse(self.path, data[:whole])


def _whole(data: bytes) -> int:
    """Length of the part of a CSV file that ends with a whole line, which can hold line ends in quotes."""
    end = at = quotes = 0
    while (found := data.find(b"\n", at)) >= 0:
        quotes += data.count(b'"', at, found)
        at = found + 1
        if quotes % 2 == 0:
            end = at
    return end


def _parse(path: Path, data: bytes) -> list[Annotation]:
    try:
        rows: Iterable[list[str]] = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
        header, *lines = list(rows) or [list(COLUMNS)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is damaged ({error}): move it away, or restore it from a backup") from error
    if set(header) > set(COLUMNS):
        more = ", ".join(sorted({*header} - {*COLUMNS}))
        raise DataError(
            f"{path} has columns that this version does not know ({more:.80}): upgrade the program, or move the file "
            "away"
        )
    if tuple(header) != COLUMNS:
        raise DataError(f"{path} is no answers file: its columns are {', '.join(header)[:80]}")
    found = []
    for number, cells in enumerate(lines, start=2):
        try:
            if len(cells) != len(COLUMNS):
                raise DataError(f"{len(cells)} cells, expected {len(COLUMNS)}")
            found.append(annotation_of(dict(zip(COLUMNS, cells, strict=True))))
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}; correct it, or move the file away") from error
    return found


def _free_name(path: Path) -> Path:
    number = 1
    while (name := path.with_name(f"{path.name}.torn-{number}")).exists():
        number += 1
    return name
