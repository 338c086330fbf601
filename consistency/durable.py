"""Writes files completely or not at all, even if the process is killed, the disk is full or power is lost.

`write_file` creates a temporary file, locks it, writes and fsyncs it, renames it, and fsyncs the folder.
"""

import errno
import hashlib
import os
import platform
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from consistency.errors import InputError, StorageError, os_errors_as, os_reason

try:
    import fcntl
except ModuleNotFoundError:
    raise InputError(
        f"this program needs Linux or macOS (it locks files with flock), found {sys.platform}: on Windows use WSL"
    ) from None

TEMP_PREFIX = ".writing-"
ABANDONED = 24 * 60 * 60  # seconds without a write after which a temporary file of another machine has no writer
_TEMP_NAME = re.compile(re.escape(TEMP_PREFIX) + r"([0-9a-f]{12})-\d+-[0-9a-f]{16}")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
# Errors of file systems without flock, and of those without F_FULLFSYNC, such as SMB shares.
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)
NO_FULL_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY)


def _fsync(fd: int) -> None:
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync alone leaves data in the cache of the drive
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
        except OSError as error:
            if error.errno not in NO_FULL_FSYNC:
                raise
    os.fsync(fd)


class System:
    """The system calls behind durability; tests replace `system` by one that fails, records or stops."""

    open = staticmethod(os.open)
    flock = staticmethod(fcntl.flock)
    write = staticmethod(os.write)
    fsync = staticmethod(_fsync)
    close = staticmethod(os.close)
    replace = staticmethod(os.replace)
    unlink = staticmethod(os.unlink)
    mkdir = staticmethod(os.mkdir)
    truncate = staticmethod(os.ftruncate)


system = System()


def write_file(path: Path, data: bytes, *, temp: Path | None = None) -> None:
    """Write a file, replacing an existing one; afterwards it survives killed processes and loss of power.

    Parameters
    ----------
    path : Path
        File to write.
    data : bytes
        Its content.
    temp : Path, optional
        Folder on the same file system for the temporary file; by default the folder of `path`.

    Raises
    ------
    StorageError
        If writing fails. `path` then holds its earlier content or all of `data`, which a loss of power may still undo.
    """
    with writing(path, temp=temp) as write:
        write(data)


@contextmanager
def writing(path: Path, *, temp: Path | None = None) -> Iterator[Callable[[bytes], None]]:
    """Write a file part by part, as `write_file` does: `path` appears when the block ends, and never if it raises.

    Parameters
    ----------
    path, temp
        As for `write_file`.

    Yields
    ------
    callable
        Appends bytes to the file.

    Raises
    ------
    StorageError
        If writing fails.
    """
    unfinished: Path | None = None
    try:
        fd, unfinished = _create(temp or path.parent)
        try:
            yield lambda data: _write_all(fd, data)
            system.fsync(fd)
            system.replace(unfinished, path)
            sync_folder(path.parent)
        finally:
            system.close(fd)
    except BaseException as error:
        if unfinished is not None:
            with suppress(OSError):  # already renamed, or the disk is failing
                system.unlink(unfinished)
        if isinstance(error, OSError):
            raise _storage_error(path, error) from error
        raise


def append_bytes(fd: int, path: Path, data: bytes) -> None:
    """Append to an open file; afterwards the bytes survive killed processes and loss of power.

    A process that is killed meanwhile can leave a part of them.

    Parameters
    ----------
    fd : int
        The file, opened with O_APPEND.
    path : Path
        Its name, for the message.
    data : bytes
        What to append.

    Raises
    ------
    StorageError
        If writing fails. The file then has its earlier length, unless the disk refuses that too.
    """
    length = os.fstat(fd).st_size
    try:
        _write_all(fd, data)
        system.fsync(fd)
    except BaseException as error:
        with suppress(OSError):  # a part that stays is cut off by whoever opens the file next
            system.truncate(fd, length)
        if isinstance(error, OSError):
            raise _storage_error(path, error) from error
        raise


