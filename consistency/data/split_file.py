"""Reads a split from a file: the `split.csv` of a run, or another split of the same pair table."""

import csv
import hashlib
import io
import reprlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from consistency.data.hashtags import identities
from consistency.data.pairs import PairTable
from consistency.data.splits import PAPER_SEED, SIDES, Split, Whole, whole_groups, whole_rows
from consistency.errors import InputError, os_errors_as
from consistency.options import OnConflict

REQUIRED = ("row", "image", "hashtag", "split")
PROTOCOL = "file"
_ADVICE = "name the split of this table, or write one with `data split`"


def import_split(
    path: Path,
    table: PairTable,
    identity: npt.NDArray[np.object_],
    *,
    seed: int,
    on_conflict: OnConflict = "abort",
    scenes: npt.NDArray[np.object_] | None = None,
) -> Split:
    """Read a split of `table` from a CSV with the columns row, image, hashtag, split and optionally fold.

    Rows are matched by their number, and their image and hashtag must agree with the table. What the file keeps
    together across test and the other rows is kept together within train as well: scenes if they are given, else
    images, else hashtags; repeats are then merged. If the file separates all of these, rows are independent, as in
    protocol "paper". The file of a run therefore gives the split of that run.

    Parameters
    ----------
    path : Path
        The CSV, in UTF-8.
    table : PairTable
        The n rows.
    identity, scenes : (n,) object
        As for `make_split`.
    seed : int
        Random seed of validation rows and folds that are drawn later.
    on_conflict : {"abort", "mean", "first", "drop"}
        As for `make_split`.

    Returns
    -------
    Split
        Its protocol is "file".

    Raises
    ------
    InputError
        If the file is not a split of this table; the message names the first row that differs.
    DataError
        If repeats have different scores and `on_conflict` is "abort".
    """
    data = _read(path)
    side, fold = _columns(path, data, table)
    tested = side == "test"
    kept_whole: tuple[tuple[npt.NDArray[np.object_] | None, Whole], ...]
    kept_whole = (scenes, "images"), (identity, "images"), (identities(table.hashtags), "hashtags")
    for groups, whole in kept_whole:
        if groups is not None and set(groups[tested]).isdisjoint(groups[~tested]):
            split = whole_groups(
                table, identity, side, groups, whole, protocol=PROTOCOL, seed=seed, on_conflict=on_conflict
            )
            break
    else:
        split = whole_rows(table, identity, side, protocol=PROTOCOL, seed=PAPER_SEED)
    for name in ("train", "test"):
        if not len(split.rows(name)):
            raise InputError(f"{path} has no {name} row: a split needs rows in train and in test")
    _check_folds(path, table, fold, split.kept)
    return replace(split, fold=fold, digest=hashlib.sha256(data).hexdigest())


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"--split {path} is not a file: name the split.csv of a run, or write one with `data split`")
    with os_errors_as(InputError, f"--split {path} cannot be read"):
        return path.read_bytes()


def _columns(path: Path, data: bytes, table: PairTable) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.int64]]:
    """Side, (n,) object, and fold, (n,) int64 with -1 for none, of every row of the table."""
    place = {row: index for index, row in enumerate(table.rows.tolist())}
    side = np.full(len(table), "", dtype=object)
    fold = np.full(len(table), -1, dtype=np.int64)
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        names = list(reader.fieldnames or ())
        for name in REQUIRED:
            if names.count(name) != 1:
                found = ", ".join(map(reprlib.repr, names[:20]))
                raise InputError(f"{path} has {names.count(name)} columns {name!r}, expected one (found {found})")
        for cells in reader:
            if None in cells or None in cells.values():
                raise InputError(f"{path}, line {reader.line_num}: expected {len(names)} cells as in the header")
            row = _number(cells["row"])
            if row is None:
                raise InputError(f"{path}, line {reader.line_num}: row {cells['row']!r} is not a whole number")
            if row not in place:
                raise InputError(f"{path} has row {row}, but {table.path} has no usable row {row}: {_ADVICE}")
            at = place[row]
            pair, expected = (cells["image"], cells["hashtag"]), (table.images[at], table.hashtags[at])
            if pair != expected:
                raise InputError(
                    f"{path}: row {row} is {_shown(pair)}, but in {table.path} it is {_shown(expected)}: {_ADVICE}"
                )
            if side[at]:
                raise InputError(f"{path} has row {row} twice: remove one of them")
            if cells["split"] not in SIDES:
                raise InputError(f"{path}: row {row} has split {cells['split']!r}, expected {', '.join(SIDES)}")
            side[at] = cells["split"]
            if given := cells.get("fold"):
                number = _number(given)
                if number is None:
                    raise InputError(f"{path}: row {row} has fold {given!r}, expected a whole number from 0")
                fold[at] = number
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{path} is not a table of comma-separated cells ({error})") from error
    if not side.all():
        missing = table.rows[side == ""]
        raise InputError(f"{path} lacks row {missing[0]} of {table.path} ({len(missing)} rows in all): {_ADVICE}")
    return side, fold


def _shown(pair: tuple[str, str]) -> str:
    return " with ".join(map(reprlib.repr, pair))


def _number(text: str) -> int | None:
    """Parse a nonnegative whole number in ASCII digits; None for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _check_folds(path: Path, table: PairTable, fold: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]) -> None:
    """Raise InputError unless no kept row has a fold, or all have one of 0 to k - 1 with k at least 2."""
    if (fold < 0).all():
        return
    if (fold[kept] < 0).any():
        row = table.rows[kept & (fold < 0)][0]
        raise InputError(f"{path}: row {row} has no fold, but other rows have one: give a fold to every row or to none")
    found = np.unique(fold[kept])
    if len(found) < 2 or found[-1] != len(found) - 1:
        listed = ", ".join(map(str, found[:10]))
        raise InputError(f"{path} has folds {listed}, expected two or more, numbered from 0 without a gap")
