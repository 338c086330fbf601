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
    "--model runs/my-run --data new.csv --images images -o scored.csv",
)
def score(options: "ScoreOptions", screen: "Screen") -> None:
    """Score new images and hashtags with a trained run.

    Weight files of the published scripts work, too.
    """
    from consistency.data.hashtags import describe_long, describe_several
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
    cells = [record["row"] for record in scored], [record["hashtag"] for record in scored]
    for note in filter(None, (describe_several(*cells), describe_long(*cells))):
        screen.note(note)
    screen.json(scored)
    if one:
        screen.table(scores_table(scorer.system, scored))
    beside = None if options.file is None else skipped_beside(options.file)
    close(skipped, options.source.on_error, screen, beside)
