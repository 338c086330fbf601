"""Writes a file so that it is all there or not at all, whatever is killed, full or unplugged meanwhile.

Temporary file, `flock`, full write, fsync, rename, fsync of the folder: only then does `write_file` return.
"""

import errno
import hashlib
import os
import secrets
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from consistency.errors import InputError, StorageError, os_errors_as, os_reason

try:
    import fcntl
except ModuleNotFoundError:
    raise InputError(
        f"this program needs Linux or macOS (it locks files with flock), found {sys.platform}: on Windows use WSL"
    ) from None

TEMP_PREFIX = ".writing-"
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)  # of file systems without flock
NO_FULL_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY)  # of those without it, such as SMB shares


def _fsync(fd: int) -> None:
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync alone leaves the data in the drive's own cache
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
        except OSError as error:
            if error.errno not in NO_FULL_FSYNC:
                raise
    os.fsync(fd)


class System:
    """The calls that durability rests on; a test puts one in `system` that fails, records or stops."""

    open = staticmethod(os.open)
    flock = staticmethod(fcntl.flock)
    write = staticmethod(os.write)
    fsync = staticmethod(_fsync)
    close = staticmethod(os.close)
    replace = staticmethod(os.replace)
    unlink = staticmethod(os.unlink)
    mkdir = staticmethod(os.mkdir)


system = System()


def write_file(path: Path, data: bytes, *, temp: Path | None = None) -> None:
    """Writes `data` to `path`, replacing what was there; `temp` is a folder of the same file system.

    When this returns, the file outlives a kill and a power cut. After StorageError what was there before is there, or
    all of `data`, which a power cut may then undo.
    """
    writing: Path | None = None
    try:
        fd, writing = _create(temp or path.parent)
        try:
            _write_all(fd, data)
            system.fsync(fd)
            system.replace(writing, path)
            sync_folder(path.parent)
        finally:
            system.close(fd)
    except BaseException as error:
        if writing is not None:
            with suppress(OSError):  # already renamed, or the disk is failing
                system.unlink(writing)
        if isinstance(error, OSError):
            raise _storage_error(path, error) from error
        raise


def check_output(path: Path) -> None:
    """Raises InputError where `path` cannot become a file; asked before the work whose result goes there."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected the name of a file")
    if not path.parent.exists():
        raise InputError(f"{path} cannot be written: the folder {path.parent} does not exist; make it, or name another")
    check_folder(path.parent)


def check_folder(path: Path) -> None:
    """Raises InputError where the folder `path` cannot be made, or nothing can be written into it."""
    while not path.exists():
        path = path.parent
    if not path.is_dir():
        raise InputError(f"{path} is a file, expected a folder: name another one")
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written to (read-only, or not permitted): name another folder")


def write_with_digest(path: Path, data: bytes) -> None:
    """Writes `path` and `path`.sha256 (as `sha256sum` does); no kill makes a good file look bad."""
    sidecar = _sidecar(path)
    line = f"{hashlib.sha256(data).hexdigest()}  {path.name}\n"
    earlier = sidecar.read_text() if sidecar.exists() else ""
    # While the file is being replaced both digests hold: nobody can tell which of the two a kill leaves.
    write_file(sidecar, (line + earlier).encode())
    write_file(path, data)
    if earlier:
        write_file(sidecar, line.encode())


def check_digest(path: Path) -> str:
    """The file's SHA-256 in hex; raises StorageError unless it has the content that `write_with_digest` wrote."""
    try:
        digests = [line.split()[0] for line in _sidecar(path).read_text().splitlines() if line.strip()]
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be checked ({error}); it needs {_sidecar(path).name} beside it") from error
    if found not in digests:
        raise StorageError(
            f"{path} is damaged: its SHA-256 is {found[:12]}..., {_sidecar(path).name} says "
            f"{', '.join(f'{digest[:12]}...' for digest in digests) or 'nothing'}; restore it or make it again"
        )
    return found


def make_folder(path: Path) -> None:
    """Makes `path` and its missing parents, so that what is fsynced inside cannot lose its folder."""
    try:
        if not path.parent.exists():
            make_folder(path.parent)
        with suppress(FileExistsError):
            system.mkdir(path)
        # Even where another process made it: that one may not have come to its fsync yet.
        sync_folder(path.parent)
    except OSError as error:
        raise _storage_error(path, error) from error


def sync_folder(folder: Path) -> None:
    """Makes the renames and removals inside `folder` outlive a power cut."""
    fd = system.open(folder, os.O_RDONLY)
    try:
        system.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems know no fsync of a folder
            raise
    finally:
        system.close(fd)


def remove_replaced(paths: Iterable[Path], folder: Path) -> None:
    """Removes files of `folder` once all that was renamed into it before is durable."""
    with os_errors_as(StorageError, f"{folder} could not be tidied up", advice="nothing is lost, run it again"):
        sync_folder(folder)
        for path in paths:
            system.unlink(path)


def sweep_temp(folder: Path) -> int:
    """Removes temporary files whose writer is dead (its lock can be taken); returns how many."""
    removed = 0
    for path in folder.glob(f"{TEMP_PREFIX}*"):
        with suppress(OSError):  # gone meanwhile, locked by a living writer, or not ours
            fd = system.open(path, os.O_RDONLY)
            try:
                system.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                system.unlink(path)
                removed += 1
            finally:
                system.close(fd)
    return removed


def _create(folder: Path) -> tuple[int, Path]:
    """A new file, locked where that is possible: the lock tells a sweep that its writer lives.

    Without locks no sweep removes anything.
    """
    while True:
        path = folder / f"{TEMP_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
        fd = system.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            try:
                system.flock(fd, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
            if os.fstat(fd).st_nlink:
                return fd, path
        except BaseException:
            system.close(fd)
            with suppress(OSError):
                system.unlink(path)
            raise
        system.close(fd)  # a sweep came between open and flock, and took it: another name


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[system.write(fd, view) :]


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _storage_error(path: Path, error: OSError) -> StorageError:
    cure = "free space or choose" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "choose"
    return StorageError(f"{path} was not written ({os_reason(error)}); {cure} another folder, then run it again")
