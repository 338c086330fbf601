"""Which files this process opens, as the interpreter itself reports it."""

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
