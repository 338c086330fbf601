"""`score`."""

import functools
import sys
from typing import TYPE_CHECKING

import click

from koclip_consistency.screen.app import SKIPPED_ROWS, app, close
from koclip_consistency.screen.command import backbone_of, command

if TYPE_CHECKING:
    from consistency.options import ScoreOptions
    from koclip_consistency.screen.console import Screen


@command(
    app,
    "score",
    "ScoreOptions",
    "--model runs/my-run --image photo.jpg --hashtag 바다 --hashtag 카페",
    "--model runs/my-run --data new.csv --images images -o scored.csv",
    "--model runs/my-run --image photo.jpg --hashtag 바다 --sets 0.9",
    "--model runs/my-run --image photo.jpg --suggest 10 --words hashtags.txt",
    "--backbone koclip --data new.csv --images images -o cosine.csv",
)
def score(options: "ScoreOptions", screen: "Screen") -> None:
    """Score new images and hashtags with a trained run.

    Weight files of the published scripts work, too. Without a run, --backbone alone shows the cosine of image and
    hashtag and how it compares, which is not a score of 1 to 5.
    """
    from consistency.data.hashtags import describe_long, holds_several
    from consistency.data.inputs import skipped_beside
    from consistency.remote import RemotePath
    from koclip_consistency.screen.tables import scores_tables
    from koclip_consistency.workflows.engine import cluster_of
    from koclip_consistency.workflows.score import (
        COSINE_NOTE,
        asking,
        load_scorer,
        score_images,
        score_table,
        suggesting,
    )
    from koclip_consistency.workflows.score_parts import score_parts

    if options.model is None and options.backbone is None:
        raise click.UsageError("name a run with --model, or a model with --backbone to see its cosine")
    if bool(options.image_files) != bool(options.hashtags or options.suggest):
        raise click.UsageError("--image needs --hashtag or --suggest, and these need --image")
    if bool(options.image_files) == (options.file is not None):
        raise click.UsageError("give either --image with --hashtag or --suggest, or --data, --images and -o OUT.csv")
    data = options.source.data
    parted = options.file is not None and not isinstance(data, RemotePath) and data.is_dir()
    if options.spreadsheet_safe and (parted or str(options.file).lower().endswith(".parquet")):
        raise click.UsageError("--spreadsheet-safe is for a CSV, and Parquet has no formulas: name -o OUT.csv")
    load = functools.partial(
        load_scorer,
        options.model,
        system=options.system,
        backbone=backbone_of(options.model, options.backbone),
        sets=options.sets,
        cache=options.encoding.cache,
        device=options.encoding.device,
        threads=options.encoding.threads,
    )
    cluster = cluster_of(options.engine)
    if options.file is not None and parted:
        if options.model is None:
            raise click.UsageError("a folder of parts needs --model: a cosine is compared with what the cache holds")
        parts = score_parts(
            load,
            options.model,
            options.source,
            options.file,
            prefix=options.prefix,
            sets=options.sets,
            large_rows=options.large_rows,
            progress=screen.progress,
            cluster=cluster,
        )
        screen.note(f"Scored {parts.scored} parts, {parts.present} were there: {parts.answered} rows in {options.file}")
        screen.json(parts.manifest)
        if parts.lost:
            screen.note(f"Left out {parts.lost} rows, see why_not and the lists in {options.file}")
            if options.source.on_error == "skip":
                sys.exit(SKIPPED_ROWS)
        return
    if cluster is not None:
        raise click.UsageError("--engine ray scores a folder of Parquet parts: name folders with --data and -o")
    scorer = load(progress=screen.progress)
    if options.file is None:
        if options.suggest:
            ask = suggesting(scorer, options.suggest, options.words, options.source)
        else:
            ask = asking(scorer, options.hashtags, options.source)
        scored, skipped = score_images(scorer, options.image_files, ask, options.source)
        several = [
            f"--hashtag {hashtag!r} holds several, which are taken for one: give each its own --hashtag"
            for hashtag in options.hashtags
            if holds_several(hashtag)
        ]
        long = describe_long(range(1, len(options.hashtags) + 1), options.hashtags)
        notes, lost, beside = [*several, long], len(skipped), None
    else:
        done = score_table(
            scorer,
            options.source,
            options.file,
            prefix=options.prefix,
            keep=screen.display.as_json,
            large_rows=options.large_rows,
            formulas=not options.spreadsheet_safe,
        )
        screen.note(f"Scored {done.answered} rows with {scorer.system}: {options.file}")
        scored, skipped, lost = done.records, (done.first_lost,) if done.first_lost else (), done.lost
        notes, beside = [*done.notes], skipped_beside(options.file)
    for note in filter(None, (*notes, COSINE_NOTE if options.model is None else None, scorer.note)):
        screen.note(note)
    screen.json(scored)
    if options.file is None:
        for shown in scores_tables(scorer.system, scored):
            screen.table(shown)
    close(skipped, options.source.on_error, screen, beside, lost)
