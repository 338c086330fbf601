"""Refuses received folders that hold pipes or devices, which a reader could wait for without end."""

import os
import stat
from pathlib import Path

from consistency.errors import ConsistencyError


def refuse_pipes(folder: Path, error: type[ConsistencyError]) -> None:
    """Look at all that a folder and the folders in it hold, following links.

    Raises
    ------
    error
        If something is neither a file nor a folder.
    """
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        try:
            mode = os.stat(path).st_mode
        except OSError:  # a link that leads nowhere, or it is gone: for whoever reads it
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise error(f"{path} is a pipe, a socket or a device, expected files and folders only: remove it")
