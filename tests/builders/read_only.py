"""A disk that takes nothing, whoever asks: root is stopped by no permission."""

import errno
import os
from pathlib import Path

from consistency.durable import System


class ReadOnly(System):
    """Refuses what a read-only file system refuses, below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _check(self, path: object) -> None:
        if Path(str(path)).is_relative_to(self.folder):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def open(self, path: object, flags: int, mode: int = 0o777) -> int:  # type: ignore[override]
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self._check(path)
        return os.open(str(path), flags, mode)

    def mkdir(self, path: object, mode: int = 0o777) -> None:  # type: ignore[override]
        if not Path(str(path)).exists():  # that it is there already is what the kernel says first
            self._check(path)
        os.mkdir(str(path), mode)

    def replace(self, old: object, new: object) -> None:  # type: ignore[override]
        self._check(new)
        os.replace(str(old), str(new))
