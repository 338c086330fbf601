"""Stand-ins for the calls that durability rests on: one that fails or dies at a call, one that records them all."""

import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consistency.durable import System

CALLS = ("open", "flock", "write", "fsync", "close", "replace", "unlink", "mkdir")


class Killed(BaseException):
    """Stands for the end of the process, in the same process."""


class Faulty(System):
    """Counts the calls; at call number `at` (from 0) it does what `fault` says.

    fault: "kill before", "kill after" (real ones), "dead" (this call and all later ones do nothing but raise Killed),
    "short" (a write that takes only half), or the number of an errno.
    """

    def __init__(self, at: int, fault: str | int) -> None:
        self.at, self.fault, self.calls = at, fault, 0
        for name in CALLS:
            setattr(self, name, self._wrapped(name, getattr(System, name)))

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(*arguments: Any) -> Any:
            self.calls += 1
            if self.fault == "dead" and self.calls > self.at:
                raise Killed
            if self.calls - 1 != self.at:
                return call(*arguments)
            if self.fault == "kill before":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "short" and name == "write":
                return call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            if isinstance(self.fault, int):
                if name == "close":  # the descriptor is gone even where close reports an error
                    call(*arguments)
                raise OSError(self.fault, os.strerror(self.fault), "injected")
            result = call(*arguments)
            if self.fault == "kill after":
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return faulty


@dataclass
class Inode:
    """A file as a disk may hold it: what an fsync has made sure of, and the writes since."""

    durable: bytes = b""
    pending: list[bytes] = field(default_factory=list)

    def after_power_cut(self, chance: random.Random) -> bytes:
        content = self.durable
        for data in self.pending:
            fate = chance.choice(("written", "lost", "zeros", "torn"))
            if fate == "written":
                content += data
            elif fate == "zeros":  # the length came to the disk, the data did not
                content += bytes(len(data))
            elif fate == "torn":
                content += data[: chance.randrange(len(data) + 1)]
        return content


Change = tuple[str, Inode | None]  # name, and what it stands for from now on


class Recording(System):
    """Does everything, and records it so that `power_cut` can replay what a disk may hold after any prefix.

    Dropping "file" or "folder" leaves that fsync out of the records: the mutation that a test must notice.
    """

    def __init__(self, root: Path, drop: str | None = None) -> None:
        self.root, self.drop = root, drop
        self.records: list[tuple[Any, ...]] = []
        self._open: dict[int, Path] = {}
        self.open = self._open_file
        self.write = self._write
        self.fsync = self._fsync  # type: ignore[assignment]
        self.replace = self._replace
        self.unlink = self._unlink
        self.mkdir = self._mkdir

    def acknowledge(self, what: object) -> None:
        self.records.append(("acknowledge", what))

    def _open_file(self, path: Path, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        self._open[fd] = Path(path)
        if flags & os.O_CREAT:
            self.records.append(("create", Path(path)))
        return fd

    def _write(self, fd: int, data: memoryview) -> int:
        written = os.write(fd, data)
        self.records.append(("write", self._open[fd], bytes(data[:written])))
        return written

    def _fsync(self, fd: int) -> None:
        path = self._open[fd]
        kind = "folder" if path.is_dir() else "file"
        if kind != self.drop:
            self.records.append((f"fsync {kind}", path))

    def _replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)
        self.records.append(("replace", Path(source), Path(target)))

    def _unlink(self, path: Path) -> None:
        os.unlink(path)
        self.records.append(("unlink", Path(path)))

    def _mkdir(self, path: Path) -> None:
        os.mkdir(path)
        self.records.append(("mkdir", Path(path)))

    def power_cut(self, target: Path, chance: random.Random) -> list[Any]:
        """Builds in `target` what may be left of `root` when power fails at a random moment.

        Of the changes to a folder since its last fsync any subset is there, of unsynced data any part.
        Returns what was acknowledged before.
        """
        inodes: dict[Path, Inode] = {}
        folders: dict[Path, dict[str, Inode]] = {}
        changes: dict[Path, list[Change]] = {}
        acknowledged = []

        def change(path: Path, inode: Inode | None) -> None:
            changes.setdefault(path.parent, []).append((path.name, inode))

        for operation, *arguments in self.records[: chance.randrange(len(self.records)) + 1]:
            match operation, arguments:
                case "acknowledge", [what]:
                    acknowledged.append(what)
                case "create" | "mkdir", [path]:
                    inodes[path] = Inode()
                    change(path, inodes[path])
                case "write", [path, data]:
                    inodes[path].pending.append(data)
                case "fsync file", [path]:
                    inodes[path].durable += b"".join(inodes[path].pending)
                    inodes[path].pending.clear()
                case "fsync folder", [path]:
                    apply(folders.setdefault(path, {}), changes.pop(path, []))
                case "replace", [source, path]:
                    inodes[path] = inodes.pop(source)
                    change(source, None)
                    change(path, inodes[path])
                case "unlink", [path]:
                    change(path, None)
        for path in changes:
            apply(folders.setdefault(path, {}), [one for one in changes[path] if chance.random() < 0.5])
        self._materialise(folders, self.root, target, chance)
        return acknowledged

    def _materialise(
        self, folders: dict[Path, dict[str, Inode]], path: Path, target: Path, chance: random.Random
    ) -> None:
        target.mkdir()
        for name, inode in folders.get(path, {}).items():
            if (path / name) in self._folders():
                self._materialise(folders, path / name, target / name, chance)
            else:
                (target / name).write_bytes(inode.after_power_cut(chance))

    def _folders(self) -> set[Path]:
        return {arguments[0] for operation, *arguments in self.records if operation == "mkdir"}


def apply(folder: dict[str, Inode], changes: list[Change]) -> None:
    for name, inode in changes:
        if inode is None:
            folder.pop(name, None)
        else:
            folder[name] = inode
