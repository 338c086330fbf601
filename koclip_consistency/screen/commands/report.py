"""`report`."""

from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import ReportOptions
    from koclip_consistency.screen.console import Screen


@command(app, "report", "ReportOptions", "runs/heads runs/finetune -o report.html")
def report(options: "ReportOptions", screen: "Screen") -> None:
    """Write one HTML page about one or several runs.

    Shows results with intervals, confusion matrices, training curves, calibration, and images with their scores.
    """
    from koclip_consistency.workflows.report import report_runs

    written = report_runs(options.run_dirs, options.file, images=options.images)
    screen.json(written)
    screen.note(f"Report: {options.file}")
