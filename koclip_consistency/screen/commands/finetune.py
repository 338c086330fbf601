"""`finetune`."""

import os
import sys
import time
from typing import TYPE_CHECKING

from consistency.errors import ConsistencyError
from koclip_consistency.screen.app import INTERRUPTED, app, show
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import FinetuneOptions
    from koclip_consistency.screen.console import Screen

GRACE = 10  # seconds; a busy machine takes some to end a process


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

    torchrun --standalone --nproc-per-node N cli.py finetune ... trains with N processes.
    """
    from koclip_consistency.workflows.finetune import finetune_together

    follows = "TORCHELASTIC_RUN_ID" in os.environ and os.environ["RANK"] != "0"
    try:
        outcome = finetune_together(options, screen.reporter)
    except ConsistencyError as error:
        if follows:  # where the first process fails likewise, torchrun ends this one before it says so again
            time.sleep(GRACE)
            raise type(error)(f"process {os.environ['RANK']}: {error}") from error
        raise
    except KeyboardInterrupt:
        if follows:
            sys.exit(INTERRUPTED)
        raise
    if outcome is not None:
        show(outcome, screen, f"Fine-tuning of {options.encoding.backbone}", options.source.on_error)
