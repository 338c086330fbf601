"""Where the image that a table names is, and who it is: found below a folder, identified by its bytes."""

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from consistency.errors import DataError

MAX_BYTES = 400_000_000  # 50 megapixels of 16-bit RGBA, not compressed


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image that a table names. digest: SHA-256 of its bytes. problem: why it cannot be used."""

    name: str
    path: Path | None
    digest: bytes | None
    problem: str | None


def find_images(names: Iterable[str], folder: Path) -> dict[str, ImageFile]:
    """Every distinct name, found below `folder` and read once for its digest.

    A name is looked for exactly, then in any Unicode normal form. Raises DataError where two files fit.
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
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # reading a FIFO would wait for ever
            return unusable("is a folder" if stat.S_ISDIR(status.st_mode) else "is no regular file")
        if status.st_size > MAX_BYTES:
            return unusable(f"is over {MAX_BYTES / 1e6:g} MB")
        with path.open("rb") as file:
            return ImageFile(name, path, hashlib.file_digest(file, "sha256").digest(), None)
    except (OSError, ValueError) as error:  # a loop of links, a name too long, no permission
        return unusable(f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _locate(name: str, root: Path, listings: dict[Path, dict[str, list[str]]]) -> Path | None:
    """The path that `name` means, part by part: as it is written, else in another Unicode normal form."""
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
