"""`extract`."""

from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app, close, terminable
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import ExtractOptions
    from koclip_consistency.screen.console import Screen


@command(
    app,
    "extract",
    "ExtractOptions",
    "--backbone koclip",
    "--backbone ./my-model --data pairs.csv --images images",
    "--backbone koclip --shard 1/8",
)
def extract(options: "ExtractOptions", screen: "Screen") -> None:
    """Encode every distinct image and hashtag once, into the cache.

    If it is killed, run it again: it continues with what is missing. With --shard, several processes or machines share
    the work, and nothing but the cache.
    """
    from koclip_consistency.screen.tables import extraction_table
    from koclip_consistency.workflows.extract import run_extract

    with terminable():
        done = run_extract(options, screen.reporter)
    extracted = done.extracted
    screen.json({"fingerprint": extracted.fingerprint, **extracted.report.as_dict()})
    screen.table(extraction_table(extracted))
    adopted = None if extracted.adopted is None else extracted.adopted.note
    for note in filter(
        None,
        (adopted, extracted.speed_note, extracted.precision_note, extracted.several, done.note, *done.folder.notes),
    ):
        screen.note(note)
    screen.note(f"Run folder: {done.folder.path}")
    close(extracted.skipped, options.source.on_error, screen, done.folder.path / "skipped.csv", done.skipped)
