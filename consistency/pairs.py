"""The pair table: a CSV of pictures, hashtags and scores, read strictly, with a reason for every row left out."""

import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from consistency.errors import DataError

OnConflict = Literal["abort", "mean", "first", "drop"]
_SCORE = re.compile(r"([1-5])(?:\.0*)?")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:")


@dataclass(frozen=True)
class Skipped:
    """A row, or a picture and with it its rows, that is left out, and why: a line of `skipped.csv`."""

    row: int | None
    image: str
    hashtag: str
    reason: str


@dataclass(frozen=True, eq=False)
class PairTable:
    """The n usable rows of a CSV.

    rows: (n,) int64, 1-based data row of the CSV. images, hashtags: (n,) object, str exactly as in the CSV.
    scores: (n,) int64, 1 to 5, or 0 where the table has none. digest: SHA-256 of the CSV in hex.
    """

    rows: npt.NDArray[np.int64]
    images: npt.NDArray[np.object_]
    hashtags: npt.NDArray[np.object_]
    scores: npt.NDArray[np.int64]
    path: Path
    digest: str
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(n,) int64, classes 0 to 4."""
        return self.scores - 1

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "PairTable":
        """The rows of an index or a mask."""
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
) -> PairTable:
    """Read a pair table. Rows that cannot be used are in `skipped`; other columns are ignored.

    Without `require_scores` the score column may be missing. Raises DataError where the file as a whole is not a
    table of these columns.
    """
    path = Path(path)
    data = _read_bytes(path)
    reader = csv.reader(io.StringIO(_decode(path, data, encoding), newline=""), strict=True)
    try:
        header = next(reader, [])
        columns = [image_column, hashtag_column]
        if require_scores or score_column in header:
            columns.append(score_column)
        places = _places(path, header, columns)
        rows: list[int] = []
        kept: list[tuple[str, str, int]] = []
        skipped: list[Skipped] = []
        number = 0
        for cells in reader:
            if not cells:  # an empty line is no row
                continue
            number += 1
            if len(cells) != len(header):
                reason = f"{len(cells)} cells, the header has {len(header)}"
                skipped.append(Skipped(number, _cell(cells, places[0]), _cell(cells, places[1]), reason))
                continue
            image, hashtag, *scores = (cells[place] for place in places)
            score, fault = _score(scores[0]) if scores else (0, None)
            if reason := _image_fault(image) or _hashtag_fault(hashtag) or fault:
                skipped.append(Skipped(number, image, hashtag, reason))
                continue
            rows.append(number)
            kept.append((image, hashtag, score))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}; expected a comma-separated file (is a quote left open?)"
        ) from error
    if not rows:
        detail = f"; row {skipped[0].row}: {skipped[0].reason}" if skipped else ", only a header"
        raise DataError(f"{path} has no usable row{detail}: add rows, or name another file with --data")
    return PairTable(
        rows=np.array(rows, dtype=np.int64),
        images=_objects([image for image, _, _ in kept]),
        hashtags=_objects([hashtag for _, hashtag, _ in kept]),
        scores=np.array([score for _, _, score in kept], dtype=np.int64),
        path=path,
        digest=hashlib.sha256(data).hexdigest(),
        skipped=tuple(skipped),
    )


def normalise_hashtag(hashtag: str) -> str:
    """What makes two hashtags the same: NFC, without surrounding space. Models get the raw text."""
    return unicodedata.normalize("NFC", hashtag).strip()


@dataclass(frozen=True, eq=False)
class Merged:
    """Repeats of a table with n rows.

    first: (n,) int64, index of the first row of the same pair (the row itself where it is the first). kept: (n,) bool,
    False for repeats and for pairs dropped over a conflict. scores: (n,) int64, after the rule for conflicts.
    """

    first: npt.NDArray[np.int64]
    kept: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.int64]


def merge_repeats(table: PairTable, identity: npt.NDArray[np.object_], on_conflict: OnConflict = "abort") -> Merged:
    """Merge rows of the same picture (equal `identity`, (n,) object) and hashtag into the first of them.

    on_conflict, where their scores differ: "abort" raises DataError, "mean" takes their mean rounded half up, "first"
    the first row's score, "drop" keeps none of them.
    """
    places: dict[tuple[object, str], int] = {}
    pairs = zip(identity, table.hashtags, strict=True)
    first = np.array(
        [places.setdefault((who, normalise_hashtag(tag)), i) for i, (who, tag) in enumerate(pairs)], np.int64
    )
    scores = table.scores.copy()
    kept = first == np.arange(len(first))
    for place in sorted({int(first[i]) for i in np.flatnonzero(scores != scores[first])}):
        same = np.flatnonzero(first == place)
        if on_conflict == "abort":
            raise DataError(
                f"{table.path}: rows {', '.join(map(str, table.rows[same]))} are the same picture and hashtag "
                f"({table.images[place]}, {table.hashtags[place]}) with scores "
                f"{', '.join(map(str, table.scores[same]))}: choose --on-conflict mean, first or drop"
            )
        if on_conflict == "mean":
            scores[same] = int(np.floor(table.scores[same].mean() + 0.5))
        elif on_conflict == "first":
            scores[same] = table.scores[place]
        else:
            kept[same] = False
    return Merged(first, kept, scores)


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise DataError(f"{path} is a folder, expected a CSV file: name the file with --data")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"there is no file {path}: name the pair table with --data, or draw one with `data demo`"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise DataError(f"{path} is empty, expected a CSV with a header")
    return data


def _decode(path: Path, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except LookupError as error:
        raise DataError(f"there is no encoding {encoding!r}: use for example utf-8-sig, cp949 or utf-16") from error
    except UnicodeError as error:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(f"{path} is UTF-16, not {encoding}: say --encoding utf-16") from error
        line = data[: error.start].count(b"\n") + 1 if isinstance(error, UnicodeDecodeError) else 1
        raise DataError(
            f"{path}, line {line}: not {encoding}; save the file as UTF-8, or say its encoding (--encoding cp949)"
        ) from error


def _places(path: Path, header: list[str], columns: Sequence[str]) -> list[int]:
    found = ", ".join(repr(name) for name in header)
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and separator in header[0]:
            raise DataError(f"{path} is separated by {name}, expected commas: found the one column {found}")
    for column in columns:
        if header.count(column) > 1:
            raise DataError(f"{path} has the column {column!r} {header.count(column)} times: found {found}")
        if column not in header:
            raise DataError(
                f"{path} has no column {column!r}: found {found}; "
                "name the columns with --image-column, --hashtag-column and --score-column"
            )
    return [header.index(column) for column in columns]


def _cell(cells: list[str], place: int) -> str:
    return cells[place] if place < len(cells) else ""


def _score(text: str) -> tuple[int, str | None]:
    match = _SCORE.fullmatch(text.strip(" "))
    return (int(match[1]), None) if match else (0, f"score {text!r} is no whole number from 1 to 5")


def _hashtag_fault(hashtag: str) -> str | None:
    if "\0" in hashtag:
        return "the hashtag has a NUL character"
    return None if hashtag.strip().strip("#＃").strip() else "the hashtag is empty"


def _image_fault(name: str) -> str | None:
    """Why a name cannot be a file below the image folder."""
    if not name.strip():
        return "the picture has no name"
    if "\0" in name:
        return "the picture's name has a NUL character"
    if _URL.match(name):
        return "the picture is a URL, expected a file name: download it first"
    parts = re.split(r"[/\\]", name)
    if ".." in parts or parts[0] == "" or re.match(r"[A-Za-z]:", name):
        return "the picture's name leads out of the image folder"
    return None


def _objects(values: list[str]) -> npt.NDArray[np.object_]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
