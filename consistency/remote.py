"""Files and folders of an object store, named by a URL: which URLs are allowed, and how their bytes come here.

A `RemotePath` stands wherever a path of an input does. Where a function of the system asks for its file name, it is
copied to this machine first, so that tables and archives are read as local ones are; images are fetched one by one.
fsspec moves the bytes and retries what fails for a moment; it takes its credentials from the environment alone.
"""

import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, ENOSPC
from functools import cache
from pathlib import Path, PosixPath
from typing import Any, Self

from consistency.errors import ConsistencyError, ImageError, InputError, StorageError, one_line, os_reason

# The kinds of URL that are understood, and the package of each; memory:// is for tests.
PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "hf": "huggingface_hub",
    "memory": "fsspec",
}
IN_EXTRA = ("s3fs", "fsspec")
KEPT = 2_000_000_000  # bytes of fetched images that stay on this machine until the process ends, the latest ones
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.S)
_QUERY = re.compile(r"(\w+://[^\s?'\"]*)\?[^\s'\"]*")
_SECRET = re.compile(r"(\w+://)[^\s/'\"@]*:[^\s/'\"@]*@")


class RemotePath(PosixPath):
    """A file or folder of an object store. `path_of` makes one from a URL."""

    __slots__ = ()
    asked = True  # whether the user has named it, so that it may be fetched

    @property
    def scheme(self) -> str:
        return self.parts[0].removesuffix(":")

    def __str__(self) -> str:
        return f"{self.parts[0]}//{'/'.join(self.parts[1:])}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __rtruediv__(self, other: Any) -> Self:
        return self  # as an absolute path after a folder

    def absolute(self) -> Self:
        return self

    def resolve(self, strict: bool = False) -> Self:
        return self

    def __fspath__(self) -> str:
        """File name of a copy on this machine, made now if there is none, which stays until the process ends."""
        return str(_copies.whole(self))

    def exists(self, **how: Any) -> bool:
        return self._type() is not None

    def is_file(self, **how: Any) -> bool:
        return self._type() == "file"

    def is_dir(self, **how: Any) -> bool:
        return self._type() == "directory"

    def _type(self) -> str | None:
        if not self.asked:
            return None
        try:
            with remote_errors(StorageError, self):
                return str(filesystem(self).info(str(self))["type"])
        except FileNotFoundError:
            return None


class UnaskedPath(RemotePath):
    """A URL that a file names, such as a run of somebody else: nothing is fetched from it until the user asks."""

    __slots__ = ()
    asked = False


def path_of(text: "str | os.PathLike[str]", *, asked: bool = True) -> Path:
    """A path from its text, which may be a URL.

    Parameters
    ----------
    text : str or path
        A path, file:// and a path, or the URL of an object store.
    asked : bool
        Whether the user names it; a URL that was read from a file is an `UnaskedPath`.

    Raises
    ------
    InputError
        If it is a URL of another kind, or holds credentials.
    """
    if isinstance(text, Path):
        return text
    match = _URL.fullmatch(text := os.fspath(text))
    if match is None:
        return Path(text)
    scheme, rest = match[1].lower(), match[2]
    if scheme == "file":
        if not rest.startswith("/"):
            raise InputError("a file:// URL names an absolute path, for example file:///data/pairs.csv")
        return Path(rest)
    if scheme not in PACKAGES:
        raise InputError(
            f"{scheme}:// is not supported, expected {', '.join(f'{each}://' for each in PACKAGES if each != 'memory')}"
            " or a local path: download it first"
        )
    user, at, _ = rest.partition("/")[0].rpartition("@")
    if (at and (":" in user or scheme not in ("abfs", "abfss"))) or "?" in rest:
        raise InputError(
            f"the {scheme}:// URL holds a user name, a password or a query, which would be recorded with the run: "
            "leave them out, and set the store's own environment variables (docs/scale.md)"
        )
    if ".." in rest.split("/") or "\0" in rest:
        raise InputError(f"the {scheme}:// URL holds .. or NUL: name the folder itself")
    return (RemotePath if asked else UnaskedPath)(f"{scheme}:", *filter(None, rest.split("/")))


def asked_for(value: Any) -> Any:
    """The same value; if it is a URL that was read from a file, it may be fetched now."""
    return RemotePath(*value.parts) if isinstance(value, UnaskedPath) else value


def filesystem(path: RemotePath) -> Any:
    """The fsspec file system of a path, which this process makes once and all threads share.

    Raises
    ------
    InputError
        If a package is missing, or the user has not asked for the path.
    """
    _check_asked(path)
    with _making:
        return _make(path.scheme, os.getpid())


def _check_asked(path: RemotePath) -> None:
    if not path.asked:
        raise InputError(f"{path} is named by a run, and was not fetched: name it yourself if you trust it")


_making = threading.Lock()


@cache
def _make(scheme: str, process: int) -> Any:
    try:
        import fsspec

        # A listing that is kept would hide what other machines write.
        return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as error:
        package = PACKAGES[scheme]
        needed = "'koclip-consistency[remote]'" if package in IN_EXTRA else f"'koclip-consistency[remote]' {package}"
        raise InputError(f"{scheme}:// needs {package}, which is not installed: pip install {needed}") from error


