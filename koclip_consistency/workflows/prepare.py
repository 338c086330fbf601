"""`data prepare`: a clean copy of a pair table, and a report of every change."""

import io
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from consistency.data.cells import plain
from consistency.data.files import ImageFile, find_images, image_identity
from consistency.data.hub_dataset import is_dataset, open_dataset
from consistency.data.images import decode_image, is_heic
from consistency.data.inputs import open_source, read_table, refuse_skipped
from consistency.data.pairs import PairTable, Skipped
from consistency.data.repeats import merge_repeats
from consistency.data.scores import check_scores
from consistency.data.tables import TableFile
from consistency.durable import check_folder, make_folder, write_file
from consistency.errors import DataError, InputError
from consistency.evaluation.health import check_images
from consistency.options import DataPrepareOptions, ImageLimits, Source
from consistency.progress import QUIET, Reporter
from consistency.remote import RemotePath
from consistency.text import to_csv

PAIRS, CHANGES, IMAGES = "pairs.csv", "changes.csv", "image"
COLUMNS = ("row", "image", "hashtag", "change", "before", "after")
_QUALITY = 95  # of the JPEGs that HEIC images become


@dataclass(frozen=True)
class Change:
    """Something that differs between the given table and the clean one; a line of `changes.csv`.

    Attributes
    ----------
    row
        Data row of the given file, numbered from 1; None for a change of the whole table or of an image.
    image, hashtag
        Text as in the given file.
    change
        What kind of change it is.
    before, after
        What was there, and what there is now, or why a row was left out.
    """

    row: int | None
    image: str
    hashtag: str
    change: str
    before: str
    after: str


@dataclass(frozen=True)
class Prepared:
    """What `data prepare` wrote.

    Attributes
    ----------
    data, changes
        The clean table and the report.
    images
        Where its images are.
    rows
        Number of its rows.
    counts
        Number of changes of each kind.
    skipped
        Rows of the given table that were left out.
    """

    data: Path
    changes: Path
    images: Path
    rows: int
    counts: dict[str, int]
    skipped: tuple[Skipped, ...] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        paths = {name: str(getattr(self, name)) for name in ("data", "changes", "images")}
        return {**paths, "rows": self.rows, "counts": self.counts}


def prepare(options: DataPrepareOptions, reporter: Reporter = QUIET) -> Prepared:
    """Write a table in which every row can be used, each pair occurs once, and all text is in Unicode form NFC.

    Raises
    ------
    InputError
        If the folder holds other files.
    DataError
        If the table cannot be read, is labelled on another scale, has contradictions that `--on-conflict` does not
        resolve, or no row that can be used.
    """
    out, source = options.folder, replace(options.source, data=options.table)
    score_column = source.one_score_column("data prepare")
    _check_folder(out, source)
    saved = is_dataset(source.data)
    if saved:
        source = replace(source, images=out / IMAGES)
        opened = open_dataset(source.data, source.image_column, source.images)
    else:
        opened = open_source(source)
    labelled = score_column in opened.columns
    table = read_table(source, require_scores=labelled, table=opened)
    if labelled:
        allow = source.on_error == "allow"
        check_scores(table.unscored, table.score_counts, path=table.path, allow=allow, mapped=table.mapped)
    files = find_images(table.images, source.images)
    with_images, lost = _with_images(table, files, source.limits, reporter)
    skipped = (*table.skipped, *lost)
    refuse_skipped(skipped, source.on_error)
    merged = merge_repeats(with_images, image_identity(with_images.images, files), source.on_conflict)
    rows = _file_rows(table)
    changes = [*_of_the_file(opened, source, labelled), *_of_cells(opened, source, table, rows)]
    for each in skipped:
        row = rows.get(each.row) or table.file_row_of(each)
        changes.append(Change(row, each.image, each.hashtag, "left out", "", each.reason))
    kept = np.flatnonzero(merged.kept)
    for at in np.flatnonzero(~merged.kept).tolist():
        first = rows[int(with_images.rows[merged.first[at]])]
        after = "contradicts another row" if not merged.kept[merged.first[at]] else f"repeats row {first}"
        changes.append(_change(with_images, rows, at, "left out", "", after))
    make_folder(out)
    names = _names(with_images, files, source.images)
    if options.jpeg:
        names |= _write_images(
            out / IMAGES, {name: names[name] for name in set(with_images.images[kept])}, files, source
        )
    lines = []
    for at in kept.tolist():
        image, hashtag, score = with_images.images[at], with_images.hashtags[at], int(merged.scores[at])
        name, tag = names[image], unicodedata.normalize("NFC", hashtag).strip()
        for kind, before, after in (("image", image, name), ("hashtag", hashtag, tag)):
            if before != after:
                changes.append(_change(with_images, rows, at, kind, before, after))
        if score != with_images.scores[at]:
            changes.append(_change(with_images, rows, at, "score of repeats", str(with_images.scores[at]), str(score)))
        post = [] if with_images.posts is None else [with_images.posts[at]]
        lines.append((name, tag, *([score] if labelled else []), *post))
    defaults = Source()
    header = [defaults.image_column, defaults.hashtag_column, *(defaults.score_columns if labelled else [])]
    header += [] if source.post_column is None else [source.post_column]
    changes.sort(key=lambda change: change.row or 0)
    write_file(out / CHANGES, to_csv(COLUMNS, (["" if c.row is None else c.row, *_texts(c)] for c in changes)))
    write_file(out / PAIRS, to_csv(header, lines))
    images = out / IMAGES if options.jpeg or saved else source.images
    counts = dict(Counter(change.change for change in changes))
    return Prepared(out / PAIRS, out / CHANGES, images, len(lines), counts, skipped)