def try_lock(fd: int) -> bool:
    """Lock an open file until it is closed; False if another process has. True on file systems without locks."""
    try:
        system.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def check_output(path: Path) -> None:
    """Check that a file can be written, before the work whose result it will hold.

    Temporary files that killed writers left in its folder are removed.

    Raises
    ------
    InputError
        If `path` is a folder, or its folder is missing or read-only.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected the name of a file")
    if not path.parent.exists():
        raise InputError(
            f"{path} cannot be written: the folder {path.parent} does not exist; create it or name another"
        )
    check_folder(path.parent)
    sweep_temp(path.parent)


def check_folder(path: Path) -> None:
    """Check that a folder exists or can be created, and that files can be written to it.

    Raises
    ------
    InputError
        If not.
    """
    while not path.exists():
        path = path.parent
    if not path.is_dir():
        raise InputError(f"{path} is a file, expected a folder: name another one")
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written to (read-only, or not permitted): name another folder")


def write_with_digest(path: Path, data: bytes) -> None:
    """Write a file and its digest to `path`.sha256, in the format of `sha256sum`.

    If the process is killed in between, an intact file still passes `check_digest`.

    Parameters
    ----------
    path : Path
        File to write.
    data : bytes
        Its content.

    Raises
    ------
    StorageError
        If writing fails.
    """
    sidecar = _sidecar(path)
    line = f"{hashlib.sha256(data).hexdigest()}  {path.name}\n"
    earlier = sidecar.read_text() if sidecar.exists() else ""
    # While the file is replaced, both digests are listed: a killed process may leave either content.
    write_file(sidecar, (line + earlier).encode())
    write_file(path, data)
    if earlier:
        write_file(sidecar, line.encode())


def check_digest(path: Path) -> str:
    """Check a file against the digest that `write_with_digest` wrote.

    Parameters
    ----------
    path : Path
        File to check.

    Returns
    -------
    str
        SHA-256 of the file in hexadecimal.

    Raises
    ------
    StorageError
        If the file is damaged, or the file or its digest cannot be read.
    """
    try:
        digests = [line.split()[0] for line in _sidecar(path).read_text().splitlines() if line.strip()]
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be checked ({error}); it needs {_sidecar(path).name} beside it") from error
    if found not in digests:
        raise StorageError(
            f"{path} is damaged: its SHA-256 is {found[:12]}..., {_sidecar(path).name} says "
            f"{', '.join(f'{digest[:12]}...' for digest in digests) or 'nothing'}; restore it or create it again"
        )
    return found


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents durably, so that files inside cannot lose it.

    Raises
    ------
    StorageError
        If it cannot be created.
    """
    try:
        if not path.parent.exists():
            make_folder(path.parent)
        with suppress(FileExistsError):
            system.mkdir(path)
        # Even if another process has created it, because that process may not have fsynced it yet.
        sync_folder(path.parent)
    except OSError as error:
        raise _storage_error(path, error) from error


def sync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` survive loss of power."""
    fd = system.open(folder, os.O_RDONLY)
    try:
        system.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot fsync a folder
            raise
    finally:
        system.close(fd)


def remove_replaced(paths: Iterable[Path], folder: Path) -> None:
    """Remove files of `folder` once all earlier renames into it are durable."""
    with os_errors_as(
        StorageError, f"{folder} could not be tidied up", advice="nothing is lost, run the command again"
    ):
        sync_folder(folder)
        for path in paths:
            system.unlink(path)


def sweep_temp(folder: Path) -> int:
    """Remove temporary files whose writer has died; return their number.

    A writer of this machine holds the lock of its file. The locks of another machine may be invisible here, so its
    files also have to be ABANDONED seconds old, by the clock of the machine that has the disk.
    """
    removed, now = 0, None
    for path in folder.glob(f"{TEMP_PREFIX}*"):
        with suppress(OSError):  # removed meanwhile, locked by a running writer, or owned by another user
            named = _TEMP_NAME.fullmatch(path.name)
            if named is None or named[1] != machine():
                now = _clock(folder) if now is None else now
                if now - os.stat(path).st_mtime < ABANDONED:
                    continue
            fd = system.open(path, os.O_RDONLY)
            try:
                system.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                system.unlink(path)
                removed += 1
            finally:
                system.close(fd)
    return removed


@cache
def machine() -> str:
    """12 hexadecimal digits for this machine since it was started, which sees the locks of its own processes."""
    try:
        boot = _BOOT.read_text()
    except OSError:  # no Linux
        boot = ""
    return hashlib.sha256(f"{platform.node()} {boot}".encode()).hexdigest()[:12]


def _clock(folder: Path) -> float:
    """The time in seconds since 1970 by the clock that dates the files of `folder`."""
    fd, path = _create(folder)
    try:
        return os.fstat(fd).st_mtime
    finally:
        system.close(fd)
        system.unlink(path)


def _create(folder: Path) -> tuple[int, Path]:
    """Create a temporary file and lock it; the lock tells `sweep_temp` that its writer is running.

    On file systems without locks, `sweep_temp` removes nothing.
    """
    while True:
        path = folder / f"{TEMP_PREFIX}{machine()}-{os.getpid()}-{secrets.token_hex(8)}"
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
        system.close(fd)  # a sweep removed it between open and flock: try another name


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[system.write(fd, view) :]


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _storage_error(path: Path, error: OSError) -> StorageError:
    cure = "free some space or choose" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "choose"
    return StorageError(f"{path} was not written ({os_reason(error)}); {cure} another folder, then run it again")
