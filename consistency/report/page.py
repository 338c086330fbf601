"""The report: finished runs as one HTML file that needs no network and no other file."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from consistency.data.annotations import COLUMNS as ANSWER_COLUMNS
from consistency.data.files import find_images
from consistency.durable import make_folder, write_file
from consistency.errors import InputError
from consistency.evaluation.doubt import Precision
from consistency.evaluation.metrics import per_score
from consistency.evaluation.reliability import Bin, reliability
from consistency.evaluation.results import NO_BACKBONE, Audited, Result
from consistency.evaluation.systems import CONTROLS, competes
from consistency.report.gallery import make_gallery, thumbnails
from consistency.report.hashtags import hashtag_errors
from consistency.report.similarities import read_histogram
from consistency.report.standing import OVERALL, Comparison, main_result, name_of
from consistency.report.tables import Member, heading, honesty, make_table, names
from consistency.report.training import read_training
from consistency.runs.origin import made_here
from consistency.runs.read import Run, read_audit
from consistency.scale import confusion
from consistency.text import FURTHER_TITLES, LOWER_IS_BETTER, METRIC_TITLES, SPLITS, interval_text, number, percent

SHOWN_DOUBTS = 24
SHOWN_HASHTAGS = 300  # so that a page about 20,000 rows still opens at once
AGAINST = {"better": "better than", "worse": "worse than", "level": "cannot be told apart from"}


@dataclass(frozen=True)
class Fact:
    """A metric of the headline's system, and how it compares with the best control on that metric."""

    title: str
    lower: bool
    figure: str
    interval: str
    against: str


@dataclass(frozen=True)
class Headline:
    """What the page says first: the learned system of highest overall figure, and what can be said for it."""

    system: str
    backbone: str
    rows: str
    standing: str
    within_one: str
    seen: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Panel:
    """The confusion matrix, figures by score, and reliability diagram of a system.

    Attributes
    ----------
    cells : tuple
        Rows of (count, share of the row).
    scores : tuple
        Precision, recall, F1 and number of rows of each score.
    bins : tuple of Bin
        The bins of the reliability diagram; empty for controls and without probabilities.
    """

    title: str
    about: str
    control: bool
    cells: tuple[tuple[tuple[int, float], ...], ...]
    scores: tuple[tuple[str, str, str, int], ...]
    bins: tuple[Bin, ...]
    ece: str


@dataclass(frozen=True)
class Doubtful:
    """An image with its rows whose labels are doubtful.

    Attributes
    ----------
    image : str
        Its file name.
    source : str or None
        Its thumbnail as a data: URI; None if it cannot be shown.
    digest : str
        SHA-256 of its file in hexadecimal; empty if it cannot be shown.
    rows : tuple of Audited
        The most doubtful first.
    """

    image: str
    source: str | None
    digest: str
    rows: tuple[Audited, ...]


def write_report(runs: Sequence[Run], out: Path, *, images: Path | None = None) -> None:
    """Write one self-contained HTML file about finished runs.

    Everything that comes from data is escaped, and the page's Content-Security-Policy allows no script but its own.

    Parameters
    ----------
    runs : sequence of Run
        The runs to show. Controls that several of them share are shown once.
    out : Path
        The file to write.
    images : Path, optional
        Folder of the images; by default the folder that each run recorded, if this user made the run and the folder
        is still there. An image that cannot be read is replaced by its name.

    Raises
    ------
    InputError
        If no run has a result, or a file of a run is damaged or a symbolic link.
    """
    main, shown = shown_result(runs)
    results = distinct_results(runs)
    groups = result_groups(results)
    comparisons = [Comparison([result for _, result in group]) for group in groups]
    unfamiliar = _unfamiliar(main)
    errors = hashtag_errors(shown.predictions, unfamiliar)
    panels = [_panel(result) for _, result in sorted(results, key=_panel_order)]
    page = _template().render(
        tables=[
            make_table(group, comparison, several=len(runs) > 1)
            for group, comparison in zip(groups, comparisons, strict=True)
        ],
        headline=next(filter(None, map(_headline, comparisons)), None),
        columns={name: heading(title) for name, title in METRIC_TITLES.items()},
        further={name: heading(title) for name, title in FURTHER_TITLES.items()},
        lower=LOWER_IS_BETTER,
        panels=[panel for panel in panels if not panel.control],
        controls=[panel for panel in panels if panel.control],
        histograms=list(filter(None, map(read_histogram, runs))),
        hashtags=errors[:SHOWN_HASHTAGS],
        hashtags_hidden=max(len(errors) - SHOWN_HASHTAGS, 0),
        shown_system=name_of(shown),
        answers=",".join(ANSWER_COLUMNS),
        calibrated=[panel for panel in panels if panel.bins],
        trainings=list(filter(None, map(read_training, runs))),
        gallery=make_gallery(comparisons[0].results, shown, images or _images(main), unfamiliar),
        doubtful=[row for run in runs for row in _doubtful(run, images or _images(run))],
        precisions=[found for run in runs if (found := _precision(run))],
        audit_only=all(run.command == "audit" for run in runs),
        runs=[_about_run(run) for run in runs],
        written=f"{datetime.now():%Y-%m-%d %H:%M}",
    )
    make_folder(out.parent)
    write_file(out, page.encode("utf-8", "replace"))


