"""`paper`."""

from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app, show
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import PaperOptions
    from koclip_consistency.screen.console import Screen


@command(app, "paper", "PaperOptions", "--backbone clip --backbone koclip", "--backbone tiny --quick --skip finetune")
def paper(options: "PaperOptions", screen: "Screen") -> None:
    """Compare the published systems and ours in one table.

    Runs the six published systems and ours under the protocols grouped and paper, for every backbone.
    """
    from koclip_consistency.screen.tables import backbones_table
    from koclip_consistency.workflows.paper import run_paper

    outcome = run_paper(options, screen.reporter)
    if table := backbones_table(outcome.results):
        screen.table(table)
    show(outcome, screen, "Published systems and ours", options.source.on_error)
