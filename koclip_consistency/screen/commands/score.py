"""`score`."""

from typing import TYPE_CHECKING

import click

from koclip_consistency.screen.app import app, close
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import ScoreOptions
    from koclip_consistency.screen.console import Screen


@command(
    app,
    "score",
    "ScoreOptions",
    "--model runs/my-run --image photo.jpg --hashtag 바다 --hashtag 카페",
    "--model runs/my-run --image 1.jpg --image 2.jpg --hashtag 바다 --json",
    "--model runs/my-run --data new.csv --images images -o scored.csv",
)
def score(options: "ScoreOptions", screen: "Screen") -> None:
    """Score new images and hashtags with a trained run.

    Weight files of the published scripts work, too.
    """
    from consistency.data.hashtags import describe_long, describe_several
    from consistency.data.inputs import skipped_beside
    from koclip_consistency.screen.tables import scores_tables
    from koclip_consistency.workflows.score import load_scorer, score_images, score_table

    if bool(options.image_files) != bool(options.hashtags):
        raise click.UsageError("--image and --hashtag go together")
    if bool(options.image_files) == (options.file is not None):
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
    if options.file is None:
        scored, skipped = score_images(scorer, options.image_files, options.hashtags, options.source)
        cells = [*range(1, len(options.hashtags) + 1)], [*options.hashtags]
        beside = None
    else:
        table = score_table(scorer, options.source, options.file, prefix=options.prefix, keep=screen.display.as_json)
        scored, skipped, cells = table.records, table.skipped, table.hashtags
        screen.note(f"Scored {table.answered} rows with {scorer.system}: {options.file}")
        beside = skipped_beside(options.file)
    for note in filter(None, (describe_several(*cells), describe_long(*cells))):
        screen.note(note)
    screen.json(scored)
    if options.file is None:
        for shown in scores_tables(scorer.system, scored):
            screen.table(shown)
    close(skipped, options.source.on_error, screen, beside)