@contextmanager
def remote_errors(
    kind: type[ConsistencyError], what: object, advice: str = "check the network and the credentials"
) -> Iterator[None]:
    """Turn whatever an object store's library raises into one line, without secrets; FileNotFoundError passes."""
    try:
        yield
    except (FileNotFoundError, ConsistencyError, MemoryError):
        raise
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise StorageError(
                f"there is no room for a copy of {what} ({os_reason(error)}): free some space, or set TMPDIR"
            ) from error
        raise kind(f"{what} cannot be reached ({reason_of(error)}): {advice}") from error
    except Exception as error:  # each library has its own kinds
        raise kind(f"{what} cannot be reached ({reason_of(error)}): {advice}") from error


def reason_of(error: BaseException) -> str:
    """The message of an object store's library, without what a signed URL or a user name would give away."""
    return _SECRET.sub(r"\1", _QUERY.sub(r"\1?...", one_line(error)))[:200]


def mirror_of(root: RemotePath) -> Path:
    """Folder of this machine for copies of what a cache on an object store holds; `KOCLIP_MIRROR` moves all of them."""
    folder = os.environ.get("KOCLIP_MIRROR")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "koclip-consistency" / "mirror"
    return (Path(folder) if folder else base) / hashlib.sha256(str(root).encode()).hexdigest()[:16]


def fetch(path: RemotePath, file: Path, *, most: int | None = None) -> None:
    """Copy a file of an object store to `file`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ImageError
        If it is larger than `most` bytes, a folder, or reading it is not permitted.
    StorageError
        If the store cannot be reached, or there is no room for the copy.
    """
    system = filesystem(path)
    from fsspec.callbacks import Callback  # there, since the file system is

    class Limit(Callback):
        def set_size(self, size: int | None) -> None:
            if most is not None and size is not None and size > most:
                raise ImageError(f"is over {most / 1e6:g} MB")

    with remote_errors(StorageError, path):
        try:
            system.get_file(str(path), str(file), callback=Limit())
        except PermissionError as error:
            raise ImageError(f"cannot be read: {reason_of(error)}") from error
        except (IsADirectoryError, FileExistsError):  # fsspec would make a folder of `file`
            raise ImageError("is a folder") from None


class _Copies:
    """Copies of remote files in a folder of this process: whole tables and archives, and the latest images."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._process = 0
        self._lock = threading.Lock()
        self._whole: dict[RemotePath, Path] = {}
        self._images: OrderedDict[RemotePath, tuple[Path, int]] = OrderedDict()
        self._size = 0

    def whole(self, path: RemotePath) -> Path:
        """A copy that stays until the process ends. Raises FileNotFoundError or RunError."""
        _check_asked(path)
        with self._lock:
            if path not in self._whole:
                file = self._new()
                try:
                    fetch(path, file)
                except BaseException as error:
                    file.unlink(missing_ok=True)
                    if isinstance(error, ImageError):
                        raise InputError(f"{path} {error}, expected a file") from error
                    raise
                self._whole[path] = file
            return self._whole[path]

    def image(self, path: RemotePath, most: int) -> tuple[int, Path]:
        """An open descriptor of an image's copy and its place, where it may stay for a while."""
        _check_asked(path)
        with self._lock:
            if path in self._images:
                self._images.move_to_end(path)
                return os.open(self._images[path][0], os.O_RDONLY | os.O_CLOEXEC), self._images[path][0]
            file = self._new()
        try:
            fetch(path, file, most=most)
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        with self._lock:
            self._keep(path, file, os.fstat(descriptor).st_size)
        return descriptor, file

    def _keep(self, path: RemotePath, file: Path, size: int) -> None:
        """Keep a copy, and remove the oldest ones beyond the limit; open ones stay readable."""
        from multiprocessing import parent_process

        if path in self._images or size > KEPT or parent_process() is not None:  # of many processes, only the first
            file.unlink()
            return
        self._images[path] = file, size
        self._size += size
        while self._size > KEPT:
            oldest, size = self._images.popitem(last=False)[1]
            oldest.unlink(missing_ok=True)
            self._size -= size

    def _new(self) -> Path:
        import atexit  # none of these is needed for --help
        import shutil
        import tempfile

        if self._folder is None or self._process != os.getpid():  # a fork has its own
            self._folder, self._process = Path(tempfile.mkdtemp(prefix="koclip-")), os.getpid()
            self._whole, self._images, self._size = {}, OrderedDict(), 0
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        descriptor, name = tempfile.mkstemp(dir=self._folder)
        os.close(descriptor)
        return Path(name)


_copies = _Copies()


def open_remote(path: RemotePath, copy: Path | None, most: int) -> int:
    """A descriptor of an image's bytes: of its copy where that is still there, else fetched now.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ImageError
        If it is larger than `most` bytes, a folder, or not permitted.
    StorageError
        If the store cannot be reached.
    """
    if copy is not None:
        with suppress(OSError):
            return os.open(copy, os.O_RDONLY | os.O_CLOEXEC)
    return _copies.image(path, most)[0]


def copy_of(path: RemotePath) -> Path | None:
    """Where the copy of an image is at the moment, for other processes of this machine."""
    kept = _copies._images.get(path)
    return None if kept is None else kept[0]
