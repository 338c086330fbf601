"""`annotate page`, `annotate import`, `annotate export` and `annotate status`."""

from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import (
        AnnotateExportOptions,
        AnnotateImportOptions,
        AnnotatePageOptions,
        AnnotateStatusOptions,
    )
    from koclip_consistency.screen.console import Screen


@app.group("annotate")
def annotate() -> None:
    """Collect the scores of annotators, who answer in `app` or on a page without Python."""


@command(
    annotate,
    "page",
    "AnnotatePageOptions",
    "--data pairs.csv --images images --limit 200 -o annotate.html",
    "--audit runs/audit --limit 100 -o annotate.html",
)
def page(options: "AnnotatePageOptions", screen: "Screen") -> None:
    """Write one HTML page with which a colleague annotates without Python and without a network.

    It holds the images. The colleague opens it, answers, and sends back the file that it saves, for `annotate import`.
    """
    from koclip_consistency.service.offline import write_page

    written = write_page(options, progress=screen.progress)
    screen.json(written.as_dict())
    size = f"{written.pairs} pairs with {written.images} images, {written.megabytes:.1f} MB"
    screen.note(f"Page of {size}: {written.path}")
    if written.unreadable:
        screen.note(f"{written.unreadable} images cannot be shown; their pairs were left out")


@command(
    annotate,
    "import",
    "AnnotateImportOptions",
    "answers-kim.csv",
    "answers-kim.csv answers-lee.csv --data pairs.csv --images images",
)
def import_(options: "AnnotateImportOptions", screen: "Screen") -> None:
    """Take over the answers that a page has saved.

    Checks that every row, hashtag and image is that of the table. Answers that are there already are not added again.
    """
    from koclip_consistency.workflows.annotate import import_answers

    imported = import_answers(options)
    screen.json([each.as_dict() for each in imported])
    for each in imported:
        screen.note(f"{each.file}: {each.new} new lines of {each.annotator}, {each.known} were there already")


@command(annotate, "export", "AnnotateExportOptions", "-o rated.csv", "--data pairs.csv --answers answers -o rated.csv")
def export(options: "AnnotateExportOptions", screen: "Screen") -> None:
    """Write the table with a column of scores for each annotator, as `agreement` reads it.

    A cell is empty if the annotator has no score for the row. The column `chosen_by` says how a row came to be scored.
    """
    from koclip_consistency.workflows.annotate import export_answers

    written = export_answers(options)
    screen.json(written.as_dict())
    screen.note(f"{written.rated} of {written.rows} rows have scores of {', '.join(written.columns)}: {written.path}")
    if written.by_doubt:
        screen.note(f"{written.by_doubt} of them were chosen by doubt, and represent no other rows")
    if written.foreign:
        screen.note(f"{written.foreign} answers belong to no row of {options.source.data} and were left out")
    columns = ",".join([*options.source.score_columns, *written.columns])
    screen.note(f"Next: agreement --data {written.path} --columns '{columns}'")


@command(annotate, "status", "AnnotateStatusOptions", "", "--audit runs/audit --limit 100 --json")
def status(options: "AnnotateStatusOptions", screen: "Screen") -> None:
    """List the annotators: how many pairs of a queue each has done, what is left, and how fast.

    Without --rows and --audit, the queue is all pairs of the table.
    """
    from dataclasses import asdict

    from consistency.text import number
    from koclip_consistency.screen.tables import Table
    from koclip_consistency.workflows.annotate import annotation_status

    found = annotation_status(options)
    screen.json([asdict(each) for each in found])
    columns = ("annotator", "done", "left", "cannot say", "undone", "other pairs", "per hour", "last answer (UTC)")
    rows: list[list[object]] = [
        [p.annotator, p.done, p.left, p.cannot_say, p.undone, p.elsewhere, number(p.per_hour, 0), p.last or "–"]
        for p in found
    ]
    screen.table(Table(f"Annotators with answers in {options.answering.answers}", columns, rows))
    foreign = sum(p.foreign for p in found)
    if foreign:
        screen.note(f"{foreign} answers belong to no pair of {options.source.data}")
    if not found:
        screen.note("There are no answers yet: annotate in `app`, or write a page with `annotate page`")
