"""Where the files of a cache are: a local folder, or a prefix of an object store with a verified copy on this machine.

docs/cache-format.md says what each kind promises.
"""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from consistency.durable import make_folder, sweep_temp, write_file
from consistency.errors import CacheError, ImageError, InputError, StorageError, os_errors_as
from consistency.remote import RemotePath, fetch, filesystem, mirror_of, reason_of, remote_errors

CONTENT_NAMED = re.compile(r"[a-z]+-(\d+)-([0-9a-f]{32})\.\w+")  # segments, and texts of hashtags
FETCHED_AT_ONCE = 8
# What tells two contents of an object apart, as the libraries of different stores call it.
_VERSIONS = ("ETag", "etag", "generation", "LastModified", "created")


class Storage(Protocol):
    """The files of one cache, all in one folder."""

    def create(self) -> None:
        """Make room for the cache. Raises StorageError."""

    def names(self) -> list[str]:
        """Names of all files, sorted. Raises CacheError or StorageError."""

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises OSError, FileNotFoundError if there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file durably, replacing an earlier one. Raises StorageError."""

    def place(self, name: str) -> Path:
        """The local file that is opened for `name`."""

    def get(self, names: Sequence[str]) -> dict[str, str]:
        """Bring files to their places; returns why a file cannot be used, by name."""

    def set_aside(self, name: str) -> str | None:
        """Put a damaged file where nobody reads it; returns what happened to it, None if it stays and is not used."""

    def renew(self) -> bool:
        """Forget all copies, so that `get` reads every byte again; returns whether there were any to forget."""


class LocalFolder:
    """The files of a cache in a local folder, which is also that of a network file system."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self) -> None:
        make_folder(self._path)
        sweep_temp(self._path / "tmp")

    def names(self) -> list[str]:
        with os_errors_as(CacheError, f"{self._path} cannot be listed", advice="run extract again"):
            return sorted(entry.name for entry in os.scandir(self._path) if entry.is_file())

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        write_file(self._path / name, data, temp=temp_folder(self._path))

    def place(self, name: str) -> Path:
        return self._path / name

    def get(self, names: Sequence[str]) -> dict[str, str]:
        return {}

    def set_aside(self, name: str) -> str | None:
        try:
            make_folder(self._path / "quarantine")
            os.replace(self._path / name, self._path / "quarantine" / name)
        except FileNotFoundError:  # moved by another process
            pass
        except (OSError, StorageError):  # a read-only cache
            return None
        return "it was moved to quarantine/, run extract to encode its rows again"

    def renew(self) -> bool:
        return False


