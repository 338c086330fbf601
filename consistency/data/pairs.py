"""The pair table: a CSV of images, hashtags and scores. Every row that cannot be used is listed with the reason."""

import csv
import hashlib
import io
import re
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from consistency.data.hashtags import hashtag_fault
from consistency.data.scores import describe_scale, score_fault, score_of
from consistency.errors import DataError, os_reason
from consistency.text import to_csv

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Skipped:
    """A row, or an image with all its rows, that is left out; a line of `skipped.csv`.

    Attributes
    ----------
    row : int or None
        Data row of the CSV, numbered from 1; None for an image.
    image, hashtag : str
        Text as in the CSV.
    reason : str
        Why it is left out.
    """

    row: int | None
    image: str
    hashtag: str
    reason: str


@dataclass(frozen=True, eq=False)
class PairTable:
    """The n usable rows of a pair table.

    Attributes
    ----------
    rows : (n,) int64
        Data row of the CSV, numbered from 1.
    images, hashtags : (n,) object
        Text exactly as in the CSV.
    scores : (n,) int64
        1 to 5; 0 for rows without a score.
    path : Path
        The CSV.
    digest : str
        SHA-256 of the CSV in hexadecimal.
    skipped : tuple of Skipped
        Rows that cannot be used, in order.
    unscored : mapping of str to int
        Number of those rows per label that is not a score.
    mapped : bool
        Whether the labels were mapped to scores.
    """

    rows: npt.NDArray[np.int64]
    images: npt.NDArray[np.object_]
    hashtags: npt.NDArray[np.object_]
    scores: npt.NDArray[np.int64]
    path: Path
    digest: str
    skipped: tuple[Skipped, ...]
    unscored: Mapping[str, int] = field(default_factory=dict)
    mapped: bool = False

    def __post_init__(self) -> None:
        shapes = {column.shape for column in (self.rows, self.images, self.hashtags, self.scores)}
        if shapes != {(len(self.rows),)}:
            raise ValueError(f"columns of shapes {shapes} do not make a table")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def score_counts(self) -> list[int]:
        """Number of rows with each of the scores 1 to 5."""
        return np.bincount(self.scores, minlength=6)[1:].tolist()

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(n,) int64 classes 0 to 4; -1 for rows without a score."""
        return self.scores - 1

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "PairTable":
        """Select rows by index or boolean mask."""
        return replace(
            self, rows=self.rows[rows], images=self.images[rows], hashtags=self.hashtags[rows], scores=self.scores[rows]
        )


def read_pairs(
    path: Path | str,
    *,
    image_column: str = "Image Filename",
    hashtag_column: str = "Hashtag",
    score_column: str = "Score",
    encoding: str = "utf-8-sig",
    require_scores: bool = True,
    score_map: Mapping[str, int] | None = None,
) -> PairTable:
    """Read a pair table; other columns and empty lines are ignored.

    Parameters
    ----------
    path : Path or str
        The CSV.
    image_column, hashtag_column, score_column : str
        Names of the columns.
    encoding : str
        Text encoding.
    require_scores : bool
        Whether rows without a score are skipped; otherwise their score is 0, and the column may be missing.
    score_map : mapping of str to int, optional
        Score of each label, for tables on another scale; rows with other labels are skipped.

    Returns
    -------
    PairTable
        The usable rows; `skipped` lists the others.

    Raises
    ------
    DataError
        If the file is not a table with these columns, or has no usable row.
    """
    path = Path(path)
    data = _read_bytes(path)
    text = _decode(path, data, encoding)
    _check_separator(path, text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[int] = []
    images: list[str] = []
    hashtags: list[str] = []
    scores: list[int] = []
    skipped: list[Skipped] = []
    unscored: Counter[str] = Counter()
    image_fault, score = cache(_image_fault), cache(lambda text: score_of(text, score_map))  # cells repeat
    line = 0  # line on which the last row ended
    try:
        header = next(filter(None, reader), [])
        image_at, hashtag_at = (_place(path, header, column) for column in (image_column, hashtag_column))
        scored = require_scores or score_column in header
        score_at = _place(path, header, score_column) if scored else None
        line = reader.line_num
        for row, cells in enumerate(filter(None, reader), 1):
            if reader.line_num > line + 1 and _swallows_rows(cells, len(header), score_at, score_map):
                raise csv.Error("a quote is not closed before the next row")
            line = reader.line_num
            if len(cells) != len(header):
                image, hashtag = ("".join(cells[at : at + 1]) for at in (image_at, hashtag_at))
                skipped.append(Skipped(row, image, hashtag, f"{len(cells)} cells, the header has {len(header)}"))
                continue
            image, hashtag = cells[image_at], cells[hashtag_at]
            given = cells[score_at] if score_at is not None else ""
            reason = image_fault(image) or hashtag_fault(hashtag)
            if not score(given) and (require_scores or given.strip()):
                unscored[given] += 1
                reason = reason or score_fault(given, score_map)
            if reason:
                skipped.append(Skipped(row, image, hashtag, reason))
                continue
            rows.append(row)
            images.append(image)
            hashtags.append(hashtag)
            scores.append(score(given))
    except csv.Error as error:
        raise DataError(
            f"{path}, from line {line + 1}: {error}; expected comma-separated cells: "
            'close the quote, or write a quote inside a quoted cell as ""'
        ) from error
    if not rows:
        found = f"row {skipped[0].row}: {skipped[0].reason}" if skipped else "there is only a header"
        every_label = score_map is None and unscored.total() == len(skipped)
        if every_label and (scale := describe_scale(unscored, [0] * 5)):
            raise DataError(f"{path} has no usable row: {scale}")
        raise DataError(f"{path} has no usable row ({found}): correct it, or name another file with --data")
    return PairTable(
        rows=np.array(rows, dtype=np.int64),
        images=np.array(images, dtype=object),
        hashtags=np.array(hashtags, dtype=object),
        scores=np.array(scores, dtype=np.int64),
        path=path,
        digest=hashlib.sha256(data).hexdigest(),
        skipped=tuple(skipped),
        unscored=unscored,
        mapped=score_map is not None,
    )


def _read_bytes(path: Path) -> bytes:
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():  # reading a FIFO would wait forever
            raise DataError(f"{path} is not a regular file, expected a CSV file: name the file with --data")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"there is no file {path}: name the pair table with --data, or draw one with `data demo`"
        ) from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder, expected a CSV file: name the file with --data") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {os_reason(error)}") from error
    if not data.strip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n"):
        raise DataError(f"{path} is empty, expected a CSV with a header and rows")
    return data


def _decode(path: Path, data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except LookupError as error:
        raise DataError(f"there is no encoding {encoding!r}: use for example utf-8-sig, cp949 or utf-16") from error
    except UnicodeError as error:
        # error.object, not `data`: positions count from after the byte-order mark.
        line = error.object.count(b"\n", 0, error.start) + 1 if isinstance(error, UnicodeDecodeError) else 1
        other = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "cp949"
        raise DataError(
            f"{path}, line {line}: not {encoding}; save the file as UTF-8, or name its encoding: --encoding {other}"
        ) from error
    if "\0" in text[:2]:
        other = "utf-16-be" if text.startswith("\0") else "utf-16-le"
        raise DataError(f"{path} is not {encoding} but looks like UTF-16: --encoding {other}")
    return text


def _check_separator(path: Path, text: str) -> None:
    line = _LINE_BREAK.split(text.lstrip()[:2000], maxsplit=1)[0]
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in line and "," not in line:
            found = ", ".join(map(reprlib.repr, line.split(separator)[:20]))
            raise DataError(f"{path} is separated by {name}, expected commas (found {found})")


def _place(path: Path, header: list[str], column: str) -> int:
    """Index of the only column with that name."""
    if header.count(column) == 1:
        return header.index(column)
    found = ", ".join(map(reprlib.repr, header[:20])) + (f" and {len(header) - 20} more" if len(header) > 20 else "")
    if column in header:
        raise DataError(f"{path} has {header.count(column)} columns {column!r}, expected one (found {found})")
    raise DataError(
        f"{path} has no column {column!r} (found {found}): "
        "name the columns with --image-column, --hashtag-column and --score-column"
    )


def _swallows_rows(cells: list[str], width: int, score_at: int | None, score_map: Mapping[str, int] | None) -> bool:
    """Whether a quoted cell contains line breaks that look like ends of rows, because a quote was left open.

    Such a file is valid CSV if a later row has another stray quote, but all rows between the two would be lost.
    """

    def is_row(cells: list[str]) -> bool:
        return len(cells) == width and (score_at is None or score_of(cells[score_at], score_map) > 0)

    for at, cell in enumerate(cells):
        lines = _LINE_BREAK.split(cell)
        if len(lines) > 1:
            before, after = cells[:at] + lines[0].split(","), lines[-1].split(",") + cells[at + 1 :]
            if width > 1 and is_row(before) and is_row(after):
                return True
    return False


def _image_fault(name: str) -> str | None:
    """Why `name` cannot name a file in the image folder; None if it can."""
    if not name.strip():
        return "the image has no name"
    if "\0" in name:
        return "the image's name has a NUL character"
    if _URL.match(name):
        return "the image is a URL, expected a file name: download it first"
    parts = re.split(r"[/\\]", name)
    if ".." in parts or not parts[0] or re.match(r"[A-Za-z]:", name):
        return "the image's name leads out of the image folder"
    return None


SKIPPED_COLUMNS = ("row", "image", "hashtag", "reason")


def skipped_csv(skipped: Sequence[Skipped]) -> bytes:
    """The content of `skipped.csv`: one line per skipped row or image."""
    return to_csv(SKIPPED_COLUMNS, (("" if s.row is None else s.row, s.image, s.hashtag, s.reason) for s in skipped))
