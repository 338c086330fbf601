"""`finetune`."""

from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app, show
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import FinetuneOptions
    from koclip_consistency.screen.console import Screen


@command(
    app,
    "finetune",
    "FinetuneOptions",
    "--backbone koclip --lora 8",
    "--resume runs/my-run",
)
def finetune(options: "FinetuneOptions", screen: "Screen") -> None:
    """Fine-tune the encoders and a head end to end.

    The cache is not used. The tuned model is a folder that --backbone accepts in every command.
    """
    from koclip_consistency.workflows.finetune import run_finetune

    outcome = run_finetune(options, screen.reporter)
    show(outcome, screen, f"Fine-tuning of {options.encoding.backbone}", options.source.on_error)
