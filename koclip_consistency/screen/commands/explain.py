"""`explain`."""

from typing import TYPE_CHECKING

import click

from koclip_consistency.screen.app import app
from koclip_consistency.screen.command import backbone_of, command

if TYPE_CHECKING:
    from consistency.options import ExplainOptions
    from koclip_consistency.screen.console import Screen


@command(
    app,
    "explain",
    "ExplainOptions",
    "--model runs/my-run --image photo.jpg --hashtag 바다 -o map.png",
    "--backbone koclip --image photo.jpg --hashtag 바다 -o map.png",
)
def explain(options: "ExplainOptions", screen: "Screen") -> None:
    """Show which parts of an image its cosine and its score depend on.

    The figure has a map of the cosine (attention times gradient) and one of the score (each part of the image is
    covered), beside a control that sees nothing. It is evidence, not proof. Facts about the pair go with it: ranks,
    labels of the hashtag, the nearest labelled images.
    """
    from dataclasses import replace

    from koclip_consistency.screen.tables import explained_tables
    from koclip_consistency.workflows.explain import run_explain

    if options.model is None and options.backbone is None:
        raise click.UsageError("name a run with --model, or a model with --backbone to explain its cosine")
    explained = run_explain(
        replace(options, backbone=backbone_of(options.model, options.backbone)), progress=screen.progress
    )
    screen.json(explained.as_dict())
    for table in explained_tables(explained):
        screen.table(table)
    for note in explained.notes:
        screen.note(note)
    screen.note(f"Figure: {options.file}")
