"""All runs below a folder: what each one is, its main figures, its age and size, and which may be deleted."""

import fnmatch
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from consistency.durable import TEMP_PREFIX
from consistency.errors import ConsistencyError, InputError, StorageError, one_line, os_errors_as
from consistency.evaluation.systems import competes
from consistency.runs.folder import UNFINISHED
from consistency.runs.read import read_bytes, read_info

State = Literal["finished", "unfinished", "broken"]
MARKS = ("run.json", UNFINISHED)
LATEST = datetime(9999, 1, 1).timestamp()  # a file system may hold times that no date can
# What commands write into a run folder; a folder with anything else in it is not deleted.
FILES = ("*.json", "*.csv", "*.png", "*.md", "*.html", "*.toml", "*.safetensors", "*.pth", "*.sha256")
OURS = (*FILES, *MARKS, f"{TEMP_PREFIX}*")
FOLDERS = ("model", "checkpoint", "head-*", "data")


@dataclass(frozen=True)
class Entry:
    """A run folder.

    Attributes
    ----------
    name : str
        Its path below the folder that was searched.
    path : Path
        The folder.
    state : {"finished", "unfinished", "broken"}
        Whether its command finished; broken if what it wrote cannot be read.
    bytes : int
        Size of all files in it, those of runs inside it too.
    changed : float
        When it finished or, if it did not, when its folder was last written to; seconds since 1970.
    command, backbone, protocol : str
        Empty if unknown.
    problem : str or None
        Why it is broken.
    best : mapping or None
        Entry of metrics.json of the learned system with the highest mean of macro-F1 and QWK, on test rows if there
        are any; None if there is none.
    systems : int
        Number of learned systems on the same rows.
    """

    name: str
    path: Path
    state: State
    bytes: int
    changed: float
    command: str = ""
    backbone: str = ""
    protocol: str = ""
    problem: str | None = None
    best: Mapping[str, Any] | None = field(default=None, repr=False)
    systems: int = 0

    def as_dict(self) -> dict[str, Any]:
        """What `runs --json` prints."""
        changed = datetime.fromtimestamp(min(max(self.changed, 0.0), LATEST))
        best = {} if self.best is None else {key: self.best[key] for key in ("system", "split", "n", "metrics", "ci95")}
        return {
            "run": self.name,
            "path": str(self.path),
            "state": self.state,
            "problem": self.problem,
            "command": self.command or None,
            "backbone": self.backbone or None,
            "protocol": self.protocol or None,
            "changed": changed.astimezone().isoformat(timespec="seconds"),
            "bytes": self.bytes,
            **dict.fromkeys(("system", "split", "n", "metrics", "ci95")),
            **best,
        }


def list_runs(folder: Path) -> list[Entry]:
    """Describe every run below a folder, sorted by name. Links are not followed.

    Raises
    ------
    InputError
        If `folder` is a file.
    """
    if folder.is_file():
        raise InputError(f"{folder} is a file, expected the folder of the runs: name another one")
    return [describe(path, folder) for path in sorted(_run_folders(folder))]


def describe(path: Path, below: Path) -> Entry:
    """Describe one run folder; whatever cannot be read makes it broken."""
    name = path.relative_to(below).as_posix() if path != below else path.resolve().name
    size, changed = _measure(path)
    try:
        if not (path / "run.json").exists():
            begun = json.loads(read_bytes(path, UNFINISHED))
            return Entry(name, path, "unfinished", size, changed, command=str(begun["command"]))
        info = read_info(path)
        entries = _metrics(path) if (path / "metrics.json").exists() else []
        finished = datetime.fromisoformat(str(info["finished"])).timestamp()
        best, systems = _best(entries)
    except (
        *(ConsistencyError, OSError, ValueError, TypeError, KeyError),
        *(AttributeError, OverflowError, RecursionError),
    ) as error:
        problem = str(error) if isinstance(error, ConsistencyError) else f"{type(error).__name__}: {one_line(error)}"
        return Entry(name, path, "broken", size, changed, problem=problem)
    protocols = dict.fromkeys(str(entry["protocol"]) for entry in entries)
    return Entry(
        name,
        path,
        "finished",
        size,
        finished,
        command=info["command"],
        backbone=str(info.get("backbone", "")),
        protocol=", ".join(protocols),
        best=best,
        systems=systems,
    )


