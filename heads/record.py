"""The finished jobs of a grid, in a file with one line per stack, so that an interrupted grid can continue.

The first line is {"format": 1, "grid": digest of everything that the results depend on}. Each further line is
{"<job>": {metric: curve}, ...} for the jobs of one stack, and is flushed to disk when the stack is finished. A line
that was cut short by a killed process is dropped.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consistency import durable
from consistency.durable import append_bytes, sync_folder
from consistency.errors import InputError, StorageError, os_errors_as
from consistency.format_version import check_format

Curves = dict[str, list[float]]
FORMAT = 1  # records of the first versions name none


class Record:
    """The curves of finished jobs.

    Parameters
    ----------
    path : Path or None
        The file; with None the curves are kept in memory only.
    digest : str
        Digest of everything that the results depend on.

    Attributes
    ----------
    curves : dict
        By job number: the values of each metric after each epoch.

    Raises
    ------
    InputError
        If the file belongs to another grid or other data, or is not such a record.
    """

    def __init__(self, path: Path | None, digest: str) -> None:
        self.path = path
        self.curves: dict[int, Curves] = {}
        if path is None:
            return
        data = path.read_bytes() if path.exists() else b""
        complete = data[: data.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in complete.splitlines()]
            if lines:
                check_format(path, lines[0].get("format", 1), FORMAT, instead="start a new run")
            recorded = lines[0]["grid"] if lines else None
            known = {int(job): curves for line in lines[1:] for job, curves in line.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not a record of a grid: remove it, or name another file") from error
        if recorded is None:
            complete = b""
        elif recorded != digest:
            raise InputError(
                f"{path} belongs to another grid or to other data: resume it with the same, or start a new run"
            )
        self.curves |= known
        if len(complete) < len(data):
            with os_errors_as(StorageError, f"{path} cannot be recovered"):
                os.truncate(path, len(complete))
        if recorded is None:
            self._append({"format": FORMAT, "grid": digest})
            with os_errors_as(StorageError, f"{path} cannot be written", advice="make room, then resume the run"):
                sync_folder(path.parent)

    def add(self, curves: Mapping[int, Curves]) -> None:
        """Record the jobs of a finished stack.

        Raises
        ------
        StorageError
            If the file cannot be written.
        """
        self.curves |= curves
        if self.path is not None:
            self._append({str(job): curve for job, curve in curves.items()})

    def _append(self, line: Mapping[str, Any]) -> None:
        assert self.path is not None
        with os_errors_as(StorageError, f"{self.path} cannot be written", advice="make room, then resume the run"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            fd = durable.system.open(self.path, flags, 0o666)
            try:
                append_bytes(fd, self.path, json.dumps(line).encode() + b"\n")
            finally:
                durable.system.close(fd)
