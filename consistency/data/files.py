"""Finds the images that a table names below a folder, and identifies each by the digest of its bytes."""

import os
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from consistency.data.sources import digest_of, open_image, read_checked
from consistency.errors import DataError, ImageError, os_reason


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image that a table names.

    Attributes
    ----------
    name : str
        As in the table.
    path : Path or None
        Where it was found, None where it cannot be used.
    digest : bytes or None
        SHA-256 of its bytes when it was found; None where it cannot be used.
    problem : str or None
        Why it cannot be used.
    """

    name: str
    path: Path | None
    digest: bytes | None
    problem: str | None

    def open(self) -> AbstractContextManager[BinaryIO]:
        """Its bytes, opened; raises ImageError where that cannot be done."""
        if self.path is None:
            raise ImageError(self.problem or "not found")
        return open_image(self.path)

    def read(self) -> bytes:
        """All its bytes; raises ImageError where they cannot be read, or have changed since the image was found."""
        with self.open() as stream:
            return read_checked(stream, self.digest)


def find_images(names: Iterable[str], folder: Path) -> dict[str, ImageFile]:
    """Find every distinct name below `folder`, and read the image once for its digest.

    A name is looked up exactly, then in any Unicode normal form. No image stays in memory.

    Parameters
    ----------
    names : iterable of str
        As in the table, relative to `folder`; repeats count once.
    folder : Path
        The image folder; a name that leads out of it is a problem of its image.

    Returns
    -------
    dict of str to ImageFile
        In the order in which the names first appear.

    Raises
    ------
    DataError
        If two files differ from a name in their Unicode form alone.
    """
    root = Path(os.path.realpath(folder))
    listings: dict[Path, dict[str, list[str]]] = {}
    return {name: _find(name, root, listings) for name in dict.fromkeys(names)}


def image_identity(names: npt.NDArray[np.object_], files: Mapping[str, ImageFile]) -> npt.NDArray[np.object_]:
    """(n,) object str: the digest of each image's content, or "name:" and its name where there is no content."""
    of_name = {
        name: file.digest.hex() if file.digest else "name:" + unicodedata.normalize("NFC", name)
        for name, file in files.items()
    }
    identity = np.empty(len(names), dtype=object)
    identity[:] = [of_name[name] for name in names]
    return identity


def _find(name: str, root: Path, listings: dict[Path, dict[str, list[str]]]) -> ImageFile:
    def unusable(problem: str) -> ImageFile:
        return ImageFile(name, None, None, problem)

    try:
        path = _locate(name, root, listings)
        if path is None:
            return unusable(f"not found in {root}")
        if not Path(os.path.realpath(path)).is_relative_to(root):
            return unusable("leads out of the image folder")
        with open_image(path) as stream:
            return ImageFile(name, path, digest_of(stream), None)
    except ImageError as error:
        return unusable(str(error))
    except OSError as error:  # a loop of links, a name too long, a folder without permission
        return unusable(f"cannot be read: {os_reason(error)}")
    except ValueError as error:  # a NUL character
        return unusable(f"cannot be read: {error}")


def _locate(name: str, root: Path, listings: dict[Path, dict[str, list[str]]]) -> Path | None:
    """The path that `name` means, part by part: as it is written, or else in another Unicode normal form."""
    path = root
    for part in Path(name).parts:
        if not os.path.lexists(path / part):
            if path not in listings:
                listings[path] = {}
                for entry in os.listdir(path) if path.is_dir() else ():
                    listings[path].setdefault(unicodedata.normalize("NFC", entry), []).append(entry)
            same = listings[path].get(unicodedata.normalize("NFC", part), [])
            if len(same) > 1:
                raise DataError(
                    f"{name} fits {len(same)} names in {path} that differ only in Unicode form: "
                    "rename one, or name it exactly"
                )
            if not same:
                return None
            part = same[0]
        path /= part
    return path