class ObjectFolder:
    """The files of a cache below a URL, with copies of those that are read in a local folder.

    Files are put as they are: those named by their content can be written by any number of machines, and writing one
    again repairs it. Nothing is moved or removed, since a store has no locks.
    """

    def __init__(self, path: RemotePath) -> None:
        if path.scheme == "hf":
            raise InputError(f"{path} cannot hold a cache, since each file would be a commit: name another --cache")
        self._path, self._mirror = path, mirror_of(path.parent) / path.name
        self._versions: dict[str, str] = {}
        self._dropped: set[str] = set()

    def create(self) -> None:
        make_folder(self._mirror)

    def names(self) -> list[str]:
        self._versions = {entry: _version(info) for entry, info in _listed(self._path) if info["type"] == "file"}
        return sorted(self._versions)

    def read(self, name: str) -> bytes:
        if CONTENT_NAMED.fullmatch(name) is None:
            with remote_errors(StorageError, self._path / name):
                return bytes(filesystem(self._path).cat_file(str(self._path / name)))
        if why := self.get([name]).get(name):
            raise CacheError(why)
        return self.place(name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        with remote_errors(StorageError, self._path / name):
            try:
                filesystem(self._path).pipe_file(str(self._path / name), data)
            except FileNotFoundError as error:
                raise StorageError(
                    f"{self._path / name} was not written ({reason_of(error)}): create its bucket, or name another one"
                ) from error
        if CONTENT_NAMED.fullmatch(name):
            with suppress(OSError):  # the copy is a convenience
                self._mirror.mkdir(parents=True, exist_ok=True)
                self._bad(name).unlink(missing_ok=True)
                file = self._unfinished()
                file.write_bytes(data)
                os.replace(file, self.place(name))

    def place(self, name: str) -> Path:
        return self._mirror / name

    def get(self, names: Sequence[str]) -> dict[str, str]:
        wanted = [name for name in names if not self.place(name).is_file()]
        if not wanted:
            return {}
        make_folder(self._mirror)
        with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
            problems = zip(wanted, pool.map(self._fetch, wanted), strict=True)
            return {name: why for name, why in problems if why is not None}

    def _fetch(self, name: str) -> str | None:
        """Copy an object whose bytes are those that its name promises; else the reason."""
        why = (
            f"{self._path / name} is damaged: its content is not that of its name; it stays there and is not used, "
            "run extract to encode its rows again"
        )
        version, bad = self._versions.get(name, ""), self._bad(name)
        with suppress(OSError):  # a damaged object is not fetched again until it changes
            if version and bad.read_text(encoding="utf-8") == version:
                return why
        file = self._unfinished()
        try:
            fetch(self._path / name, file)
            if _is_named(file, name):
                os.replace(file, self.place(name))
                bad.unlink(missing_ok=True)
                return None
            with suppress(OSError):
                bad.write_text(version, encoding="utf-8")
            return why
        except FileNotFoundError:  # removed since it was listed
            return None
        except ImageError as error:  # not permitted
            return f"{self._path / name} {error}"
        except OSError as error:
            raise StorageError(
                f"{file} cannot be written ({error.strerror}): set KOCLIP_MIRROR to another folder"
            ) from error
        finally:
            file.unlink(missing_ok=True)

    def set_aside(self, name: str) -> str | None:
        """Remove a damaged copy; of an object whose fresh copy is of no use either, nothing more is read."""
        if name in self._dropped:
            return None
        self._dropped.add(name)
        self.place(name).unlink(missing_ok=True)
        return "its copy on this machine was removed, and is fetched again"

    def renew(self) -> bool:
        for file in self._mirror.glob("*-*"):
            file.unlink(missing_ok=True)
        return True

    def _bad(self, name: str) -> Path:
        return self._mirror / f"bad-{name}.txt"

    def _unfinished(self) -> Path:
        return self._mirror / f".fetching-{os.getpid()}-{secrets.token_hex(8)}"


def storage_of(path: Path) -> Storage:
    """The files of the cache in the folder `path`."""
    return ObjectFolder(path) if isinstance(path, RemotePath) else LocalFolder(path)


def folders(root: Path) -> list[Path]:
    """Folders below `root`, which need not be caches, sorted; none if there is no such folder."""
    if isinstance(root, RemotePath):
        return sorted(root / name for name, info in _listed(root) if info["type"] == "directory")
    return sorted(root.iterdir()) if root.is_dir() else []


def remove_folder(path: RemotePath) -> None:
    """Remove a cache of an object store, format.json last, so that a removal that is interrupted can be repeated."""
    system = filesystem(path)
    with remote_errors(StorageError, path), suppress(FileNotFoundError):
        for name in sorted((name for name, _ in _listed(path)), key=lambda name: name == "format.json"):
            system.rm(str(path / name), recursive=True)
    shutil.rmtree(mirror_of(path.parent) / path.name, ignore_errors=True)


def temp_folder(path: Path) -> Path:
    """Folder for temporary files of a local cache; created if missing, since read-only copies may lack it."""
    temp = path / "tmp"
    if not temp.is_dir():
        make_folder(temp)
    return temp


def _listed(path: RemotePath) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and details of everything directly below a URL."""
    with remote_errors(StorageError, path):
        try:
            found = filesystem(path).ls(str(path), detail=True)
        except FileNotFoundError:
            return
    for info in found:
        name = str(info["name"]).rstrip("/").rpartition("/")[2]
        if name and not (name == path.name and len(found) == 1 and info["type"] == "file"):
            yield name, info


def _version(info: dict[str, Any]) -> str:
    return next((str(info[key]) for key in _VERSIONS if info.get(key)), "")


def _is_named(file: Path, name: str) -> bool:
    """Whether a file has the size and the digest of a name."""
    match = CONTENT_NAMED.fullmatch(name)
    if match is None or file.stat().st_size != int(match[1]):
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest().startswith(match[2])
