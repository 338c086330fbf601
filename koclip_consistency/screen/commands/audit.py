"""`audit`."""

from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app, close
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import AuditOptions
    from koclip_consistency.screen.console import Screen


@command(app, "audit", "AuditOptions", "--backbone koclip", "--backbone koclip --top 50 --json")
def audit(options: "AuditOptions", screen: "Screen") -> None:
    """Rank labels by doubt.

    Heads that have not seen the image of a row say how much better another score fits than the row's label. Writes
    audit.csv (all rows, the most doubtful first) and report.html with the images of the first.
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
