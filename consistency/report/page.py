"""The report: finished runs as one HTML file that needs nothing else, no network, no other file."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from consistency.data.leakage import Leakage
from consistency.durable import make_folder, write_file
from consistency.errors import InputError
from consistency.evaluation.controls import CONTROLS, competes
from consistency.evaluation.metrics import calibration_bins, per_score
from consistency.evaluation.results import NO_BACKBONE, Audited, Result
from consistency.report.gallery import data_uri, main_result, make_gallery, merit_of, thumbnails
from consistency.runs.read import Run, read_audit
from consistency.scale import confusion
from consistency.text import FURTHER_TITLES, LOWER_IS_BETTER, METRIC_TITLES, SPLITS, interval_text, number

SHOWN_DOUBTS = 24
PROTOCOLS = {
    "grouped": "Repeated pairs are merged and all rows of an image stay on one side: every test image is new.",
    "hashtag": "Repeated pairs are merged and all rows of a hashtag stay on one side: every test hashtag is new, "
    "images are not.",
    "file": "The split was read from a file.",
    "paper": "The published split by rows: a test image has mostly been seen in training with other hashtags, "
    "and some pairs have been seen as they are. For comparison with published figures only.",
}


@dataclass(frozen=True)
class Cell:
    """One figure and its place on the scale of its column; places are 0..1, None where undefined."""

    text: str
    interval: str
    at: float | None
    low: float | None
    high: float | None
    best: bool


@dataclass(frozen=True)
class Line:
    """One system in a table."""

    system: str
    backbone: str
    run: str
    control: bool
    n: int
    cells: tuple[Cell, ...]
    further: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """All systems that answered for one protocol and split. baseline: best control's place in each column."""

    protocol: str
    split: str
    about: str
    leakage: str
    lines: tuple[Line, ...]
    baseline: tuple[float | None, ...]


@dataclass(frozen=True)
class Panel:
    """One system's confusion matrix, (count, share of its row) by cell, per-score figures, and reliability diagram.

    scores: precision, recall, F1 and number of true rows of each score.
    """

    title: str
    about: str
    control: bool
    cells: tuple[tuple[tuple[int, float], ...], ...]
    scores: tuple[tuple[str, str, str, int], ...]
    bins: tuple[tuple[float, float, float], ...]  # top probability, share correct, share of the rows
    ece: str


@dataclass(frozen=True)
class Doubtful:
    """A row whose label is doubtful, with its image (None where it cannot be shown)."""

    row: Audited
    source: str | None


def write_report(runs: Sequence[Run], out: Path, *, images: Path | None = None) -> None:
    """Write `out`, one self-contained HTML file about all `runs`.

    images: the folder of the images; without it each run's own, where that is still there. Where an image cannot
    be read its name stands for it. Everything that came from data is escaped, and the page's own policy forbids any
    script but its own.
    """
    if not runs or not any(run.results for run in runs):
        raise InputError("there is no result to report: name at least one run folder that evaluated something")
    results = _distinct(runs)
    groups = _groups(results)
    shown = main_result([result for _, result in groups[0]])
    main = next(run for run, result in groups[0] if result is shown)
    page = _template().render(
        tables=[_table(group, several=len(runs) > 1) for group in groups],
        headline=_headline(groups),
        columns=_headings(METRIC_TITLES),
        further=_headings(FURTHER_TITLES),
        lower=LOWER_IS_BETTER,
        panels=(panels := [_panel(result) for _, result in sorted(results, key=_panel_order)]),
        calibrated=[panel for panel in panels if panel.bins and not panel.control],
        trainings=[(run.path.name, source) for run in runs if (source := _training(run))],
        gallery=make_gallery([result for _, result in groups[0]], shown, images or _pictures(main)),
        doubtful=[row for run in runs for row in _doubtful(run, images or _pictures(run))],
        precisions=[found for run in runs if (found := run.config.get("precision"))],
        audit_only=all(run.command == "audit" for run in runs),
        runs=[_about_run(run) for run in runs],
        written=f"{datetime.now():%Y-%m-%d %H:%M}",
    )
    make_folder(out.parent)
    write_file(out, page.encode("utf-8", "replace"))


