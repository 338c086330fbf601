"""`heads`."""

from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app, show
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import HeadsOptions
    from koclip_consistency.screen.console import Screen


@command(
    app,
    "heads",
    "HeadsOptions",
    "--backbone koclip",
    "--grid --folds 5",
    "--grid --resume runs/my-grid",
)
def heads(options: "HeadsOptions", screen: "Screen") -> None:
    """Train heads on the stored embeddings of a frozen backbone.

    Trains one head, a grid of heads (--grid), or the published recipe (--preset paper). A grid takes the smallest head
    whose mean of QWK and macro-F1 over the folds lies within one standard error of the best, and retrains it on all of
    train for the number of epochs at which that mean is highest.
    """
    from koclip_consistency.workflows.heads import run_heads

    outcome = run_heads(options, screen.reporter)
    show(outcome, screen, f"Heads on {options.encoding.backbone}", options.source.on_error)
