"""Which files this process opens, and what it changes outside a folder, as the interpreter itself reports it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_notes: list[Callable[[Path], object]] = []
_hooked: list[bool] = []


@contextmanager
def opened(folder: Path, then: Callable[[int], object] = id) -> Iterator[list[Path]]:
    """Collect the files below `folder` that are opened in the block, in any thread; `then` is called at each."""
    if not _hooked:  # a hook stays until the process ends
        _hooked.append(True)
        sys.addaudithook(_note)
    found: list[Path] = []

    def note(path: Path) -> None:
        if path.is_relative_to(folder) and path != folder:
            found.append(path)
            then(len(found))

    _notes.append(note)
    try:
        yield found
    finally:
        _notes.remove(note)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _notes and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        for note in _notes:
            note(Path(os.fsdecode(arguments[0])))


_CHANGING = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod")
_STARTING = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")
_HERE = ("127.0.0.1", "::1")
_watched: list[tuple[Path, list[str]]] = []
_watching: list[bool] = []


@contextmanager
def escapes(folder: Path) -> Iterator[list[str]]:
    """Collect what the block changes outside `folder`, the programs that it starts, and the machines it connects to."""
    if not _watching:
        _watching.append(True)
        sys.addaudithook(_watch)
    found: list[str] = []
    _watched.append((folder.resolve(), found))
    try:
        yield found
    finally:
        _watched.pop()


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    folder, found = _watched[-1]
    if event == "open":
        paths = arguments[:1] if int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) else ()
    elif event in _CHANGING:
        paths = arguments[:2] if event in ("os.rename", "os.link") else arguments[:1]
    elif event in _STARTING or (event == "socket.connect" and not _is_here(arguments[1])):
        found.append(f"{event} {arguments[1:2]}")
        return
    else:
        return
    for path in paths:
        if isinstance(path, str | bytes | os.PathLike):
            place = Path(os.path.abspath(os.fsdecode(path)))
            allowed = place.is_relative_to(folder) or place == Path(os.devnull) or "__pycache__" in place.parts
            if not allowed:
                found.append(f"{event} {place}")


def _is_here(address: Any) -> bool:
    return not isinstance(address, tuple) or address[0] in _HERE