def _headings(titles: Mapping[str, str]) -> dict[str, str]:
    return {name: title[0].upper() + title[1:] for name, title in titles.items()}


def _distinct(runs: Sequence[Run]) -> list[tuple[Run, Result]]:
    """Every result once: runs on the same rows repeat the same controls."""
    found: dict[object, tuple[Run, Result]] = {}
    for run in runs:
        for result in run.results:
            p = result.predictions
            key = (
                p.system,
                p.backbone,
                p.protocol,
                p.split,
                p.rows.tobytes(),
                p.predicted.tobytes(),
                p.values.tobytes(),
            )
            found.setdefault(key, (run, result))
    return sorted(found.values(), key=lambda pair: pair[1].predictions.system not in CONTROLS)


def _groups(results: Sequence[tuple[Run, Result]]) -> list[list[tuple[Run, Result]]]:
    """Results that answered under one protocol and split, the most honest first."""
    groups: dict[tuple[str, str], list[tuple[Run, Result]]] = {}
    for run, result in results:
        groups.setdefault((result.predictions.protocol, result.predictions.split), []).append((run, result))
    return sorted(groups.values(), key=lambda group: _honesty(group[0][1]))


def _honesty(result: Result) -> tuple[int, bool]:
    """Sorts by PROTOCOLS, whose first leaks least; test rows before answers out of fold."""
    protocol, order = result.predictions.protocol, list(PROTOCOLS)
    return order.index(protocol) if protocol in order else len(order), result.predictions.split != "test"


def _table(members: Sequence[tuple[Run, Result]], several: bool) -> Table:
    columns = [_column([result for _, result in members], name) for name in METRIC_TITLES]
    lines = [
        Line(
            system=p.system,
            backbone="" if p.backbone == NO_BACKBONE else p.backbone,
            run=run.path.name if several and p.system not in CONTROLS else "",
            control=p.system in CONTROLS,
            n=len(p),
            cells=tuple(column[i] for column in columns),
            further=tuple(number(result.metrics.get(name)) for name in FURTHER_TITLES),
        )
        for i, (run, result) in enumerate(members)
        for p in [result.predictions]
    ]
    baseline = []
    for name, column in zip(METRIC_TITLES, columns, strict=True):
        places = [cell.at for cell, line in zip(column, lines, strict=True) if line.control and cell.at is not None]
        baseline.append((min if name in LOWER_IS_BETTER else max)(places) if places else None)
    run, result = members[0]
    protocol, split = result.predictions.protocol, result.predictions.split
    return Table(
        protocol,
        SPLITS.get(split, split),
        PROTOCOLS.get(protocol, ""),
        _leakage(run, result),
        tuple(lines),
        tuple(baseline),
    )


def _column(results: Sequence[Result], name: str) -> list[Cell]:
    """The figures of one metric on one scale that holds every interval."""
    values = [result.metrics.get(name) for result in results]
    intervals = [result.ci95.get(name) for result in results]
    ends = [v for v in values if v is not None] + [end for ci in intervals if ci for end in ci]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.5
    low, high = low - margin, high + margin
    racing = [competes(result.predictions.system) for result in results]
    ranked = [v for v, in_race in zip(values, racing, strict=True) if v is not None and in_race]
    best = (min if name in LOWER_IS_BETTER else max)(ranked) if ranked else None

    def place(value: float | None) -> float | None:
        return None if value is None else (value - low) / (high - low)

    return [
        Cell(
            text=number(value),
            interval=interval_text(ci),
            at=place(value),
            low=place(ci[0]) if ci else None,
            high=place(ci[1]) if ci else None,
            best=value is not None and value == best and in_race and len(results) > 1,
        )
        for in_race, value, ci in zip(racing, values, intervals, strict=True)
    ]


