"""Finds the images that a table names in a folder, an archive or a store, and takes the digest of each one's bytes."""

import os
import posixpath
import unicodedata
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from consistency.data.archives import Member, index_archive
from consistency.data.memo import DigestMemo
from consistency.data.sources import open_image, read_checked, read_digest
from consistency.errors import DataError, ImageError, os_reason
from consistency.remote import RemotePath, copy_of

READERS = 8  # threads that read images for their digests; more than cores, since a network file system makes them wait
AHEAD = 1024  # images that they are given at a time


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image that a table names.

    Attributes
    ----------
    name : str
        As in the table.
    path : Path or None
        Where it was found, or the archive that holds it; None where it cannot be used.
    digest : bytes or None
        SHA-256 of its bytes when it was found; None where it cannot be used.
    problem : str or None
        Why it cannot be used.
    member : Member or None
        Its place in the archive; None if it is a file of its own.
    copy : Path or None
        Where the bytes of a remote path are on this machine, perhaps for a while only; None for a local path.
    """

    name: str
    path: Path | None
    digest: bytes | None
    problem: str | None
    member: Member | None = None
    copy: Path | None = None

    def open(self) -> AbstractContextManager[BinaryIO]:
        """Its bytes, opened; raises ImageError where that cannot be done."""
        if self.path is None:
            raise ImageError(self.problem or "not found")
        return open_image(self.path, self.member, self.copy)

    def read(self) -> bytes:
        """All its bytes; raises ImageError where they cannot be read, or have changed since the image was found."""
        with self.open() as stream:
            return read_checked(stream, self.digest)


def find_images(names: Iterable[str], folder: Path, memo: DigestMemo | None = None) -> dict[str, ImageFile]:
    """Find every distinct name below `folder`, and read the image once for its digest.

    A name is looked up exactly, then in any Unicode normal form, then with `/` for `\\`. No image stays in memory.

    Parameters
    ----------
    names : iterable of str
        As in the table, relative to `folder` or absolute; repeats count once.
    folder : Path
        The image folder, or a ZIP or an uncompressed tar of images; either may be remote. A name that leads out of it
        is a problem of its image.
    memo : DigestMemo, optional
        Digests of earlier runs: an image that has not changed since is not read. It knows no remote images.

    Returns
    -------
    dict of str to ImageFile
        In the order in which the names first appear.

    Raises
    ------
    DataError
        If two files differ from a name in their Unicode form alone, or `folder` is a file that is no such archive.
    StorageError
        If an object store cannot be reached.
    """
    place: _Folder | _Archive | _Store
    if folder.is_file():
        place = _Archive(folder)
    else:
        place = _Store(folder) if isinstance(folder, RemotePath) else _Folder(folder)
    readers = READERS * (2 if isinstance(place, _Store) else 1)
    distinct, found = iter(dict.fromkeys(names)), dict[str, ImageFile]()
    with ThreadPoolExecutor(readers) as pool:
        while some := [*islice(distinct, AHEAD)]:
            each = pool.map if len(some) > READERS else map  # threads for a few are slower than none
            found.update(zip(some, each(lambda name: _find(name, place, memo), some), strict=True))
    return found


def image_identity(names: npt.NDArray[np.object_], files: Mapping[str, ImageFile]) -> npt.NDArray[np.object_]:
    """(n,) object str: the digest of each image's content, or "name:" and its name where there is no content."""
    of_name = {
        name: file.digest.hex() if file.digest else "name:" + unicodedata.normalize("NFC", name)
        for name, file in files.items()
    }
    identity = np.empty(len(names), dtype=object)
    identity[:] = [of_name[name] for name in names]
    return identity


def _find(name: str, place: "_Folder | _Archive | _Store", memo: DigestMemo | None) -> ImageFile:
    try:
        if isinstance(place, _Store):
            url, digest = place.read(name)
            return ImageFile(name, url, digest, None, copy=copy_of(url))
        path, member = place.locate(name)
        if isinstance(path, RemotePath):  # an archive
            return ImageFile(name, path, read_digest(path, member), None, member, Path(os.fspath(path)))
        digest = read_digest(path, member) if memo is None else memo.digest(path, member)
        return ImageFile(name, path, digest, None, member)
    except ImageError as error:
        problem = str(error)
    except OSError as error:  # a loop of links, a name too long, a folder without permission
        problem = f"cannot be read: {os_reason(error)}"
    except ValueError as error:  # a NUL character
        problem = f"cannot be read: {error}"
    return ImageFile(name, None, None, problem)