def distinct_results(runs: Sequence[Run]) -> list[Member]:
    """Every result once, since runs on the same rows repeat the same controls. Controls come first."""
    found: dict[object, Member] = {}
    for run in runs:
        for result in run.results:
            p = result.predictions
            about = (p.system, p.backbone, p.protocol, p.split)
            found.setdefault((*about, p.rows.tobytes(), p.predicted.tobytes(), p.values.tobytes()), (run, result))
    return sorted(found.values(), key=lambda member: member[1].predictions.system not in CONTROLS)


def result_groups(results: Sequence[Member]) -> list[list[Member]]:
    """Results by protocol and split, the most honest first."""
    groups: dict[tuple[str, str], list[Member]] = {}
    for run, result in results:
        groups.setdefault((result.predictions.protocol, result.predictions.split), []).append((run, result))
    return sorted(groups.values(), key=lambda group: honesty(group[0][1]))


def shown_result(runs: Sequence[Run]) -> Member:
    """The run and the result that a report is about first: the learned system of highest overall figure.

    Raises
    ------
    InputError
        If no run has a result.
    """
    if not any(run.results for run in runs):
        raise InputError("there is no result to report: name at least one run folder that evaluated something")
    group = result_groups(distinct_results(runs))[0]
    main = main_result([result for _, result in group])
    return next((run, result) for run, result in group if result is main)


def _headline(comparison: Comparison) -> Headline | None:
    """The headline of a group of results; None if it has no learned system."""
    best = main_result(comparison.results)
    p = best.predictions
    if not competes(p.system):
        return None
    pairs, images = (f"{n:,} {noun}{'s' * (n != 1)}" for n, noun in ((len(p), "pair"), (len(set(p.images)), "image")))
    where = "" if p.split == "test" else f", {SPLITS[p.split]}"
    facts = []
    for name, title in METRIC_TITLES.items():
        against = ""
        if control := comparison.best_control(best, name):
            verdict = AGAINST[comparison.verdict(best, control, name)]
            against = f"{verdict} {control.predictions.system}, {number(control.metrics[name])}"
        interval = interval_text(best.ci95[name])
        facts.append(Fact(heading(title), name in LOWER_IS_BETTER, number(best.metrics[name]), interval, against))
    return Headline(
        system=p.system,
        backbone="" if p.backbone == NO_BACKBONE else p.backbone,
        rows=f"{pairs} from {images} (protocol {p.protocol}{where})",
        standing=_standing(comparison),
        within_one=_within_one(comparison, best),
        seen=f"{best.trained_on.describe(p.backbone, split=p.split)}." if best.trained_on else "",
        facts=tuple(facts),
    )


def _standing(comparison: Comparison) -> str:
    """How the system of highest overall figure compares with the others; empty if there are none."""
    standing = comparison.standing(OVERALL)
    if standing is None or not standing.rivals:
        return ""
    if standing.certain:
        return "By the mean of macro-F1 and QWK it is better than every other system and control."
    sentences = ["No learned system has a higher mean of macro-F1 and QWK"]
    if standing.ahead:
        sentences.append(f"but the best control, {names(standing.ahead[:1])}, is better and sees no image")
    elif standing.level:
        sentences.append(f"but it cannot be told apart from {names(standing.level)}")
    if standing.elsewhere:
        sentences.append("and systems that answered for other rows cannot be compared in pairs")
    return ", ".join(sentences) + "."


