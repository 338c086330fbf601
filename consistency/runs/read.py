"""Read finished run folders back, and refuse whatever is not what a run writes.

A run folder may come from somebody else, or have been edited by hand. Every value is checked before it is used, and no
symbolic link inside the folder is followed: it could lead to a private file that then ends up in a report.
"""

import csv
import io
import json
import math
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from consistency.data.pairs import SKIPPED_COLUMNS, Skipped
from consistency.data.trained_on import SeenByBackbone
from consistency.errors import InputError, one_line, os_errors_as
from consistency.evaluation.results import Audited, Predictions, Result
from consistency.folders import refuse_pipes
from consistency.format_version import check_format
from consistency.options import from_config, with_urls
from consistency.runs.folder import (
    AUDIT_COLUMNS,
    CHANCES,
    PREDICTION_COLUMNS,
    RUN_FORMAT,
    SPLIT_COLUMNS,
    UNFINISHED,
    read_unfinished,
)
from consistency.text import FURTHER_TITLES, METRIC_TITLES, SPLITS

UNANSWERED = ("extract", "paper")  # commands whose own folder holds no predictions
NAMES = ("system", "backbone", "protocol", "split")
LARGEST = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run folder.

    Attributes
    ----------
    path : Path
        The folder.
    info : dict
        The content of `run.json`.
    results : tuple of Result
        One for each system and split, in the order of `metrics.json`.
    skipped : tuple of Skipped
        The lines of `skipped.csv`.
    """

    path: Path
    info: dict[str, Any]
    results: tuple[Result, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def command(self) -> str:
        return str(self.info["command"])

    @property
    def config(self) -> dict[str, Any]:
        """The options of the command."""
        return dict(self.info["config"])

    def setting(self, *keys: str) -> Any:
        """The option at `keys` of `config`, from the outside in; None if it is absent."""
        return _at(self.info["config"], keys)

    def detail(self, *keys: str) -> Any:
        """What the command found out besides its results, at `keys` of `details`; None if it is absent."""
        return _at(self.info["details"], keys)


@dataclass(frozen=True)
class Begun:
    """A run that was interrupted: its options, and the folder in which it began (None if that is gone)."""

    options: Any
    directory: Path | None


def read_begun(path: Path, command: str, kind: type[Any]) -> Begun:
    """The options with which the unfinished run of `command` in `path` began.

    Raises
    ------
    InputError
        If there is no such run, or another version of this program began it.
    """
    begun = read_unfinished(path, command)
    options = with_urls(read_options(path / UNFINISHED, begun["config"], kind))
    output = replace(options.output, resume=path.absolute(), out=None)
    directory = Path(begun["directory"])
    return Begun(replace(options, output=output), directory if directory.is_dir() else None)


def read_options(file: Path, config: Any, kind: type[Any], *, complete: bool = True) -> Any:
    """The record of options `kind` that `file` records as `config`; the one way back from a run to its options.

    Raises
    ------
    InputError
        If an option is unknown, of another type or, with `complete`, missing. The message names the file.
    """
    try:
        return from_config(kind, config, complete=complete)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def read_info(path: Path) -> dict[str, Any]:
    """The content of `run.json` of a finished run folder.

    Raises
    ------
    InputError
        If `path` is no finished run folder, or its `run.json` is damaged.
    """
    refuse_pipes(path, InputError)
    if not (path / "run.json").is_file():
        state = "an unfinished run" if (path / UNFINISHED).exists() else "no run folder"
        raise InputError(f"{path} is {state} (it has no run.json): name the folder that a finished command printed")
    with refusing_damage(path / "run.json"):
        info = {"command": "", "config": {}, "details": {}, **read_json(path, "run.json")}
        check_format(path / "run.json", info.get("format", 1), RUN_FORMAT, instead="run the command of its run again")
        _expect(isinstance(info["command"], str), "command is no text")
        for part in ("config", "details"):
            _expect(isinstance(info[part], dict), f"{part} is no object")
        return info


def read_run(path: Path) -> Run:
    """Read a finished run folder.

    Raises
    ------
    InputError
        If `path` is no finished run folder, or one of its files is missing, damaged or a link.
    """
    info = read_info(path)
    if info["command"] in UNANSWERED:
        inside = ": name one of the runs in it" if info["command"] == "paper" else ""
        raise InputError(f"{path} is a run of {info['command']}, which holds no predictions of its own{inside}")
    with refusing_damage(path / "predictions.csv"):
        predicted = _predictions(path)
    with refusing_damage(path / "metrics.json"):
        results = tuple(_result(entry, predicted) for entry in read_json(path, "metrics.json"))
    skipped: tuple[Skipped, ...] = ()
    if (path / "skipped.csv").is_file():
        with refusing_damage(path / "skipped.csv"):
            skipped = tuple(
                Skipped(int(line["row"]) if line["row"] else None, line["image"], line["hashtag"], line["reason"])
                for line in read_lines(path, "skipped.csv", SKIPPED_COLUMNS)
            )
    return Run(path, info, results, skipped)


def read_audit(path: Path) -> list[Audited] | None:
    """The lines of `audit.csv` in the run folder `path`, None if it has none. Raises InputError if it is damaged."""
    if not (path / "audit.csv").is_file():
        return None
    with refusing_damage(path / "audit.csv"):
        return [
            Audited(
                rank=_integer(line["rank"], 1),
                row=_integer(line["row"], 1),
                image=line["image"],
                hashtag=line["hashtag"],
                score=_integer(line["score"], 1, 5),
                suggested=_integer(line["suggested"], 1, 5),
                doubt=finite(line["doubt"]),
                chances=tuple(_chance(line[name]) for name in CHANCES),
                repeats=tuple(_integer(row, 1) for row in line["repeats"].split()),
            )
            for line in read_lines(path, "audit.csv", AUDIT_COLUMNS)
        ]


def read_sides(path: Path) -> dict[int, str]:
    """The side of each row by its number, from `split.csv` of the run folder `path`; empty if it has none.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    if not (path / "split.csv").is_file():
        return {}
    with refusing_damage(path / "split.csv"):
        return {_integer(line["row"], 1): line["split"] for line in read_lines(path, "split.csv", SPLIT_COLUMNS)}


