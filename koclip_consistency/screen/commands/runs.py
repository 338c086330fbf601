"""`score`, `compare`, `report` and `rerun`: what is done with finished runs."""

import sys
from typing import TYPE_CHECKING

import click

from consistency.options import CompareOptions, ReportOptions, RerunOptions, ScoreOptions
from koclip_consistency.screen.app import FAILED, app, close
from koclip_consistency.screen.options import command

if TYPE_CHECKING:
    from koclip_consistency.screen.console import Screen


@command(
    app,
    "score",
    ScoreOptions,
    "--model runs/my-run --image photo.jpg --hashtag 바다 --hashtag 카페",
    "--model runs/my-run --data new.csv --images images -o scored.csv",
)
def score(options: ScoreOptions, screen: "Screen") -> None:
    """Score new images and hashtags with a trained run, or with the published classifier or fine_tuned .pth."""
    from consistency.data.inputs import skipped_beside
    from koclip_consistency.screen.tables import scores_table
    from koclip_consistency.workflows.score import load_scorer, score_image, score_table

    one = options.image is not None
    if one != bool(options.hashtags):
        raise click.UsageError("--image and --hashtag go together")
    if one == (options.file is not None):
        raise click.UsageError("give either --image with --hashtag, or --data, --images and -o OUT.csv")
    scorer = load_scorer(
        options.model,
        system=options.system,
        backbone=options.backbone,
        cache=options.encoding.cache,
        device=options.encoding.device,
        threads=options.encoding.threads,
        progress=screen.progress,
    )
    if options.image is not None:
        scored, skipped = score_image(scorer, options.image, options.hashtags, options.source)
    else:
        assert options.file is not None
        scored, skipped = score_table(scorer, options.source, options.file)
        screen.note(f"Scored {len(scored)} rows with {scorer.system}: {options.file}")
    screen.json(scored)
    if one:
        screen.table(scores_table(scorer.system, scored))
    beside = None if options.file is None else skipped_beside(options.file)
    close(skipped, options.source.on_error, screen, beside)


@command(app, "compare", CompareOptions, "runs/heads runs/finetune")
def compare(options: CompareOptions, screen: "Screen") -> None:
    """Compare runs on the same test rows: paired differences with intervals over images (or hashtags)."""
    from koclip_consistency.screen.tables import differences_table
    from koclip_consistency.workflows.report import compare_folders, comparison_notes

    differences = compare_folders(options.run_dirs, seed=options.seed)
    screen.json([difference.as_dict() for difference in differences])
    screen.table(differences_table(differences))
    for note in comparison_notes(differences):
        screen.note(note)


@command(app, "report", ReportOptions, "runs/heads runs/finetune -o report.html")
def report(options: ReportOptions, screen: "Screen") -> None:
    """Write one HTML page about several runs: table, confusion matrices, curves, images with their scores."""
    from koclip_consistency.workflows.report import report_runs

    written = report_runs(options.run_dirs, options.file, images=options.images)
    screen.json(written)
    screen.note(f"Report: {options.file}")


@command(app, "rerun", RerunOptions, "runs/my-run")
def rerun(options: RerunOptions, screen: "Screen") -> None:
    """Repeat a run from its run.json and compare predictions, metrics, split and weights byte for byte.

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
