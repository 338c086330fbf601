"""`similarity`."""

from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app, show
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import SimilarityOptions
    from koclip_consistency.screen.console import Screen


@command(
    app,
    "similarity",
    "SimilarityOptions",
    "--backbone koclip",
    "--preset paper --backbone clip",
)
def similarity(options: "SimilarityOptions", screen: "Screen") -> None:
    """Cut the cosine similarity of image and hashtag into scores.

    The thresholds are fixed, searched as in the published script, or optimal on the training rows.
    """
    from koclip_consistency.workflows.similarity import run_similarity

    outcome = run_similarity(options, screen.reporter)
    show(outcome, screen, f"Similarity of {options.encoding.backbone}", options.source.on_error)
