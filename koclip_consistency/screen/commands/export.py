"""`export`."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import ExportOptions
    from koclip_consistency.screen.console import Screen


@command(
    app, "export", "ExportOptions", "runs/heads -o my-scorer", "runs/heads -o my-scorer --push-to-hub name/my-scorer"
)
def export(options: "ExportOptions", screen: "Screen") -> None:
    """Write a trained system with its backbone and a model card into one folder.

    `score --model FOLDER` and, in Python, `kc.load` answer with it on any machine as the run does here, and every
    command takes it as --backbone. No image, hashtag or label of the training data is in it.
    """
    from koclip_consistency.workflows.export import export_run

    done = export_run(options)
    screen.json({**asdict(done), "folder": str(done.folder)})
    screen.note(f"Exported {done.system} ({done.bytes / 1e6:.1f} MB, {len(done.files)} files): {done.folder}")
    if done.address:
        screen.note(f"Pushed to {done.address} ({'public' if options.public else 'private'})")
