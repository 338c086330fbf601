"""`report`."""

from typing import TYPE_CHECKING, Any

import click

from koclip_consistency.screen.app import app
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import ReportOptions
    from koclip_consistency.screen.console import Screen


@command(
    app,
    "report",
    "ReportOptions",
    "runs/heads runs/finetune -o report.html",
    "runs/similarity runs/heads --paper figures",
)
def report(options: "ReportOptions", screen: "Screen") -> None:
    """Write one HTML page about one or several runs, or figures and a table for a paper.

    The page shows results with intervals, confusion matrices, training curves, calibration, and images with their
    scores. --paper writes figures as SVG and PDF in the widths of a column (3.3 inches) and of a page (6.9 inches),
    table.tex, and methods.md. What the runs do not contain is left out.
    """
    from consistency.text import listed
    from koclip_consistency.workflows.report import report_runs

    if options.file is None and options.paper is None:
        raise click.UsageError("give -o report.html, --paper DIR, or both")
    written: dict[str, Any] = {}
    if options.file is not None:
        written = report_runs(options.run_dirs, options.file, images=options.images)
    if options.paper is not None:
        from koclip_consistency.workflows.manuscript import write_manuscript

        paper = write_manuscript(options)
        written |= {"paper": str(options.paper), "files": list(paper.files), "left_out": list(paper.left_out)}
        for line in paper.left_out:
            screen.note(f"left out: {line}")
    screen.json(written)
    if options.file is not None:
        if others := written["without_images"]:
            screen.note(
                f"{listed(others, 3)} cannot be told to be yours, so the images that it names are not shown: "
                "name their folder with --images"
            )
        screen.note(f"Report: {options.file}")
    if options.paper is not None:
        screen.note(f"Paper: {options.paper}, {len(written['files'])} files")
