"""`extract`, `similarity`, `heads` and `finetune`."""

from typing import TYPE_CHECKING

from consistency.options import ExtractOptions, FinetuneOptions, HeadsOptions, SimilarityOptions
from koclip_consistency.screen.app import app, close, show
from koclip_consistency.screen.options import command

if TYPE_CHECKING:
    from koclip_consistency.screen.console import Screen


@command(
    app,
    "extract",
    ExtractOptions,
    "--backbone koclip",
    "--backbone ./my-model --data pairs.csv --images images",
)
def extract(options: ExtractOptions, screen: "Screen") -> None:
    """Encode every distinct image and hashtag once, into the cache.

    A run that is killed continues where it stopped: run it again.
    """
    from koclip_consistency.screen.tables import extraction_table
    from koclip_consistency.workflows.extract import run_extract

    done = run_extract(options, screen.reporter)
    extracted = done.extracted
    screen.json({"fingerprint": extracted.fingerprint, **extracted.report.as_dict()})
    screen.table(extraction_table(extracted))
    for note in filter(None, (extracted.speed_note, extracted.precision_note, *done.folder.notes)):
        screen.note(note)
    screen.note(f"Run folder: {done.folder.path}")
    close(extracted.skipped, options.source.on_error, screen, done.folder.path / "skipped.csv")


@command(
    app,
    "similarity",
    SimilarityOptions,
    "--backbone koclip",
    "--preset paper --backbone clip",
)
def similarity(options: SimilarityOptions, screen: "Screen") -> None:
    """Cut the cosine similarity of image and hashtag into scores: fixed, searched (published) or optimal thresholds."""
    from koclip_consistency.workflows.similarity import run_similarity

    outcome = run_similarity(options, screen.reporter)
    show(outcome, screen, f"Similarity of {options.encoding.backbone}", options.source.on_error)


@command(
    app,
    "heads",
    HeadsOptions,
    "--backbone koclip",
    "--grid --folds 5",
    "--grid --resume runs/my-grid",
)
def heads(options: HeadsOptions, screen: "Screen") -> None:
    """Train heads on the cached embeddings of a frozen backbone: one, a grid, or the published recipe.

    The grid's rule: of all heads whose mean of QWK and macro-F1 over the folds is within one standard error of the
    best, the smallest is retrained on all of train for the number of epochs at which that mean is highest.
    """
    from koclip_consistency.workflows.heads import run_heads

    outcome = run_heads(options, screen.reporter)
    show(outcome, screen, f"Heads on {options.encoding.backbone}", options.source.on_error)


@command(
    app,
    "finetune",
    FinetuneOptions,
    "--backbone koclip --lora 8",
    "--resume runs/my-run",
)
def finetune(options: FinetuneOptions, screen: "Screen") -> None:
    """Fine-tune the encoders and a head end to end, without the cache."""
    from koclip_consistency.workflows.finetune import run_finetune

    outcome = run_finetune(options, screen.reporter)
    show(outcome, screen, f"Fine-tuning of {options.encoding.backbone}", options.source.on_error)
