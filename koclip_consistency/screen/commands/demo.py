"""`demo`."""

from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app, show
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import DemoOptions
    from koclip_consistency.screen.console import Screen


@command(app, "demo", "DemoOptions", "", "--quick --out runs/demo")
def demo(options: "DemoOptions", screen: "Screen") -> None:
    """Run every system on a drawn data set and write a report.

    Uses the packaged backbone `tiny` and needs no network.
    """
    from koclip_consistency.workflows.demo import run_demo

    outcome = run_demo(options, screen.reporter)
    show(outcome, screen, "Test rows of the demo data set")
    screen.note(f"Report: {outcome.path / 'report.html'}")
