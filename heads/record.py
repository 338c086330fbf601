"""Finished jobs of a grid, kept line by line in a file, so that an interrupted grid continues where it stopped.

The first line is {"grid": digest of everything the results depend on}; every other one {"<job>": {metric: curve}} of
one stack. A line is flushed to the disk when its stack is done; one that a kill cut short is dropped.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consistency.errors import InputError, StorageError, os_errors_as

Curves = dict[str, list[float]]


class Record:
    """curves: by job number. Without a path they are kept in memory only."""

    def __init__(self, path: Path | None, digest: str) -> None:
        self.path = path
        self.curves: dict[int, Curves] = {}
        if path is None:
            return
        data = path.read_bytes() if path.exists() else b""
        complete = data[: data.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in complete.splitlines()]
            recorded = lines[0]["grid"] if lines else None
            known = {int(job): curves for line in lines[1:] for job, curves in line.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is no record of a grid: remove it, or name another file") from error
        if recorded is None:
            complete = b""
        elif recorded != digest:
            raise InputError(f"{path} records another grid or other data: resume it with the same, or begin anew")
        self.curves |= known
        if len(complete) < len(data):
            os.truncate(path, len(complete))
        if recorded is None:
            self._append({"grid": digest})

    def add(self, curves: Mapping[int, Curves]) -> None:
        self.curves |= curves
        if self.path is not None:
            self._append({str(job): curve for job, curve in curves.items()})

    def _append(self, line: Mapping[str, Any]) -> None:
        assert self.path is not None
        advice = "make room and start again"
        with os_errors_as(StorageError, f"cannot write {self.path}", advice=advice), self.path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
