"""Finished run folders, read back."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consistency.data.pairs import Skipped
from consistency.errors import InputError, os_errors_as
from consistency.evaluation.results import Audited, Predictions, Result
from consistency.runs.folder import CHANCES, PREDICTION_COLUMNS, UNFINISHED

UNANSWERED = ("extract", "paper")  # commands whose own folder holds no predictions


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run folder as read back. info: the whole of `run.json`; skipped: the lines of `skipped.csv`."""

    path: Path
    info: dict[str, Any]
    results: tuple[Result, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def command(self) -> str:
        return str(self.info["command"])

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.info["config"])


def read_info(path: Path) -> dict[str, Any]:
    """The `run.json` of a finished run folder. Raises InputError where it is none, or where the file is damaged."""
    if not (path / "run.json").is_file():
        state = "an unfinished run" if (path / UNFINISHED).exists() else "no run folder"
        raise InputError(f"{path} is {state} (it has no run.json): name the folder that a finished command printed")
    try:
        with os_errors_as(InputError, f"{path / 'run.json'} cannot be read"):
            return {"command": "", "config": {}, **json.loads((path / "run.json").read_text(encoding="utf-8"))}
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path} holds a damaged run ({type(error).__name__}: {error}): run its command again"
        ) from error


def read_run(path: Path) -> Run:
    """Read a finished run folder. Raises InputError where it is none, or where a file of it is damaged."""
    info = read_info(path)
    if info["command"] in UNANSWERED:
        inside = ": name one of the runs in it" if info["command"] == "paper" else ""
        raise InputError(f"{path} is a run of {info['command']}, which holds no predictions of its own{inside}")
    try:
        entries = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
        with (path / "predictions.csv").open(encoding="utf-8", newline="") as file:
            predicted = _read_predictions(csv.DictReader(file))
        results = []
        for entry in entries:
            columns = predicted[entry["system"], entry["split"]]
            names = {key: entry[key] for key in ("system", "backbone", "protocol", "split")}
            intervals = {name: tuple(ci) if ci else None for name, ci in entry["ci95"].items()}
            results.append(Result(Predictions(**names, **columns), entry["metrics"], intervals))
        return Run(path, info, tuple(results), _read_skipped(path / "skipped.csv"))
    except OSError as error:
        raise InputError(f"{path} lacks a file of a run: {error.strerror}: {error.filename}") from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(
            f"{path} holds a damaged run ({type(error).__name__}: {error}): run its command again"
        ) from error


def read_audit(path: Path) -> list[Audited] | None:
    """The lines of a run's `audit.csv`; None where the run has none. Raises InputError where it is damaged."""
    try:
        with (path / "audit.csv").open(encoding="utf-8", newline="") as file:
            return [
                Audited(
                    rank=int(line["rank"]),
                    row=int(line["row"]),
                    image=line["image"],
                    hashtag=line["hashtag"],
                    score=int(line["score"]),
                    suggested=int(line["suggested"]),
                    doubt=float(line["doubt"]),
                    chances=tuple(float(line[name]) for name in CHANCES),
                    repeats=tuple(map(int, line["repeats"].split())),
                )
                for line in csv.DictReader(file)
            ]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise InputError(
            f"{path / 'audit.csv'} is damaged ({type(error).__name__}: {error}): run its command again"
        ) from error


def _read_predictions(reader: "csv.DictReader[str]") -> dict[tuple[str, str], dict[str, Any]]:
    if tuple(reader.fieldnames or ()) != PREDICTION_COLUMNS:
        raise ValueError(f"predictions.csv has columns {reader.fieldnames}, expected {PREDICTION_COLUMNS}")
    grouped: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in reader:
        grouped.setdefault((row["system"], row["split"]), []).append(row)
    found = {}
    for key, rows in grouped.items():
        chances = None if rows[0]["p1"] == "" else np.array([[float(row[name]) for name in CHANCES] for row in rows])
        found[key] = {
            "rows": np.array([int(row["row"]) for row in rows], dtype=np.int64),
            "images": np.array([row["image"] for row in rows], dtype=object),
            "hashtags": np.array([row["hashtag"] for row in rows], dtype=object),
            "scores": np.array([int(row["score"]) for row in rows], dtype=np.int64),
            "predicted": np.array([int(row["predicted"]) for row in rows], dtype=np.int64),
            "values": np.array([float(row["value"]) for row in rows], dtype=np.float64),
            "probabilities": chances,
            "clusters": np.array([int(row["cluster"]) for row in rows], dtype=np.int64),
        }
    return found


def _read_skipped(path: Path) -> tuple[Skipped, ...]:
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            Skipped(int(line["row"]) if line["row"] else None, line["image"], line["hashtag"], line["reason"])
            for line in csv.DictReader(file)
        )
