"""`rerun`."""

import sys
from typing import TYPE_CHECKING

from koclip_consistency.screen.app import FAILED, app
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import RerunOptions
    from koclip_consistency.screen.console import Screen


@command(app, "rerun", "RerunOptions", "runs/my-run")
def rerun(options: "RerunOptions", screen: "Screen") -> None:
    """Repeat a run and compare its files byte for byte.

    Repeats the run with the options in its run.json and compares predictions, metrics, split and weights. They are the
    same if the embeddings are computed afresh (an empty --cache) or read from the same cache, on the same machine with
    the same library versions and number of threads; a cache filled in several parts may differ in the last bits.
    Exits 0 if they are the same, 1 if not, 2 if the run cannot be repeated.
    """
    from koclip_consistency.screen.tables import changes_table, files_table
    from koclip_consistency.workflows.rerun import rerun as repeat

    found = repeat(options, screen.reporter)
    screen.json(found.as_dict())
    if found.changes:
        screen.table(changes_table(found))
    screen.table(files_table(found))
    screen.note("Identical" if found.identical else "Different")
    screen.note(f"Run folder: {found.path}")
    if not found.identical:
        sys.exit(FAILED)
