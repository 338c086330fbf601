"""`data relabel`: a new table whose labels come from annotators, and a list of where each new label is from."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from consistency.data.annotations import Annotation, Panel
from consistency.data.distinct import members_of, number_distinct
from consistency.data.files import find_images, image_identity
from consistency.data.hashtags import identities
from consistency.data.inputs import read_table
from consistency.data.pairs import PairTable
from consistency.data.scores import aggregate
from consistency.durable import check_output, write_file
from consistency.errors import DataError, InputError, os_errors_as
from consistency.options import DataRelabelOptions, Rule
from consistency.runs.read import read_sides
from consistency.text import to_csv, to_json
from koclip_consistency.workflows.annotate import read_panel, table_cells

COLUMNS = (
    "row",
    "image",
    "hashtag",
    "old_score",
    "new_score",
    "rule",
    "annotators",
    "scores",
    "times",
    "answers",
    "image_sha256",
    "chosen_by",
)


@dataclass(frozen=True)
class Relabelled:
    """A table that was written with new labels.

    Attributes
    ----------
    path, list, provenance : Path
        The table, the list of its relabelled rows, and a summary of where it comes from.
    rows : int
        Relabelled rows, those that kept their label included.
    changed : int
        Rows whose label is another one now.
    undecided : int
        Pairs with answers but no new label: too few annotators, or no majority.
    tested : int
        Pairs with answers that were left alone, because the run of `keep_test` tests them.
    foreign : int
        Answers that belong to no row of the table.
    """

    path: Path
    list: Path
    provenance: Path
    rows: int
    changed: int
    undecided: int
    tested: int
    foreign: int

    def as_dict(self) -> dict[str, Any]:
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


def new_label(rule: Rule, scores: Sequence[int]) -> int | None:
    """The label that several annotators give a pair.

    Parameters
    ----------
    rule : {"median", "mean", "majority"}
        As for `scores.aggregate`, or the score that more annotators gave than any other.
    scores : sequence of int
        1 to 5; at least one.

    Returns
    -------
    int or None
        1 to 5; None without a majority.
    """
    if rule != "majority":
        return aggregate(scores, rule)
    counts = np.bincount(scores)
    most = np.flatnonzero(counts == counts.max())
    return int(most[0]) if len(most) == 1 else None


def relabel(options: DataRelabelOptions) -> Relabelled:
    """Write the table with new labels to a new file, and beside it where these come from.

    A new label counts for every row of its pair. Nothing that exists is overwritten.

    Raises
    ------
    InputError
        If one of the files exists, or no pair gets a label.
    """
    source, out = options.source, options.file
    source.one_score_column("data relabel")
    check_output(out)  # first, since a folder may have no name beside which files could be
    beside = out.with_name(f"{out.stem}.relabelled.csv"), out.with_name(f"{out.stem}.relabelled.json")
    for path in beside:
        check_output(path)
    for path in (out, *beside):
        if path.exists():
            raise InputError(f"{path} exists, and relabelled tables overwrite nothing: choose another name")
    table = read_table(source, require_scores=False)
    panel = read_panel(source, options.answering.answers, table)
    identity = image_identity(table.images, find_images(table.images, source.images))
    _, number = number_distinct(zip(identity, identities(table.hashtags), strict=True))
    sides = read_sides(options.keep_test) if options.keep_test else {}
    if options.keep_test and "test" not in sides.values():
        raise InputError(f"{options.keep_test} has no split.csv with test rows: name a run of heads or finetune")
    labels, lines, undecided, tested = table.scores.copy(), [], 0, 0
    for pair in members_of(number):
        given = [answers[at] for at in pair.tolist() for answers in panel.given if at in answers]
        given = [answer for answer in given if answer.score]
        if not given:
            continue
        if any(sides.get(int(row)) == "test" for row in table.rows[pair]):
            tested += 1
            continue
        new = new_label(options.rule, [answer.score or 0 for answer in given])
        if new is None or len({answer.annotator for answer in given}) < options.least:
            undecided += 1
            continue
        labels[pair] = new
        chosen = next((panel.chosen[at] for at in pair.tolist() if panel.chosen[at]), "")
        lines += [_line(table, at, new, options.rule, given, chosen) for at in pair.tolist()]
    if not lines:
        raise InputError(
            f"the answers in {options.answering.answers} give no pair of {table.path} a label ({undecided} pairs have "
            f"too few scores, or no majority; {tested} are tested)"
        )
    lines.sort(key=lambda line: int(str(line[0])))
    written = _with_labels(options, table, labels)
    content = _summary(options, table, panel, written, lines)
    for path, data in zip((beside[1], beside[0], out), (content, to_csv(COLUMNS, lines), written), strict=True):
        write_file(path, data)
    changed = int((labels != table.scores).sum())
    return Relabelled(out, beside[0], beside[1], len(lines), changed, undecided, tested, panel.foreign)


def read_relabelled(path: Path) -> set[int]:
    """The rows that a list of `data relabel` names. Raises DataError if it is no such list."""
    with os_errors_as(DataError, f"{path} cannot be read"):
        data = path.read_bytes()
    try:
        return {int(line["row"]) for line in csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))}
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(
            f"{path} lists no relabelled rows: name the .relabelled.csv that `data relabel` wrote"
        ) from error


def _line(
    table: PairTable, at: int, new: int, rule: str, answers: Sequence[Annotation], chosen: str
) -> tuple[object, ...]:
    old = int(table.scores[at])
    who, what = "; ".join(a.annotator for a in answers), "; ".join(str(a.score) for a in answers)
    when, ids = "; ".join(a.time for a in answers), "; ".join(a.id for a in answers)
    row, image, hashtag = int(table.rows[at]), table.images[at], table.hashtags[at]
    return row, image, hashtag, old or "", new, rule, who, what, when, ids, answers[0].image_sha256, chosen


def _with_labels(options: DataRelabelOptions, table: PairTable, labels: np.ndarray) -> bytes:
    """The table as CSV: every row and column, with the new labels."""
    header, rows = table_cells(options.source, table)
    column = options.source.one_score_column("data relabel")
    at = header.index(column) if column in header else len(header)
    header = [*header[:at], column, *header[at + 1 :]]
    label = dict(zip(table.rows.tolist(), labels.tolist(), strict=True))
    moved = {row for row, old, new in zip(table.rows.tolist(), table.scores, labels, strict=True) if old != new}
    cells = []
    for row, line in rows:
        kept = line[at] if at < len(line) else ""
        cells.append([*line[:at], str(label[row]) if row in moved else kept, *line[at + 1 :]])
    return to_csv(header, cells)


def _summary(
    options: DataRelabelOptions, table: PairTable, panel: Panel, written: bytes, lines: Sequence[Sequence[object]]
) -> bytes:
    """The provenance of the new table, as JSON."""
    annotators = {
        name: {
            "answers": len(mine),
            "first": min((answer.time for answer in mine.values()), default=None),
            "last": max((answer.time for answer in mine.values()), default=None),
            "not_blind": sum(not answer.blind for answer in mine.values()),
        }
        for name, mine in zip(panel.annotators, panel.given, strict=True)
    }
    return to_json(
        {
            "source": str(table.path),
            "source_sha256": table.digest,
            "table": options.file.name,
            "table_sha256": hashlib.sha256(written).hexdigest(),
            "rule": options.rule,
            "least": options.least,
            "keep_test": options.keep_test,
            "annotators": annotators,
            "rows": len(lines),
            "changed": sum(line[3] != line[4] for line in lines),
            "chosen_by": dict(sorted(Counter(str(line[-1]) for line in lines).items())),
            "written": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
    ).encode()