def read_bytes(folder: Path, name: str) -> bytes:
    """The file `name` of a run folder.

    Raises
    ------
    InputError
        If it is a symbolic link, or anything else than a regular file.
    OSError
        If it cannot be read.
    """
    path = folder / name
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        found = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no regular file"
        raise InputError(f"{path} is {found}, and a run folder holds files only: copy the file into the folder")
    # Checked again at opening, since a link or a FIFO could have taken the file's place meanwhile.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        return file.read()


@contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong when `path` is read into an InputError of one line."""
    try:
        with os_errors_as(InputError, f"{path} cannot be read"):
            yield
    except KeyError as error:
        raise InputError(f"{path} is damaged: {error} is missing; run the command of its run again") from error
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, csv.Error) as error:
        raise InputError(f"{path} is damaged: {one_line(error)}; run the command of its run again") from error


def read_json(folder: Path, name: str) -> Any:
    """The JSON of a file of a run folder; raises ValueError for a number that is not finite."""

    def refuse(text: str) -> None:
        raise ValueError(f"{text} is no finite number")

    return json.loads(read_bytes(folder, name).decode("utf-8"), parse_constant=refuse)


def read_lines(folder: Path, name: str, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The lines of a CSV of a run folder by column; raises ValueError if its columns are others."""
    reader = csv.DictReader(io.StringIO(read_bytes(folder, name).decode("utf-8"), newline=""))
    found = tuple(reader.fieldnames or ())
    if more := set(found) - set(columns) if set(found) > set(columns) else ():
        raise InputError(
            f"{folder / name} has columns that this version does not know ({', '.join(sorted(more)):.80}): upgrade the "
            "program, or run the command of its run again"
        )
    _expect(found == columns, f"its columns are {', '.join(found)}, expected {', '.join(columns)}")
    for number, line in enumerate(reader, start=1):
        _expect(None not in line and None not in line.values(), f"line {number} has not {len(columns)} cells")
        yield line


