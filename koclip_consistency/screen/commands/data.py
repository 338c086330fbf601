"""`data check`, `data prepare`, `data split`, `data relabel`, `data codebook` and `data demo`."""

import sys
from typing import TYPE_CHECKING

from koclip_consistency.screen.app import SKIPPED_ROWS, app, close
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import (
        DataCheckOptions,
        DataCodebookOptions,
        DataDemoOptions,
        DataPrepareOptions,
        DataRelabelOptions,
        DataSplitOptions,
    )
    from koclip_consistency.screen.console import Screen


@app.group("data")
def data() -> None:
    """Check, prepare, split or relabel a data set, or draw the demo one."""


@command(data, "check", "DataCheckOptions", "--data pairs.csv --images images", "--controls --folds 5 --ordered")
def check(options: "DataCheckOptions", screen: "Screen") -> None:
    """Report what is wrong with a data set, and what leaks.

    Lists rows and images that cannot be used, repeats, contradictory scores, spellings of hashtags, and how many test
    rows of each protocol share their image, pair or hashtag with train.
    """
    from koclip_consistency.screen.tables import health_tables
    from koclip_consistency.workflows.data import check_data, is_complete

    health = check_data(options, progress=screen.progress)
    screen.json(health.as_dict())
    for table in health_tables(health):
        screen.table(table)
    if not is_complete(health) and options.source.on_error == "skip":
        sys.exit(SKIPPED_ROWS)


@command(
    data,
    "prepare",
    "DataPrepareOptions",
    "posts.xlsx --images photos --split-hashtags -o clean",
    "labels.csv --images photos.zip --score-map low=1,mid=3,high=5 --jpeg -o clean",
)
def prepare(options: "DataPrepareOptions", screen: "Screen") -> None:
    """Write a clean copy of a table to DIR/pairs.csv.

    Every row of it can be used, each pair occurs once, and text is UTF-8 in Unicode form NFC. DIR/changes.csv lists
    every change.
    """
    from koclip_consistency.workflows.prepare import prepare as run_prepare

    prepared = run_prepare(options, screen.reporter)
    screen.json(prepared.as_dict())
    for change, count in prepared.counts.items():
        screen.note(f"{change}: {count}")
    screen.note(f"Prepared {prepared.rows} rows: {prepared.data}; every change: {prepared.changes}")
    screen.note(f"Use them with --data {prepared.data} --images {prepared.images}")
    close(prepared.skipped, options.source.on_error, screen, prepared.changes)


@command(data, "split", "DataSplitOptions", "-o split.csv", "--protocol hashtag --folds 5 -o split.csv")
def split(options: "DataSplitOptions", screen: "Screen") -> None:
    """Write a split to a file, for --split of other commands.

    Works without the images.
    """
    from consistency.data.inputs import skipped_beside
    from koclip_consistency.workflows.data import write_split

    written = write_split(options, screen.reporter)
    screen.json(written.as_dict())
    for note in written.notes:
        screen.note(note)
    screen.note(f"Split: {written.rows['train']} rows of train, {written.rows['test']} of test: {written.path}")
    close(written.skipped, options.source.on_error, screen, skipped_beside(written.path))


@command(
    data,
    "relabel",
    "DataRelabelOptions",
    "--data pairs.csv --images images -o new.csv",
    "--rule majority --least 2 --keep-test runs/heads -o new.csv",
)
def relabel(options: "DataRelabelOptions", screen: "Screen") -> None:
    """Write a new table whose labels come from annotators.

    Beside NEW.csv, NEW.relabelled.csv lists every relabelled row with its earlier label, who scored it, how and when;
    NEW.relabelled.json sums that up. Nothing is overwritten.
    """
    from koclip_consistency.workflows.relabel import relabel as run_relabel

    done = run_relabel(options)
    screen.json(done.as_dict())
    screen.note(f"Relabelled {done.rows} rows, {done.changed} of them with another label: {done.path}")
    if done.undecided:
        screen.note(f"{done.undecided} pairs keep their label: they have too few scores, or no majority")
    if done.tested:
        screen.note(f"{done.tested} pairs keep their label, because {options.keep_test} tests them")
    if done.foreign:
        screen.note(f"{done.foreign} answers belong to no row of {options.source.data} and were left out")
    screen.note(f"Where each label is from: {done.list}, {done.provenance}")
    earlier = options.keep_test or "EARLIER_RUN"
    screen.note(
        f"How do figures move on test rows whose labels stay? Train on {done.path} with --split {earlier}/split.csv, "
        f"then: compare {earlier} NEW_RUN --relabelled {done.list}"
    )


@command(
    data,
    "codebook",
    "DataCodebookOptions",
    "--data pairs.csv -o codebook",
    "--data pairs.csv --meaning '5=names what the image shows' -o codebook",
)
def codebook(options: "DataCodebookOptions", screen: "Screen") -> None:
    """Write the codebook of a table: its columns, and what its scores mean and how often they occur.

    DIR/codebook.md is for people, DIR/columns.csv and DIR/codes.csv are for programs.
    """
    from dataclasses import asdict

    from koclip_consistency.workflows.data import write_codebook

    written = write_codebook(options)
    screen.json({**asdict(written), "path": str(written.path)})
    screen.note(f"Codebook of {written.rows} rows: {options.folder / 'codebook.md'}, columns.csv, codes.csv")


@command(data, "demo", "DataDemoOptions", "data", "data --like-published", "data --annotators 3 --noise 0.3")
def demo(options: "DataDemoOptions", screen: "Screen") -> None:
    """Draw the demo data set into OUT."""
    from koclip_consistency.workflows.data import draw_demo

    drawn = draw_demo(options)
    screen.json(drawn)
    screen.note(f"Drew {drawn['pictures']} images and {drawn['rows']} rows: {drawn['data']}")