def check_deletable(path: Path) -> None:
    """Check that a folder is a run and holds nothing that no run writes.

    Raises
    ------
    InputError
        If not; the message says what was found.
    """
    if path.is_symlink() or not path.is_dir():
        raise InputError(f"{path} is no folder: name a run folder")
    if not any((path / mark).is_file() and not (path / mark).is_symlink() for mark in MARKS):
        raise InputError(f"{path} is no run folder (it has no run.json): nothing else is deleted")
    if (entry := describe(path, path)).state == "broken" and not _is_recorded(path):
        raise InputError(f"{path} cannot be told to be a run ({entry.problem}): delete it yourself")
    here = Path.cwd().resolve()
    if path.resolve() in (here, *here.parents):
        raise InputError(f"{path} holds the working directory: change to another one first")
    for found in sorted(path.iterdir()):
        inside = found.is_dir() and not found.is_symlink()
        if inside and any((found / mark).is_file() for mark in MARKS):
            check_deletable(found)
        elif not any(fnmatch.fnmatch(found.name, pattern) for pattern in (FOLDERS if inside else OURS)):
            raise InputError(f"{path} holds {found.name}, which no run writes: move it elsewhere first")


def delete_run(path: Path) -> None:
    """Delete a run folder that `check_deletable` accepts. It is renamed first: a kill leaves no half of a run.

    Raises
    ------
    InputError
        If it is not accepted.
    StorageError
        If it cannot be deleted.
    """
    check_deletable(path)
    with os_errors_as(StorageError, f"cannot delete {path}"):
        doomed = path.rename(path.with_name(f"{TEMP_PREFIX}{secrets.token_hex(8)}"))
        shutil.rmtree(doomed)


def _is_recorded(path: Path) -> bool:
    """Whether run.json, or what a run writes when it begins, says which command it is of."""
    for read in (lambda: read_info(path)["command"], lambda: json.loads(read_bytes(path, UNFINISHED))["command"]):
        try:
            if isinstance(found := read(), str) and found:
                return True
        except (ConsistencyError, OSError, ValueError, TypeError, KeyError, RecursionError):
            continue
    return False


def _run_folders(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(TEMP_PREFIX)]
        if any(mark in files for mark in MARKS):
            yield Path(root)


def _measure(path: Path) -> tuple[int, float]:
    """Bytes of all files, and when the newest file of the folder itself was written."""
    size, newest = 0, 0.0
    for root, _, files in os.walk(path):
        for name in files:
            status = os.lstat(os.path.join(root, name))
            size += status.st_size
            if root == str(path):
                newest = max(newest, status.st_mtime)
    return size, newest


def _metrics(path: Path) -> list[dict[str, Any]]:
    """The entries of metrics.json, as far as they are looked at here."""
    entries = json.loads(read_bytes(path, "metrics.json"))
    for entry in entries:
        for name in ("qwk", "macro_f1"):
            numbers = [entry["metrics"][name], *(entry["ci95"][name] or (None, None))]
            if not all(number is None or isinstance(number, int | float) for number in numbers):
                raise ValueError(f"metrics.json has {numbers} for {name} of {entry['system']}")
        if not all(isinstance(entry[name], str) for name in ("system", "split", "protocol")):
            raise ValueError("metrics.json has an entry without system, split or protocol")
    return list(entries)


def _best(entries: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, int]:
    for split in ("test", "cv"):
        learned = [entry for entry in entries if entry["split"] == split and competes(entry["system"])]
        if learned:
            return max(learned, key=_merit), len(learned)
    return None, 0


def _merit(entry: Mapping[str, Any]) -> float:
    return float((entry["metrics"]["macro_f1"] or 0) + (entry["metrics"]["qwk"] or 0))