def _within_one(comparison: Comparison, best: Result) -> str:
    """The share of scores within one of the label, beside that of the best constant answer."""
    low, high = best.ci95["within_one"] or (None, None)
    interval = "" if low is None else f" (95 % interval {percent(low)} to {percent(high)})"
    constant = comparison.constant(best)
    verdict = comparison.verdict(best, constant, "within_one")
    reached = f"always answering {constant.predictions.system} reaches {percent(constant.metrics['within_one'])}"
    ending = {"level": ", and the two cannot be told apart", "worse": ", which is better"}.get(verdict, "")
    share = percent(best.metrics["within_one"])
    return f"{share} of its scores are within one of the label{interval}; {reached}{ending}."


def _panel_order(member: Member) -> tuple[object, ...]:
    return *honesty(member[1]), member[1].predictions.system in CONTROLS


def _panel(result: Result) -> Panel:
    p = result.predictions
    matrix = confusion(p.scores - 1, p.predicted - 1)
    total = np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cells = tuple(
        tuple((int(count), float(share)) for count, share in zip(counts, shares, strict=True))
        for counts, shares in zip(matrix, matrix / total, strict=True)
    )
    scores = tuple((number(a), number(b), number(f1), n) for a, b, f1, n in per_score(p.scores, p.predicted))
    control = p.system in CONTROLS
    bins = () if control or p.probabilities is None else reliability(p.scores, p.probabilities, p.clusters)
    about = [name for name in (p.backbone, p.protocol, SPLITS[p.split]) if name != NO_BACKBONE]
    ece = number(result.metrics["ece"])
    return Panel(p.system, ", ".join(about), control, cells, scores, bins, ece)


def _unfamiliar(run: Run) -> frozenset[str]:
    """The test hashtags that are unlike every hashtag the run was trained on."""
    told = run.detail("unfamiliar", "hashtags")
    return frozenset(map(str, told)) if isinstance(told, list) else frozenset()


def _images(run: Run) -> Path | None:
    """The folder or archive in which a run of this user found its images, if it is still there."""
    if not made_here(run.path, run.info):
        return None
    recorded = run.setting("source", "images")
    try:
        if not (isinstance(recorded, str) and recorded):
            return None
        folder = Path(str(run.info.get("directory", "")), recorded)  # relative to where the run began
        return folder if folder.exists() else None
    except (OSError, ValueError):  # no name that a folder can have
        return None


def _doubtful(run: Run, images: Path | None) -> list[Doubtful]:
    """The most doubtful labels of an audit, as many as the run was asked to show, by image."""
    top = run.setting("top")
    rows = (read_audit(run.path) or [])[: top if type(top) is int and top >= 0 else SHOWN_DOUBTS]
    by_image: dict[str, list[Audited]] = {}
    for row in rows:
        by_image.setdefault(row.image, []).append(row)
    files = find_images(list(by_image), images) if images else {}
    sources = thumbnails(list(by_image), images) if images else {}
    return [
        Doubtful(image, source, _hex(files[image].digest) if source else "", tuple(own))
        for image, own in by_image.items()
        for source in [sources.get(image)]
    ]


def _hex(digest: bytes | None) -> str:
    return "" if digest is None else digest.hex()


def _precision(run: Run) -> Precision | None:
    """What the audit found where the true labels are known."""
    told = run.detail("precision")
    if told is None:
        return None
    try:
        n, moved, found = (int(told[name]) for name in ("n", "moved", "found"))
        shares = (float(told[name]) for name in ("precision", "low", "high", "chance"))
        return Precision(n, moved, found, *shares)
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise InputError(f"{run.path / 'run.json'} is damaged: its precision is {str(told):.80}") from error


def _about_run(run: Run) -> dict[str, Any]:
    info = run.info
    return {
        "name": run.path.name,
        "command": run.command,
        "skipped": bool(run.skipped),
        "facts": {
            "backbone": info.get("backbone"),
            "data (SHA-256)": info.get("data_digest"),
            "embeddings (fingerprint)": info.get("fingerprint"),
            "finished": info.get("finished"),
            "seconds": _listed(info.get("timings")),
            "seeds": _listed(info.get("seeds")),
            "versions": _listed(info.get("versions")),
        },
        "config": json.dumps(run.config, ensure_ascii=False, indent=2),
    }


def _listed(mapping: object) -> str:
    return ", ".join(f"{key} {value}" for key, value in mapping.items()) if isinstance(mapping, Mapping) else ""


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("consistency.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["sha256"] = lambda text: base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode()
    environment.filters["percent"] = percent
    return environment.get_template("report.html.j2")
