"""The tables of results in the report: every system of one protocol and split, with intervals and who leads."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields

from consistency.data.leakage import Leakage
from consistency.evaluation.results import NO_BACKBONE, Result
from consistency.evaluation.systems import CONTROLS
from consistency.report.standing import Comparison, Standing, name_of
from consistency.runs.read import Run
from consistency.text import FURTHER_TITLES, LOWER_IS_BETTER, METRIC_TITLES, SPLITS, interval_text, number

PROTOCOLS = {
    "grouped": "Repeated pairs are merged and all rows of an image stay on one side: every test image is new.",
    "hashtag": "Repeated pairs are merged and all rows of a hashtag stay on one side: every test hashtag is new, "
    "images are not.",
    "file": "The split was read from a file.",
    "paper": "The published split by rows: a test image has mostly been seen in training with other hashtags, "
    "and some pairs have been seen as they are. For comparison with published figures only.",
}
ALLOWED = {"hashtag": {"image", "near", "hashtag"}}  # what test rows may share with train; elsewhere hashtags only
NAMED = 3  # systems that a sentence names
Member = tuple[Run, Result]


@dataclass(frozen=True)
class Cell:
    """A figure with its interval, and their places on the scale of the column, 0..1 (None where undefined)."""

    text: str
    interval: str
    at: float | None
    low: float | None
    high: float | None
    best: bool


@dataclass(frozen=True)
class Line:
    """A system in a table: a cell for each of METRIC_TITLES, a number for each of FURTHER_TITLES."""

    system: str
    backbone: str
    run: str
    control: bool
    n: int
    cells: tuple[Cell, ...]
    further: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """All systems that answered under one protocol and split.

    Attributes
    ----------
    notes : tuple of str
        Leakage, and whatever else the runs say about their division.
    leaks : bool
        Whether test rows were seen in training in a way that the protocol does not allow for.
    undecided : tuple of str
        A sentence for each column without a star.
    baseline : tuple of float or None
        Place of the best control in each column.
    """

    protocol: str
    split: str
    about: str
    notes: tuple[str, ...]
    leaks: bool
    lines: tuple[Line, ...]
    undecided: tuple[str, ...]
    baseline: tuple[float | None, ...]


def heading(title: str) -> str:
    """`title` with a capital, as a column is called."""
    return title[:1].upper() + title[1:]


def honesty(result: Result) -> tuple[int, bool]:
    """Sort key: the protocol that leaks least comes first, and test rows come before answers out of fold."""
    protocol, order = result.predictions.protocol, list(PROTOCOLS)
    return order.index(protocol) if protocol in order else len(order), result.predictions.split != "test"


def make_table(members: Sequence[Member], comparison: Comparison, *, several: bool) -> Table:
    """The table of `members`, all of one protocol and split. several: whether to name the run of each system."""
    results = [result for _, result in members]
    standings = {name: comparison.standing(name) for name in METRIC_TITLES}
    columns = [_column(results, name, standings[name]) for name in METRIC_TITLES]
    lines = [
        Line(
            system=p.system,
            backbone="" if p.backbone == NO_BACKBONE else p.backbone,
            run=run.path.name if several and p.system not in CONTROLS else "",
            control=p.system in CONTROLS,
            n=len(p),
            cells=tuple(column[i] for column in columns),
            further=tuple(number(result.metrics[name]) for name in FURTHER_TITLES),
        )
        for i, (run, result) in enumerate(members)
        for p in [result.predictions]
    ]
    baseline = []
    for name, column in zip(METRIC_TITLES, columns, strict=True):
        places = [cell.at for cell, line in zip(column, lines, strict=True) if line.control and cell.at is not None]
        baseline.append((min if name in LOWER_IS_BETTER else max)(places) if places else None)
    p = results[0].predictions
    notes, leaks = _division(members)
    undecided = (_undecided(heading(METRIC_TITLES[name]), standing) for name, standing in standings.items())
    return Table(
        protocol=p.protocol,
        split=SPLITS[p.split],
        about=PROTOCOLS.get(p.protocol, ""),
        notes=notes,
        leaks=leaks,
        lines=tuple(lines),
        undecided=tuple(filter(None, undecided)),
        baseline=tuple(baseline),
    )


def names(results: Collection[Result]) -> str:
    """The first systems by name, and how many more there are: "heads (tiny), majority and 2 more"."""
    shown = [name_of(result) for result in results][:NAMED]
    if len(results) > NAMED:
        shown.append(f"{len(results) - NAMED} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _column(results: Sequence[Result], name: str, standing: Standing | None) -> list[Cell]:
    """The figures of one metric on one scale that holds every interval."""
    values = [result.metrics[name] for result in results]
    intervals = [result.ci95[name] for result in results]
    ends = [v for v in values if v is not None] + [end for ci in intervals if ci for end in ci]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.5
    low, high = low - margin, high + margin

    def place(value: float | None) -> float | None:
        return None if value is None else (value - low) / (high - low)

    return [
        Cell(
            text=number(value),
            interval=interval_text(ci),
            at=place(value),
            low=place(ci[0]) if ci else None,
            high=place(ci[1]) if ci else None,
            best=standing is not None and standing.certain and result is standing.leader,
        )
        for result, value, ci in zip(results, values, intervals, strict=True)
    ]


def _undecided(title: str, standing: Standing | None) -> str:
    """Why no system has the star of a column; empty if one has it, or if there is nothing to compare."""
    if standing is None or standing.certain or not standing.rivals:
        return ""
    leader, reasons = name_of(standing.leader), []
    if standing.ahead:
        verb = "is" if len(standing.ahead) == 1 else "are"
        reasons.append(f"{names(standing.ahead)}, without any image, {verb} better than every learned system")
    if standing.level:
        reasons.append(f"{leader} cannot be told apart from {names(standing.level)}")
    if standing.elsewhere:
        reasons.append("systems that answered for other rows cannot be compared in pairs")
    return f"{title}: {'; '.join(reasons)}."


def _division(members: Sequence[Member]) -> tuple[tuple[str, ...], bool]:
    """What the runs of a table say about who was tested on what, and whether any of it is leakage."""
    notes: dict[str, None] = {}
    leaks = False
    for run, result in members:
        told: object = run.detail("division", "leakage")
        sentences = {split: _leakage(counts) for split, counts in told.items()} if isinstance(told, Mapping) else {}
        here = sentences.pop(result.predictions.split, None)
        noted: object = run.detail("division", "notes")
        own = [note for note in noted if isinstance(note, str)] if isinstance(noted, list) else []
        # A note may be about the rows of another split of the same run.
        elsewhere = {text for text, _ in sentences.values()} | _seen_elsewhere(run, result.predictions.split)
        own = [note for note in own if not any(text and text in note for text in elsewhere)]
        leaks = leaks or bool(result.trained_on)
        if here is not None:
            text, seen = here
            leaks = leaks or not seen <= ALLOWED.get(result.predictions.protocol, {"hashtag"})
            if text and not any(text in note for note in own):
                own.insert(0, text)
        notes |= dict.fromkeys(f"{heading(note).rstrip('.')}." for note in own)
    return tuple(notes), leaks


def _seen_elsewhere(run: Run, split: str) -> set[str]:
    """What the run says of its backbone and the rows of other splits."""
    found = set()
    for result in run.results:
        p = result.predictions
        if p.split != split and result.trained_on:
            found.add(result.trained_on.describe(p.backbone, split=p.split))
    return found


def _leakage(counts: object) -> tuple[str, set[str]]:
    """Leakage in words, and which of its counts are above 0. Counts that this version does not know are shown too."""
    if not isinstance(counts, Mapping):
        return "", set()
    numbers = {str(key): n for key, n in counts.items() if isinstance(n, int) and not isinstance(n, bool)}
    known = {field.name for field in fields(Leakage)}
    try:
        text = str(Leakage(**{key: n for key, n in numbers.items() if key in known}))
    except TypeError:  # a count is missing
        return "", set()
    more = [f"{key.replace('_', ' ')}: {n:,}" for key, n in numbers.items() if key not in known]
    return "; ".join([text, *more]), {key for key, n in numbers.items() if n and key != "n"}
