"""`compare`."""

from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import CompareOptions
    from koclip_consistency.screen.console import Screen


@command(
    app,
    "compare",
    "CompareOptions",
    "runs/heads runs/finetune",
    "runs/before runs/after --relabelled new.relabelled.csv",
)
def compare(options: "CompareOptions", screen: "Screen") -> None:
    """Compare runs on the same test rows by paired differences.

    The first run is the reference. Intervals are over images, or over hashtags if whole hashtags were tested.
    With --relabelled, rows whose label was given anew are left out, so that both runs are measured by the same labels.
    """
    from koclip_consistency.screen.tables import differences_table
    from koclip_consistency.workflows.report import compare_folders

    differences, notes = compare_folders(options.run_dirs, seed=options.seed, relabelled=options.relabelled)
    screen.json([difference.as_dict() for difference in differences])
    screen.table(differences_table(differences))
    for note in notes:
        screen.note(note)