class _Folder:
    """A folder of images, whose subfolders are listed once each, when a name is not found as it is written."""

    def __init__(self, folder: Path) -> None:
        self._given, self._root = Path(os.path.abspath(folder)), Path(os.path.realpath(folder))
        self._there = self._root.is_dir()
        self._names: dict[Path, _Names] = {}
        self._inside: dict[Path, bool] = {}

    def locate(self, name: str) -> tuple[Path, None]:
        """The path that `name` means; raises ImageError, with a suggestion if a name differs in case alone."""
        if not self._there:
            raise ImageError(f"there is no folder {self._root}")
        inside = self._relative(name)
        path = self._look_up(inside)
        if path is None and "\\" in inside:
            path = self._look_up(inside.replace("\\", "/"))
        if path is None:
            raise ImageError(f"not found in {self._root}{self._suggestion(inside)}")
        if not self._holds(path):
            raise ImageError("leads out of the image folder")
        return path, None

    def _holds(self, path: Path) -> bool:
        """Whether `path` is in the folder after all links; those of the subfolders are followed once each."""
        if path == self._root or path.name == ".." or os.path.islink(path):
            return Path(os.path.realpath(path)).is_relative_to(self._root)
        parent = path.parent
        if parent not in self._inside:
            self._inside[parent] = Path(os.path.realpath(parent)).is_relative_to(self._root)
        return self._inside[parent]

    def _relative(self, name: str) -> str:
        if not os.path.isabs(name):
            return name
        for root in (self._given, self._root):
            if Path(name).is_relative_to(root):
                return str(Path(name).relative_to(root))
        raise ImageError("leads out of the image folder")

    def _look_up(self, name: str) -> Path | None:
        """The path part by part: as it is written, or else in another Unicode normal form."""
        path = self._root
        for part in Path(name).parts:
            if not os.path.lexists(path / part):
                same = self._list(path).in_any_form(part)
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

    def _suggestion(self, name: str) -> str:
        path, parts = self._root, Path(name.replace("\\", "/")).parts
        for part in parts if ".." not in parts else ():
            found = part if os.path.lexists(path / part) else self._list(path).in_any_case(part)
            if found is None:
                return ""
            path /= found
        if path == self._root:
            return ""
        return f", but {path.relative_to(self._root)} is there: correct the name"

    def _list(self, path: Path) -> "_Names":
        if path not in self._names:
            self._names[path] = _Names(os.listdir(path) if path.is_dir() else ())
        return self._names[path]


class _Archive:
    """A ZIP or tar of images."""

    def __init__(self, path: Path) -> None:
        self._path, self._members = path, index_archive(path)
        self._names = _Names(self._members)

    def locate(self, name: str) -> tuple[Path, Member]:
        """Where the image lies; raises ImageError, with a suggestion if a name differs in case alone."""
        for inside in (name, name.replace("\\", "/")):
            plain = os.path.normpath(inside) if inside else inside
            found = [plain] if plain in self._members else self._names.in_any_form(plain)
            if found:
                member = self._members[found[0]]
                if isinstance(member, str):
                    raise ImageError(member)
                return self._path, member
        other = self._names.in_any_case(name)
        suggestion = "" if other is None else f", but {other} is there: correct the name"
        raise ImageError(f"not found in {self._path}{suggestion}")


class _Store:
    """A prefix of an object store. It is never listed: it may hold far more than the table names."""

    def __init__(self, folder: RemotePath) -> None:
        self._folder, self._there = folder, folder.exists()

    def read(self, name: str) -> tuple[RemotePath, bytes]:
        """Where the image is, and the digest of its bytes: as it is written, else in the normal forms NFC and NFD.

        Raises ImageError if there is none, or it cannot be read.
        """
        if not self._there:
            raise ImageError(f"there is no folder {self._folder}")
        for inside in _spellings(name):
            try:
                return self._folder / inside, read_digest(self._folder / inside)
            except ImageError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
        raise ImageError(f"not found in {self._folder}")


def _spellings(name: str) -> Iterable[str]:
    """The names under which an object store may have an image. Raises ImageError for a name of anything else."""
    if "://" in name:
        raise ImageError("is a URL, expected a name below the image folder")
    if not name or "\0" in name:
        raise ImageError("cannot be read: an empty name, or a NUL character")
    of_system = dict.fromkeys((name, name.replace("\\", "/")))
    plain = [posixpath.normpath(each) for each in of_system]
    if any(each.startswith(("/", "../")) or each in (".", "..") for each in plain):
        raise ImageError("leads out of the image folder")
    return dict.fromkeys(form for each in plain for form in (each, *_forms(each)))


def _forms(name: str) -> tuple[str, str]:
    return unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)


class _Names:
    """Names of files, found in any Unicode normal form or in any case."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = names

    def in_any_form(self, name: str) -> list[str]:
        return self._by_form.get(unicodedata.normalize("NFC", name), [])

    def in_any_case(self, name: str) -> str | None:
        return self._by_case.get(unicodedata.normalize("NFC", name).casefold())

    @cached_property
    def _by_form(self) -> dict[str, list[str]]:
        by_form: dict[str, list[str]] = {}
        for name in self._names:
            by_form.setdefault(unicodedata.normalize("NFC", name), []).append(name)
        return by_form

    @cached_property
    def _by_case(self) -> dict[str, str]:
        return {form.casefold(): names[0] for form, names in self._by_form.items()}
