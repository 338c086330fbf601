"""Which files this process opens, as the interpreter itself reports it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_lists: list[list[Path]] = []
_hooked: list[bool] = []


@contextmanager
def opened(folder: Path) -> Iterator[list[Path]]:
    """Collect the files below `folder` that are opened in the block, in any thread."""
    if not _hooked:  # a hook stays until the process ends
        _hooked.append(True)
        sys.addaudithook(_note)
    found: list[Path] = []
    _lists.append(found)
    try:
        yield found
    finally:
        _lists.remove(found)
        found[:] = [path for path in found if path.is_relative_to(folder) and not path.is_dir()]


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _lists and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        for found in _lists:
            found.append(Path(os.fsdecode(arguments[0])))
