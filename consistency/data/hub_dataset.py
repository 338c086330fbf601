"""Reads a data set that the Hugging Face library `datasets` has saved to a folder, with its images."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from consistency.data.formats import Cell, library, text_of
from consistency.data.tables import SAVED_DATASET, TableFile
from consistency.durable import make_folder, write_file
from consistency.errors import DataError, one_line, os_errors_as
from consistency.remote import RemotePath


def is_dataset(path: Path) -> bool:
    """Whether `path` is a folder that `save_to_disk` has written."""
    return not isinstance(path, RemotePath) and any((path / mark).is_file() for mark in SAVED_DATASET)


def open_dataset(path: Path, image_column: str, images: Path) -> TableFile:
    """Open a saved data set, all of its splits one after another, and write its images to the folder `images`.

    A cell of the image column becomes the name of the image's file. Class labels become their names.

    Parameters
    ----------
    path : Path
        The folder that `save_to_disk` has written.
    image_column : str
        Name under which the table has the column of images: the column of that name, or else the only one of images.
    images : Path
        Where the images are written.

    Raises
    ------
    DataError
        If the library is missing, the data set is damaged, or it has no column of images or several.
    """
    datasets = library("datasets", "datasets", f"{path} is a Hugging Face dataset")
    try:
        loaded = datasets.load_from_disk(str(path))
        if isinstance(loaded, datasets.DatasetDict):
            loaded = datasets.concatenate_datasets(list(loaded.values()))
    except Exception as error:  # the library raises many kinds of errors for damaged folders
        raise DataError(f"{path} is a damaged Hugging Face dataset ({one_line(error)[:200]}): save it again") from error
    of_images = [name for name, feature in loaded.features.items() if isinstance(feature, datasets.Image)]
    if image_column not in of_images and len(of_images) != 1:
        raise DataError(
            f"{path} has {len(of_images)} columns of images ({', '.join(of_images) or 'none'}), expected one: "
            "name it with --image-column"
        )
    column = image_column if image_column in of_images else of_images[0]
    loaded = loaded.cast_column(column, datasets.Image(decode=False))
    labels = {name: each.names for name, each in loaded.features.items() if isinstance(each, datasets.ClassLabel)}
    names = _write_images((row[column] for row in loaded.select_columns([column])), images)
    columns = tuple(image_column if name == column else name for name in loaded.column_names)

    def cell(row: dict[str, Any], name: str, number: int) -> Cell:
        if name == column:
            return names[number]
        value = row[name]
        return labels[name][value] if name in labels and value is not None and value >= 0 else text_of(value)

    def rows(needed: Sequence[str], is_row: Any) -> Iterator[list[Cell]]:
        texts = loaded.remove_columns([column])
        for number, row in enumerate(texts if texts.column_names else ({} for _ in names)):
            yield [cell(row, name, number) for name in loaded.column_names]

    return TableFile(path, "Hugging Face dataset", "", _digest(path), columns, rows)


def _write_images(found: Iterator[dict[str, Any] | None], folder: Path) -> list[str]:
    """Write the images of all rows, each content once, and return their names; empty where a row has no image."""
    make_folder(folder)
    names: list[str] = []
    by_digest: dict[str, str] = {}
    taken: set[str] = set()
    for value in found:
        data = _bytes_of(value)
        if value is None or data is None:
            names.append("")
            continue
        digest = hashlib.sha256(data).hexdigest()
        if digest not in by_digest:
            name = PurePath(value["path"]).name if value["path"] else f"{digest[:16]}{_suffix(data)}"
            if name in taken:
                name = f"{PurePath(name).stem}-{digest[:16]}{PurePath(name).suffix}"
            by_digest[digest] = name
            taken.add(name)
            write_file(folder / name, data)
        names.append(by_digest[digest])
    return names


def _bytes_of(value: dict[str, Any] | None) -> bytes | None:
    if value is None or value["bytes"] is not None or not value["path"]:
        return None if value is None else value["bytes"]
    with os_errors_as(DataError, f"the image {value['path']} of the dataset cannot be read"):
        return Path(value["path"]).read_bytes()


def _suffix(data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return f".{(image.format or 'img').lower()}"
    except Exception:  # such an image is left out later, with the reason
        return ".img"


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*.arrow")):
        with os_errors_as(DataError, f"{file} cannot be read"), file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
