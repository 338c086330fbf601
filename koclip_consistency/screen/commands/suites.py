"""`demo`, `paper` and `audit`."""

from typing import TYPE_CHECKING

from consistency.options import AuditOptions, DemoOptions, PaperOptions
from koclip_consistency.screen.app import app, close, show
from koclip_consistency.screen.options import command

if TYPE_CHECKING:
    from koclip_consistency.screen.console import Screen


@command(app, "demo", DemoOptions, "", "--quick --out runs/demo")
def demo(options: DemoOptions, screen: "Screen") -> None:
    """Draw a demo data set, run every system on it with the tiny backbone, and write the report."""
    from koclip_consistency.workflows.demo import run_demo

    outcome = run_demo(options, screen.reporter)
    show(outcome, screen, "Test rows of the demo data set")
    screen.note(f"Report: {outcome.path / 'report.html'}")


@command(app, "paper", PaperOptions, "--backbone clip --backbone koclip", "--backbone tiny --quick --skip finetune")
def paper(options: PaperOptions, screen: "Screen") -> None:
    """Compare all six published systems and ours under both protocols, in one table."""
    from koclip_consistency.screen.tables import backbones_table
    from koclip_consistency.workflows.paper import run_paper

    outcome = run_paper(options, screen.reporter)
    if table := backbones_table(outcome.results):
        screen.table(table)
    show(outcome, screen, "Published systems and ours", options.source.on_error)


@command(app, "audit", AuditOptions, "--backbone koclip", "--backbone koclip --top 50 --json")
def audit(options: AuditOptions, screen: "Screen") -> None:
    """Rank labels by doubt: heads that have not seen a row's image say how much better another score fits.

    Writes audit.csv (all rows, the most doubtful first) and report.html with the images of the first.
    """
    from koclip_consistency.screen.tables import audit_table
    from koclip_consistency.workflows.audit import describe_precision, run_audit

    audited = run_audit(options, screen.reporter)
    outcome = audited.outcome
    screen.json(audited.as_dict(options.top))
    screen.table(audit_table(audited, options.top))
    for note in outcome.notes:
        screen.note(note)
    if options.clean:
        screen.note(describe_precision(audited.precision))
    screen.note(f"Report: {outcome.path / 'report.html'}")
    screen.note(f"Run folder: {outcome.path}")
    close(outcome.skipped, options.source.on_error, screen, outcome.path / "skipped.csv")
