"""The group of all commands, and how a command ends."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from consistency.data.pairs import Skipped
    from koclip_consistency.screen.console import Screen
    from koclip_consistency.workflows.trial import Outcome

FAILED, SKIPPED_ROWS, INTERRUPTED, TERMINATED = 1, 3, 130, 143


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM in a block of `terminable`."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, and so store what is finished; schedulers send it before SIGKILL."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent again, it must not cut off the storing
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="koclip-consistency", prog_name="koclip-consistency")
def app() -> None:
    """Do an image and its Korean hashtag belong together? Scores from 1 (not at all) to 5 (perfectly).

    Start with `demo`, which draws a data set and runs every system on it. Each command explains its options with
    --help. The file `koclip.toml` in the working directory, or --config FILE, sets defaults; an environment variable
    comes before the file, and an option before both.
    """


def close(
    skipped: "Sequence[Skipped]", on_error: str, screen: "Screen", table: Path | None = None, count: int | None = None
) -> None:
    """Report what was left out (`table` lists all of it), and exit with 3 unless that was allowed.

    `count` is the number of what was left out if `skipped` is only the beginning of it.
    """
    if not skipped:
        return
    first = skipped[0]
    place = f"row {first.row} ({first.image})" if first.row else first.image
    listed = f"; all in {table}" if table else ""
    screen.note(f"Left out {count or len(skipped)}: {place}: {first.reason}{listed}")
    if on_error == "skip":
        sys.exit(SKIPPED_ROWS)


def show(outcome: "Outcome", screen: "Screen", title: str, on_error: str = "skip") -> None:
    """Show the table, the notes and the run folder of a command that evaluates."""
    from koclip_consistency.screen.tables import curve_table, trainings_table

    entries = [result.as_entry() for result in outcome.results] + [result.as_entry() for result in outcome.counted]
    screen.json(entries)
    if outcome.seconds:
        entries = [{**entry, "seconds": seconds} for entry, seconds in zip(entries, outcome.seconds, strict=True)]
    screen.results(title, entries)
    if outcome.trainings is not None:
        screen.table(trainings_table(outcome.trainings, outcome.results))
    if outcome.curve is not None:
        screen.table(curve_table(outcome.curve))
    for note in outcome.notes:
        screen.note(note)
    screen.note(f"Run folder: {outcome.path}")
    close(outcome.skipped, on_error, screen, outcome.path / "skipped.csv", outcome.lost)