def _predictions(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The columns of Predictions by system and split."""
    grouped: dict[tuple[str, str], list[dict[str, str]]] = {}
    for line in read_lines(folder, "predictions.csv", PREDICTION_COLUMNS):
        grouped.setdefault((line["system"], line["split"]), []).append(line)

    def column(lines: list[dict[str, str]], name: str, read: Callable[[str], Any], kind: Any) -> Any:
        return np.array([read(line[name]) for line in lines], dtype=kind)

    return {
        key: {
            "rows": column(lines, "row", lambda cell: _integer(cell, 1), np.int64),
            "images": column(lines, "image", str, object),
            "hashtags": column(lines, "hashtag", str, object),
            "scores": column(lines, "score", lambda cell: _integer(cell, 1, 5), np.int64),
            "predicted": column(lines, "predicted", lambda cell: _integer(cell, 1, 5), np.int64),
            "values": column(lines, "value", finite, np.float64),
            "probabilities": None
            if all(line[name] == "" for line in lines for name in CHANCES)
            else np.array([[_chance(line[name]) for name in CHANCES] for line in lines]),
            "clusters": column(lines, "cluster", _integer, np.int64),
        }
        for key, lines in grouped.items()
    }


def _result(entry: Any, predicted: Mapping[tuple[str, str], dict[str, Any]]) -> Result:
    """A Result from its entry in metrics.json. An older run may lack a metric: that is undefined."""
    names = {name: entry[name] for name in NAMES}
    _expect(all(isinstance(name, str) for name in names.values()), f"{names} should be text")
    _expect(names["split"] in SPLITS, f"the split {names['split']!r} is none of {', '.join(SPLITS)}")
    columns = predicted.get((names["system"], names["split"]))
    if columns is None:
        raise ValueError(f"predictions.csv has no rows of {names['system']}, {names['split']}")
    _expect(entry["n"] == len(columns["rows"]), f"{names['system']} has {len(columns['rows'])} rows, not {entry['n']}")
    known = dict.fromkeys((*METRIC_TITLES, *FURTHER_TITLES))
    metrics = known | {str(name): _figure(value) for name, value in entry["metrics"].items()}
    intervals = known | {str(name): _ends(value) for name, value in entry["ci95"].items()}
    return Result(Predictions(**names, **columns), metrics, intervals, _seen(entry.get("trained_on")))


def _seen(counts: Any) -> SeenByBackbone | None:
    if counts is None:
        return None
    _expect(
        all(type(count) is int and count >= 0 for count in counts.values()),
        "trained_on holds something else than counts",
    )
    return SeenByBackbone(**counts)


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise ValueError(otherwise)


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no number")
    return finite(value)


def _figure(value: Any) -> float | None:
    return None if value is None else _number(value)


def _ends(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    low, high = value
    return _number(low), _number(high)


def finite(value: Any) -> float:
    """A number; raises ValueError if it is not finite."""
    if not math.isfinite(found := float(value)):
        raise ValueError(f"{value} is no finite number")
    return found


def _chance(cell: str) -> float:
    if not 0 <= (found := float(cell)) <= 1 + 1e-6:  # rounding may leave it just above 1
        raise ValueError(f"{cell} is no probability")
    return found


def _integer(cell: str, low: int = -LARGEST, high: int = LARGEST) -> int:
    if not low <= (found := int(cell)) <= high:
        raise ValueError(f"{cell} is not from {low} to {high}")
    return found


def _at(found: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