def _check_folder(out: Path, source: Source) -> None:
    if out.is_dir() and {entry.name for entry in out.iterdir()} - {PAIRS, CHANGES, IMAGES}:
        raise InputError(f"{out} holds other files than an earlier result: choose another folder, or empty it")
    for path in (source.data, *(() if is_dataset(source.data) else (source.images,))):
        if path.exists() and path.resolve().is_relative_to(out.resolve()):
            raise InputError(f"{path} is in the output folder {out}, and would be overwritten: choose another folder")
    check_folder(out)


def _with_images(
    table: PairTable, files: dict[str, ImageFile], limits: ImageLimits, reporter: Reporter
) -> tuple[PairTable, list[Skipped]]:
    """The rows whose image can be used, and the others."""
    found = check_images(files, limits, reporter.progress)
    faults = dict(found.missing + found.broken)
    usable, lost = table.without_images(faults)
    if not len(usable):
        name, reason = next(iter(faults.items()))
        raise DataError(f"{table.path}: no row has an image that can be used ({name}: {reason}): see --images")
    return usable, lost


def _file_rows(table: PairTable) -> dict[int | None, int]:
    """The row of the file of each usable pair."""
    file_rows = table.rows if table.file_rows is None else table.file_rows
    return dict(zip(table.rows.tolist(), file_rows.tolist(), strict=True))


def _of_the_file(opened: TableFile, source: Source, labelled: bool) -> Iterable[Change]:
    given = ", ".join(filter(None, (opened.format, opened.encoding)))
    if given != "CSV, UTF-8":
        yield Change(None, "", "", "format", given, "CSV, UTF-8")
    defaults = Source()
    used = {source.image_column: defaults.image_column, source.hashtag_column: defaults.hashtag_column}
    used |= dict(zip(source.score_columns, defaults.score_columns, strict=True)) if labelled else {}
    for column in opened.columns:
        if column in used and used[column] != column:
            yield Change(None, "", "", "column renamed", column, used[column])
        elif column not in used and column != source.post_column:
            yield Change(None, "", "", "column left out", column, "")


def _of_cells(opened: TableFile, source: Source, table: PairTable, rows: dict[int | None, int]) -> Iterable[Change]:
    """Cells that were split, and labels that became scores."""
    image_at, hashtag_at = (opened.columns.index(name) for name in (source.image_column, source.hashtag_column))
    (score_column,) = source.score_columns
    score_at = opened.columns.index(score_column) if score_column in opened.columns else None
    pairs: dict[int, list[int]] = {}
    for at, row in enumerate(rows.values()):
        pairs.setdefault(row, []).append(at)
    for row, cells in enumerate(opened.rows(), 1):
        of_row = pairs.get(row, [])
        if not of_row:
            continue
        cell, image = plain(cells[hashtag_at]), plain(cells[image_at])
        if len(of_row) > 1:
            yield Change(row, image, cell, "cell split", cell, f"{len(of_row)} rows")
        given = "" if score_at is None else plain(cells[score_at])
        for at in of_row:
            if (score := str(table.scores[at])) != given and score != "0":
                yield Change(row, image, table.hashtags[at], "score", given, score)


def _names(table: PairTable, files: dict[str, ImageFile], images: Path) -> dict[str, str]:
    """The path of each image relative to the image folder, in Unicode form NFC and with `/`."""
    root = images if isinstance(images, RemotePath) else Path(os.path.realpath(images))
    names = {}
    for name in dict.fromkeys(table.images):
        file = files[name]
        assert file.path is not None
        if file.member is None:
            relative = file.path.relative_to(root).as_posix()
        else:
            relative = os.path.normpath(name).replace("\\", "/")
        names[name] = unicodedata.normalize("NFC", relative)
    return names


def _write_images(folder: Path, names: dict[str, str], files: dict[str, ImageFile], source: Source) -> dict[str, str]:
    """Write the images below `folder`, HEIC as JPEG; the paths of those that were converted."""
    taken, converted = set(names.values()), {}
    for name, relative in names.items():
        data = files[name].read()
        if is_heic(data):
            buffer = io.BytesIO()
            decode_image(data, limits=source.limits).save(buffer, "JPEG", quality=_QUALITY)
            data, relative = buffer.getvalue(), _free(relative, taken)
            converted[name] = relative
        path = folder / relative
        make_folder(path.parent)
        write_file(path, data)
    return converted


def _free(relative: str, taken: set[str]) -> str:
    """A name with the ending .jpg that no other image has."""
    path, number = PurePosixPath(relative), 1
    name = path.with_suffix(".jpg").as_posix()
    while name in taken:
        number += 1
        name = path.with_name(f"{path.stem}-{number}.jpg").as_posix()
    taken.add(name)
    return name


def _change(table: PairTable, rows: dict[int | None, int], at: int, what: str, before: str, after: str) -> Change:
    return Change(rows[int(table.rows[at])], table.images[at], table.hashtags[at], what, before, after)


def _texts(change: Change) -> tuple[str, ...]:
    return change.image, change.hashtag, change.change, change.before, change.after