def _leakage(run: Run, result: Result) -> str:
    """What of the rows answered was in train, as the run tells it."""
    told = run.config.get("division", {}).get("leakage", {}).get(result.predictions.split)
    text = str(Leakage(**told)) if told else ""
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _headline(groups: Sequence[Sequence[tuple[Run, Result]]]) -> dict[str, str] | None:
    """The learned system of highest merit under the most honest protocol there is, beside the best control."""
    for members in groups:
        group = [result for _, result in members]
        learned = [result for result in group if competes(result.predictions.system)]
        if learned:
            break
    else:
        return None
    best = max(learned, key=merit_of)
    control = max((r for r in group if r.predictions.system in CONTROLS), key=merit_of, default=None)
    p = best.predictions
    return {
        "system": p.system,
        "backbone": p.backbone,
        "protocol": p.protocol,
        "n": f"{len(p):,}",
        "pictures": f"{len(set(p.images)):,}",
        "within_one": f"{best.metrics['within_one'] or 0:.0%}",
        "control": control.predictions.system if control else "",
        **{name: number(best.metrics[name]) for name in METRIC_TITLES},
        **{f"{name}_interval": interval_text(best.ci95.get(name)) for name in METRIC_TITLES},
        **{f"control_{name}": number(control.metrics[name]) if control else "" for name in METRIC_TITLES},
    }


def _panel_order(pair: tuple[Run, Result]) -> tuple[object, ...]:
    return *_honesty(pair[1]), pair[1].predictions.system in CONTROLS


def _panel(result: Result) -> Panel:
    p = result.predictions
    matrix = confusion(p.scores - 1, p.predicted - 1)
    total = np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cells = tuple(
        tuple((int(count), float(share)) for count, share in zip(counts, shares, strict=True))
        for counts, shares in zip(matrix, matrix / total, strict=True)
    )
    scores = tuple((number(a), number(b), number(f1), n) for a, b, f1, n in per_score(p.scores, p.predicted))
    bins = () if p.probabilities is None else calibration_bins(p.scores, p.probabilities)
    about = [name for name in (p.backbone, p.protocol, SPLITS.get(p.split, p.split)) if name != NO_BACKBONE]
    ece = number(result.metrics.get("ece"))
    return Panel(p.system, ", ".join(about), p.system in CONTROLS, cells, scores, bins, ece)


def _pictures(run: Run) -> Path | None:
    """The folder in which the run found its images, if it is still there."""
    recorded = run.config.get("source", {}).get("images")
    return Path(recorded) if recorded and Path(recorded).is_dir() else None


def _doubtful(run: Run, images: Path | None) -> list[Doubtful]:
    """The most doubtful labels of an audit, as many as it was asked to show."""
    rows = (read_audit(run.path) or [])[: run.config.get("top", SHOWN_DOUBTS)]
    sources = thumbnails(list(dict.fromkeys(row.image for row in rows)), images) if images else {}
    return [Doubtful(row, sources.get(row.image)) for row in rows]


def _training(run: Run) -> str | None:
    path = run.path / "training_results.png"
    return data_uri("image/png", path.read_bytes()) if path.is_file() else None


def _about_run(run: Run) -> dict[str, Any]:
    skipped = run.path / "skipped.csv"
    info = run.info
    return {
        "name": run.path.name,
        "command": run.command,
        "skipped": skipped.is_file(),
        "facts": {
            "backbone": info.get("backbone"),
            "data (SHA-256)": info.get("data_digest"),
            "embeddings (fingerprint)": info.get("fingerprint"),
            "finished": info.get("finished"),
            "seconds": _pairs(info.get("timings")),
            "seeds": _pairs(info.get("seeds")),
            "versions": _pairs(info.get("versions")),
        },
        "config": json.dumps(run.config, ensure_ascii=False, indent=2),
    }


def _pairs(mapping: object) -> str:
    if not isinstance(mapping, Mapping):
        return ""
    return ", ".join(f"{key} {value}" for key, value in mapping.items())


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["sha256"] = lambda text: base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode()
    return environment.from_string(
        package_files("consistency.report").joinpath("templates", "report.html.j2").read_text(encoding="utf-8")
    )
