"""The command line: parse, call one workflow, show the result. Heavy imports happen inside the commands."""

import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consistency.errors import ConsistencyError, is_out_of_memory

if TYPE_CHECKING:
    from consistency.data.pairs import Skipped
    from consistency.options import CacheChoice, Encoding, Evaluation, Source
    from koclip_consistency.screen.console import Screen
    from koclip_consistency.workflows.trial import Outcome

FAILED, SKIPPED_ROWS, INTERRUPTED = 1, 3, 130
INNER_FOLDS = 5
NEAR_DUPLICATES = 8  # consistency/data/near_duplicates.py says why
Command = Callable[..., Any]


def options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, in reading order."""
    return lambda command: functools.reduce(lambda done, add: add(done), reversed(decorators), command)


PATH = click.Path(path_type=Path)

data_options = options(
    click.option(
        "--data",
        type=PATH,
        default="data/combined_data.csv",
        envvar="KOCLIP_DATA",
        show_default=True,
        help="CSV of images, hashtags and scores.",
    ),
    click.option(
        "--images",
        type=PATH,
        default="data/image",
        envvar="KOCLIP_IMAGES",
        show_default=True,
        help="Folder of the images.",
    ),
    click.option("--image-column", default="Image Filename", show_default=True),
    click.option("--hashtag-column", default="Hashtag", show_default=True),
    click.option("--score-column", default="Score", show_default=True),
    click.option("--encoding", "csv_encoding", default="utf-8-sig", show_default=True, help="Of the CSV (cp949, ...)."),
    click.option(
        "--on-error",
        type=click.Choice(["skip", "allow", "abort"]),
        default="skip",
        show_default=True,
        help="Rows and images that cannot be used: leave out and exit 3, leave out and exit 0, or stop.",
    ),
    click.option(
        "--on-conflict",
        type=click.Choice(["abort", "mean", "first", "drop"]),
        default="abort",
        show_default=True,
        help="Repeats whose scores differ, where repeats are merged.",
    ),
    click.option(
        "--max-megapixels",
        type=click.FloatRange(0, 10_000),
        default=50,
        show_default=True,
        help="Leave out larger images.",
    ),
    click.option(
        "--max-aspect",
        type=click.FloatRange(1, 100_000),
        default=50,
        show_default=True,
        help="Leave out longer images.",
    ),
)

backbone_option = click.option(
    "--backbone",
    default="koclip",
    envvar="KOCLIP_BACKBONE",
    show_default=True,
    metavar="clip|koclip|tiny|HF_ID|FOLDER",
    help="The dual encoder.",
)
cache_option = click.option(
    "--cache",
    type=PATH,
    default="cache",
    envvar="KOCLIP_CACHE",
    show_default=True,
    help="Folder of the embeddings.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="auto: fp32 on a CPU, bf16 on a GPU that has it.",
)
device_options = options(
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.  [default: torch's choice]"),
)
encoder_options = options(
    click.option("--revision", help="Branch, tag or commit of a hub model."),
    cache_option,
    click.option(
        "--decode",
        type=click.Choice(["ours", "fast", "published"]),
        help="How images are decoded.  [default: ours; published with --preset paper]",
    ),
    precision_option,
    click.option("--batch-size", default="auto", show_default=True, metavar="auto|N", help="Images in a batch."),
    click.option("--workers", type=click.IntRange(min=1), help="Threads that decode images (processes, on a GPU)."),
    click.option("--store", type=click.Choice(["fp32", "fp16"]), default="fp32", show_default=True),
    device_options,
)
near_duplicates_option = click.option(
    "--near-duplicates",
    type=click.IntRange(0, 64),
    is_flag=False,
    flag_value=NEAR_DUPLICATES,
    metavar="[LIMIT]",
    help="Keep images together whose 64-bit hashes differ in at most LIMIT bits, too (protocol grouped)."
    f"  [{NEAR_DUPLICATES} where no LIMIT is given; default: off]",
)
division_options = options(
    click.option(
        "--protocol",
        type=click.Choice(["grouped", "hashtag", "paper"]),
        help="Who is in which split: no image, or no hashtag, on two sides; or single rows, as published."
        "  [default: grouped; paper with --preset paper]",
    ),
    click.option(
        "--test-fraction",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="F",
        help="Share of the rows that are tested.  [default: 0.2]",
    ),
    near_duplicates_option,
    click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True, help="Of everything random."),
)
evaluation_options = options(
    click.option(
        "--split",
        "split_file",
        type=PATH,
        metavar="FILE",
        help="Take who is in which split from this split.csv, in place of --protocol and --test-fraction.",
    ),
    division_options,
)
folds_option = click.option(
    "--folds", type=click.IntRange(min=2), metavar="K", help="Also cross-validate the whole recipe in K outer folds."
)
out_options = options(
    click.option(
        "--out", type=PATH, metavar="RUN_DIR", help="Run folder.  [default: runs/<time>-<command>-<backbone>]"
    ),
    click.option("--runs", type=PATH, default="runs", envvar="KOCLIP_RUNS", show_default=True, hidden=True),
)
extract_option = click.option(
    "--extract/--no-extract", default=True, help="Extract missing embeddings on the way, or refuse."
)
preset_option = click.option("--preset", type=click.Choice(["paper"]), help="The published recipe and protocol.")
screen_options = options(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON value alone on stdout."),
    click.option("--quiet", is_flag=True, help="Print errors only."),
)


def source_of(given: dict[str, Any]) -> "Source":
    from consistency.data.images import ImageLimits
    from consistency.options import Source

    return Source(
        data=given["data"],
        images=given["images"],
        image_column=given["image_column"],
        hashtag_column=given["hashtag_column"],
        score_column=given["score_column"],
        encoding=given["csv_encoding"],
        on_error=given["on_error"],
        on_conflict=given["on_conflict"],
        limits=ImageLimits(max_pixels=int(given["max_megapixels"] * 1e6), max_aspect=given["max_aspect"]),
    )


def encoding_of(given: dict[str, Any]) -> "Encoding":
    from consistency.options import Encoding

    size = given.get("batch_size", "auto")
    if size != "auto" and not (size.isdecimal() and int(size) > 0):
        raise click.BadParameter(f"{size!r} is neither auto nor a whole number above 0", param_hint="--batch-size")
    return Encoding(
        backbone=given["backbone"],
        revision=given["revision"],
        cache=given["cache"],
        decode=given["decode"] or ("published" if given.get("preset") == "paper" else "ours"),
        device=given["device"],
        precision=given["precision"],
        store=given["store"],
        batch_size=size if size == "auto" else int(size),
        workers=given["workers"],
        threads=given["threads"],
        extract=given.get("extract", True),
    )


def choice_of(given: dict[str, Any]) -> "CacheChoice":
    from consistency.options import CacheChoice

    return CacheChoice(root=given["cache"], backbone=given["backbone"], fingerprint=given["fingerprint"])


def evaluation_of(given: dict[str, Any]) -> "Evaluation":
    from consistency.data.splits import PAPER_TEST_FRACTION
    from consistency.options import Evaluation

    if given.get("resume") and given["out"]:
        raise click.UsageError("--resume goes on in its own folder: leave --out out")
    if given.get("split_file") and (given["protocol"] or given["test_fraction"]):
        raise click.UsageError("--split says who is tested: leave --protocol and --test-fraction out")
    return Evaluation(
        protocol=given["protocol"] or ("paper" if given.get("preset") == "paper" else "grouped"),
        seed=given["seed"],
        test_fraction=given["test_fraction"] or PAPER_TEST_FRACTION,
        near_duplicates=given["near_duplicates"],
        split=given.get("split_file"),
        runs=given["runs"],
        out=given["out"],
        resume=given.get("resume"),
    )


def screen_of(given: dict[str, Any]) -> "Screen":
    from koclip_consistency.screen.console import Screen

    return Screen(quiet=given["quiet"])


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False))


def close(skipped: "Sequence[Skipped]", on_error: str, screen: "Screen", table: Path | None = None) -> None:
    """Say what was left out (all of it is in `table`); exit 3 for it unless it was allowed."""
    if not skipped:
        return
    first = skipped[0]
    place = f"row {first.row}" if first.row else first.image
    listed = f"; all in {table}" if table else ""
    screen.note(f"Left out {len(skipped)}: {place} ({first.image}): {first.reason}{listed}")
    if on_error == "skip":
        sys.exit(SKIPPED_ROWS)


def show(outcome: "Outcome", given: dict[str, Any], screen: "Screen", title: str) -> None:
    """The table, the notes and the run folder of a command that evaluates."""
    entries = [result.as_entry() for result in outcome.results]
    if given["as_json"]:
        print_json(entries)
    if outcome.seconds:
        entries = [{**entry, "seconds": seconds} for entry, seconds in zip(entries, outcome.seconds, strict=True)]
    screen.results(title, entries)
    for note in outcome.notes:
        screen.note(note)
    screen.note(f"Run folder: {outcome.path}")
    close(outcome.skipped, given["on_error"], screen, outcome.path / "skipped.csv")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="koclip-consistency", prog_name="koclip-consistency")
def app() -> None:
    """Do an image and its Korean hashtag belong together? Scores 1 (not at all) to 5 (perfectly).

    Start with `demo`: it draws a data set and runs everything below on it.
    """


def show_cache(given: dict[str, Any], entries: list[dict[str, Any]], table: Callable[..., Any]) -> None:
    """What a look at the cache found; an empty one is no fault."""
    from koclip_consistency.workflows.cache import nothing_there

    screen = screen_of(given)
    if given["as_json"]:
        print_json(entries)
    if entries:
        screen.table(table(given["cache"], entries))
    else:
        screen.note(nothing_there(given["cache"]))


@app.command("demo")
@click.option("--quick", is_flag=True, help="A smaller data set and fewer epochs: a first look.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=42, show_default=True, help="Of the data set and everything else."
)
@cache_option
@device_options
@out_options
@screen_options
def demo_command(**given: Any) -> None:
    """Draw a demo data set, run every system on it with the tiny backbone, write the report."""
    from koclip_consistency.screen.console import Screen
    from koclip_consistency.workflows.demo import run_demo

    screen = Screen(quiet=given["quiet"])
    outcome = run_demo(
        out=given["out"],
        runs=given["runs"],
        cache=given["cache"],
        seed=given["seed"],
        quick=given["quick"],
        device=given["device"],
        threads=given["threads"],
        reporter=screen.reporter,
    )
    show(outcome, {**given, "on_error": "skip"}, screen, "Test rows of the demo data set")
    screen.note(f"Report: {outcome.path / 'report.html'}")


@app.group("data")
def data_group() -> None:
    """Check or divide a data set, or draw the demo one."""


@data_group.command("check")
@data_options
@click.option("--controls", is_flag=True, help="Also score the image-blind controls (needs no images).")
@screen_options
def data_check_command(**given: Any) -> None:
    """Health of a data set: repeats, conflicts, broken images, leakage of the published split."""
    from koclip_consistency.screen.tables import health_tables
    from koclip_consistency.workflows.data import check_data, is_complete

    screen = screen_of(given)
    health = check_data(source_of(given), controls=given["controls"], progress=screen.progress)
    if given["as_json"]:
        print_json(health.as_dict())
    for table in health_tables(health):
        screen.table(table)
    if not is_complete(health) and given["on_error"] == "skip":
        sys.exit(SKIPPED_ROWS)


@data_group.command("split")
@data_options
@division_options
@click.option("--folds", type=click.IntRange(min=2), help="Also K outer folds, as `heads --folds`.")
@click.option("-o", "--output", type=PATH, required=True, metavar="SPLIT.csv")
@screen_options
def data_split_command(**given: Any) -> None:
    """Write who is in which split to a file, for --split; runs nothing (needs no images)."""
    from consistency.data.inputs import skipped_beside
    from koclip_consistency.workflows.data import write_division

    screen = screen_of(given)
    evaluation = evaluation_of({**given, "runs": Path("runs"), "out": None})
    written = write_division(
        source_of(given), evaluation, given["output"], folds=given["folds"], progress=screen.progress
    )
    if given["as_json"]:
        print_json(written.as_dict())
    for note in written.notes:
        screen.note(note)
    screen.note(f"Split: {written.rows['train']} rows of train, {written.rows['test']} of test: {written.path}")
    close(written.skipped, given["on_error"], screen, skipped_beside(written.path))


@data_group.command("demo")
@click.argument("out", type=PATH)
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True)
@screen_options
def data_demo_command(out: Path, seed: int, as_json: bool, quiet: bool) -> None:
    """Draw the demo data set: OUT/combined_data.csv and OUT/image/."""
    from koclip_consistency.screen.console import Screen
    from koclip_consistency.workflows.data import draw_demo

    drawn = draw_demo(out, seed=seed)
    if as_json:
        print_json(drawn)
    Screen(quiet=quiet).note(f"Drew {drawn['pictures']} images and {drawn['rows']} rows: {drawn['data']}")


@app.command("extract")
@data_options
@backbone_option
@encoder_options
@out_options
@screen_options
def extract_command(**given: Any) -> None:
    """Encode every distinct image and hashtag once, into the cache."""
    from koclip_consistency.screen.tables import extraction_table
    from koclip_consistency.workflows.extract import run_extract

    encoding, source, screen = encoding_of(given), source_of(given), screen_of(given)
    done = run_extract(source, encoding, runs=given["runs"], out=given["out"], progress=screen.progress)
    extracted = done.extracted
    if given["as_json"]:
        print_json({"fingerprint": extracted.fingerprint, **extracted.report.as_dict()})
    screen.table(extraction_table(extracted))
    for note in filter(None, (extracted.speed_note, extracted.precision_note, *done.folder.notes)):
        screen.note(note)
    screen.note(f"Run folder: {done.folder.path}")
    close(extracted.skipped, given["on_error"], screen, done.folder.path / "skipped.csv")


@app.command("similarity")
@data_options
@backbone_option
@encoder_options
@extract_option
@evaluation_options
@preset_option
@click.option(
    "--method",
    "methods",
    type=click.Choice(["simple", "search", "exact"]),
    multiple=True,
    help="Repeatable.  [default: all three; simple and search with --preset paper]",
)
@click.option(
    "--objective",
    type=click.Choice(["macro-f1", "accuracy", "mae"]),
    default="macro-f1",
    show_default=True,
    help="What the exact thresholds are best at, on train.",
)
@folds_option
@out_options
@screen_options
def similarity_command(**given: Any) -> None:
    """Cosine similarity cut into scores: fixed, searched (published) and exact thresholds."""
    from heads.similarity import METHODS
    from koclip_consistency.workflows.similarity import PAPER_METHODS, run_similarity

    screen = screen_of(given)
    outcome = run_similarity(
        source_of(given),
        encoding_of(given),
        evaluation_of(given),
        methods=given["methods"] or (PAPER_METHODS if given["preset"] else METHODS),
        objective=given["objective"],
        folds=given["folds"],
        progress=screen.progress,
    )
    show(outcome, given, screen, f"Similarity of {given['backbone']}")


@app.command("heads")
@data_options
@backbone_option
@encoder_options
@extract_option
@evaluation_options
@preset_option
@click.option("--grid", is_flag=True, help="Choose among many heads by folds inside train.")
@click.option("--grid-file", type=PATH, help="Your own grid, in TOML (with --grid).")
@folds_option
@click.option("--resume", type=PATH, metavar="RUN_DIR", help="Continue an interrupted grid.")
@click.option("--inner-folds", type=click.IntRange(min=2), metavar="K", help="Of the grid's choice.  [default: 5]")
@click.option(
    "--ensemble",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="The grid's best K answer together.",
)
@click.option(
    "--export-pth",
    is_flag=True,
    help="Also write classifier.pth, as published (its layout: concat features, one hidden layer, five logits).",
)
@out_options
@screen_options
def heads_command(**given: Any) -> None:
    """Heads on the cached embeddings of a frozen backbone: one, a grid, or the published recipe.

    The grid's rule: of all heads whose mean of QWK and macro-F1 over the folds is within one standard error of the
    best, the smallest is trained again on all of train, for the number of epochs at which that mean is highest.
    """
    from koclip_consistency.workflows.heads import run_heads

    if given["grid"] and given["preset"]:
        raise click.UsageError("--grid and --preset paper are two recipes: give one")
    if given["grid_file"] and not given["grid"]:
        raise click.UsageError("--grid-file goes with --grid")
    if given["inner_folds"] and not given["grid"]:
        raise click.UsageError("--inner-folds goes with --grid")
    if given["ensemble"] > 1 and not given["grid"]:
        raise click.UsageError("--ensemble goes with --grid")
    screen = screen_of(given)
    outcome = run_heads(
        source_of(given),
        encoding_of(given),
        evaluation_of(given),
        recipe=given["preset"] or ("grid" if given["grid"] else "default"),
        grid_file=given["grid_file"],
        folds=given["folds"],
        inner_folds=given["inner_folds"] or INNER_FOLDS,
        ensemble=given["ensemble"],
        export_pth=given["export_pth"],
        progress=screen.progress,
        live=screen.reporter.leaders,
    )
    show(outcome, given, screen, f"Heads on {given['backbone']}")


@app.command("finetune")
@data_options
@backbone_option
@click.option("--revision", help="Branch, tag or commit of a hub model.")
@click.option("--decode", type=click.Choice(["ours", "fast", "published"]), help="As for extract.")
@precision_option
@device_options
@evaluation_options
@preset_option
@click.option("--epochs", type=click.IntRange(min=1), help="At most.  [default: the recipe's]")
@click.option("--max-steps", type=click.IntRange(min=1), help="Stop after so many optimizer steps.")
@click.option("--lr", type=float, help="Rate of the encoders.  [default: the recipe's]")
@click.option("--head-lr", type=float, help="Rate of the head.  [default: the recipe's]")
@click.option(
    "--batch-size",
    default="auto",
    show_default=True,
    metavar="auto|N",
    help="Rows, or images with --batch-by image. auto: the recipe's, in smaller parts where memory is short.",
)
@click.option("--batch-by", type=click.Choice(["row", "image"]), help="What a batch counts.")
@click.option("--accumulation", type=click.IntRange(min=1), help="Batches in an optimizer step.")
@click.option("--micro-batch", type=click.IntRange(min=1), metavar="N", help="Encode at most N images at once.")
@click.option("--head", "like", type=PATH, metavar="RUN_DIR", help="Begin with the kind of head that `heads` chose.")
@click.option(
    "--loss",
    type=click.Choice(["cross-entropy", "sord", "emd", "corn", "cumulative-link", "regression"]),
    help="Of the head.  [default: cross-entropy]",
)
@click.option(
    "--class-weights",
    type=click.Choice(["balanced", "none"]),
    help="In the loss.  [default: none; balanced with --preset paper]",
)
@click.option(
    "--average",
    type=click.Choice(["none", "ema", "interpolate"]),
    help="Of the weights: exponential, or with those before training.  [default: ema; none with --preset paper]",
)
@click.option("--patience", type=click.IntRange(min=1), help="Epochs without a better validation score.  [default: 4]")
@click.option(
    "--refit/--no-refit",
    default=None,
    help="Then train as long on all of train, validation rows and all.  [default: refit; no-refit with --preset paper]",
)
@click.option(
    "--crop",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Train on random crops of at least this share of the area.  [default: 1]",
)
@click.option("--flip", is_flag=True, default=None, help="Mirror half of the images (turns their text around).")
@click.option(
    "--freeze", metavar="N|image|text", help="Keep the lowest N layers of both encoders, or one encoder, as is."
)
@click.option("--lora", type=click.IntRange(min=1), metavar="RANK", help="Train low-rank adapters (needs peft).")
@click.option("--gradient-checkpointing", is_flag=True, default=None, help="Less memory, more time.")
@click.option("--checkpoint-steps", type=click.IntRange(min=1), metavar="N", help="Save the state every N steps ...")
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(0, min_open=True),
    default=10,
    show_default=True,
    metavar="M",
    help="... and every M minutes, for --resume.",
)
@click.option("--resume", type=PATH, metavar="RUN_DIR", help="Continue an interrupted run.")
@out_options
@screen_options
def finetune_command(**given: Any) -> None:
    """Fine-tune the encoders and a head end to end (never through the cache)."""
    from finetune.checkpoint import Cadence
    from koclip_consistency.workflows.finetune import run_finetune

    encoding = encoding_of({**given, "cache": Path("cache"), "store": "fp32", "workers": None})
    names = [
        "epochs",
        "max_steps",
        "lr",
        "head_lr",
        "batch_by",
        "accumulation",
        "micro_batch",
        "average",
        "patience",
        "refit",
        "crop",
        "flip",
        "freeze",
        "lora",
        "gradient_checkpointing",
    ]
    changes = {name: given[name] for name in names if given[name] is not None}
    if encoding.batch_size != "auto":
        changes = {"batch_size": encoding.batch_size, "micro_batch": None, **changes}
    if str(changes.get("freeze", "")).isdecimal():
        changes["freeze"] = int(changes["freeze"])
    screen = screen_of(given)
    outcome = run_finetune(
        source_of(given),
        encoding,
        evaluation_of(given),
        recipe=given["preset"] or "default",
        changes=changes,
        head_changes={name: given[name] for name in ("loss", "class_weights") if given[name] is not None},
        like=given["like"],
        cadence=Cadence(given["checkpoint_steps"], given["checkpoint_minutes"]),
        progress=screen.progress,
    )
    show(outcome, given, screen, f"Fine-tuning of {given['backbone']}")


@app.command("paper")
@data_options
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    default=("clip", "koclip"),
    show_default=True,
    metavar="clip|koclip|tiny|HF_ID|FOLDER",
    help="Repeatable.",
)
@encoder_options
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True, help="Of everything random.")
@click.option("--skip", "skips", type=click.Choice(["finetune"]), multiple=True, help="Leave these systems out.")
@click.option("--quick", is_flag=True, help="Two epochs of fine-tuning, one head instead of a grid: a first look.")
@out_options
@screen_options
def paper_command(**given: Any) -> None:
    """All six published systems and ours beside them, protocols paper and grouped, in one table."""
    from koclip_consistency.screen.tables import backbones_table
    from koclip_consistency.workflows.paper import run_paper

    screen = screen_of(given)
    outcome = run_paper(
        source_of(given),
        [encoding_of({**given, "backbone": backbone}) for backbone in given["backbones"]],
        seed=given["seed"],
        runs=given["runs"],
        out=given["out"],
        finetune="finetune" not in given["skips"],
        quick=given["quick"],
        reporter=screen.reporter,
    )
    if table := backbones_table(outcome.results):
        screen.table(table)
    show(outcome, given, screen, "Published systems and ours")


@app.command("audit")
@data_options
@backbone_option
@encoder_options
@extract_option
@near_duplicates_option
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True, help="Of everything random.")
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Outer folds, by image.")
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Divisions into folds, whose judges' probabilities are averaged.",
)
@click.option("--top", type=click.IntRange(min=1), default=24, show_default=True, help="Rows to show.")
@click.option("--clean", type=PATH, metavar="CSV", help="Clean labels (row, clean_score), to measure the ranking by.")
@out_options
@screen_options
def audit_command(**given: Any) -> None:
    """Which labels are doubtful? Rows ranked by heads that have never seen the row's image.

    Writes audit.csv (all rows, the most doubtful first) and report.html with the images of the first.
    """
    from consistency.options import Evaluation
    from koclip_consistency.screen.tables import audit_table
    from koclip_consistency.workflows.audit import describe_precision, run_audit

    screen = screen_of(given)
    audit = run_audit(
        source_of(given),
        encoding_of(given),
        Evaluation(seed=given["seed"], near_duplicates=given["near_duplicates"], runs=given["runs"], out=given["out"]),
        folds=given["folds"],
        repeats=given["repeats"],
        top=given["top"],
        clean=given["clean"],
        progress=screen.progress,
    )
    if given["as_json"]:
        print_json(audit.as_dict(given["top"]))
    screen.table(audit_table(audit, given["top"]))
    for note in audit.outcome.notes:
        screen.note(note)
    if given["clean"]:
        screen.note(describe_precision(audit.precision))
    screen.note(f"Report: {audit.outcome.path / 'report.html'}")
    screen.note(f"Run folder: {audit.outcome.path}")
    close(audit.outcome.skipped, given["on_error"], screen, audit.outcome.path / "skipped.csv")


@app.command("rerun")
@click.argument("run_dir", type=PATH, metavar="RUN_DIR")
@click.option("--data", type=PATH, help="Where the CSV is now.  [default: where the run found it]")
@click.option("--images", type=PATH, help="Where the images are now.  [default: likewise]")
@click.option("--cache", type=PATH, help="Folder of the embeddings.  [default: the run's]")
@out_options
@screen_options
def rerun_command(run_dir: Path, **given: Any) -> None:
    """Repeat a run from its run.json: are predictions, metrics, split and weights the same, byte for byte?

    Exits 0 if they are, 1 if not, 2 if the run cannot be repeated.
    """
    from koclip_consistency.screen.tables import changes_table, files_table
    from koclip_consistency.workflows.rerun import Where, rerun

    screen = screen_of(given)
    names = ("out", "runs", "data", "images", "cache")
    found = rerun(run_dir, Where(**{name: given[name] for name in names}), screen.reporter)
    if given["as_json"]:
        print_json(found.as_dict())
    if found.changes:
        screen.table(changes_table(found))
    screen.table(files_table(found))
    screen.note("Identical" if found.identical else "Different")
    screen.note(f"Run folder: {found.path}")
    if not found.identical:
        sys.exit(FAILED)


@app.command("compare")
@click.argument("run_dirs", type=PATH, nargs=-1, required=True, metavar="RUN_DIR RUN_DIR...")
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True)
@screen_options
def compare_command(run_dirs: tuple[Path, ...], seed: int, as_json: bool, quiet: bool) -> None:
    """Paired differences between runs on the same test rows, with intervals over images (or hashtags)."""
    from koclip_consistency.screen.console import Screen
    from koclip_consistency.screen.tables import differences_table
    from koclip_consistency.workflows.report import compare_folders, comparison_notes

    screen = Screen(quiet=quiet)
    differences = compare_folders(run_dirs, seed=seed)
    if as_json:
        print_json([difference.as_dict() for difference in differences])
    screen.table(differences_table(differences))
    for note in comparison_notes(differences):
        screen.note(note)


@app.command("score")
@click.option(
    "--model",
    type=PATH,
    required=True,
    metavar="RUN_DIR|FILE.pth",
    help="A run of similarity, heads or finetune, or weights of the published scripts.",
)
@click.option(
    "--backbone",
    metavar="clip|koclip|tiny|HF_ID|FOLDER",
    help="That of a FILE.pth; a run knows its own.",
)
@click.option("--system", help="Where the run holds several.")
@click.option("--image", type=PATH, help="One image ...")
@click.option("--hashtag", "hashtags", multiple=True, help="... and its hashtags (repeatable).")
@data_options
@cache_option
@device_options
@click.option("-o", "--output", type=PATH, metavar="OUT.csv", help="Scores of every row of --data.")
@screen_options
def score_command(**given: Any) -> None:
    """Score new images and hashtags with a trained run, or with the published classifier or fine_tuned .pth."""
    from consistency.data.inputs import skipped_beside
    from koclip_consistency.screen.tables import scores_table
    from koclip_consistency.workflows.score import load_scorer, score_image, score_table

    screen = screen_of(given)
    one = given["image"] is not None
    if one != bool(given["hashtags"]):
        raise click.UsageError("--image and --hashtag go together")
    if one == (given["output"] is not None):
        raise click.UsageError("give either --image with --hashtag, or --data, --images and -o OUT.csv")
    scorer = load_scorer(
        given["model"],
        system=given["system"],
        backbone=given["backbone"],
        cache=given["cache"],
        device=given["device"],
        threads=given["threads"],
        progress=screen.progress,
    )
    if one:
        scored, skipped = score_image(scorer, given["image"], given["hashtags"], source_of(given))
    else:
        scored, skipped = score_table(scorer, source_of(given), given["output"])
        screen.note(f"Scored {len(scored)} rows with {scorer.system}: {given['output']}")
    if given["as_json"]:
        print_json(scored)
    elif one:
        screen.table(scores_table(scorer.system, scored))
    close(skipped, given["on_error"], screen, None if one else skipped_beside(given["output"]))


@app.command("report")
@click.argument("run_dirs", type=PATH, nargs=-1, required=True, metavar="RUN_DIR...")
@click.option("-o", "--output", type=PATH, required=True, metavar="report.html")
@click.option("--images", type=PATH, envvar="KOCLIP_IMAGES", help="Folder of the images.  [default: the run's]")
@screen_options
def report_command(run_dirs: tuple[Path, ...], output: Path, images: Path | None, as_json: bool, quiet: bool) -> None:
    """One HTML page of several runs: table, confusion matrices, curves, images with their scores."""
    from koclip_consistency.screen.console import Screen
    from koclip_consistency.workflows.report import report_runs

    written = report_runs(run_dirs, output, images=images)
    if as_json:
        print_json(written)
    Screen(quiet=quiet).note(f"Report: {output}")


@app.group("cache")
def cache_group() -> None:
    """Look after the stored embeddings."""


which_cache_options = options(
    cache_option,
    click.option("--backbone", envvar="KOCLIP_BACKBONE", help="Only this backbone's."),
    click.option("--fingerprint", metavar="HEX", help="Only the one whose fingerprint starts so."),
)


@cache_group.command("info")
@which_cache_options
@screen_options
def cache_info_command(**given: Any) -> None:
    """Rows, bytes, models and age; with --fingerprint also all that decides the vectors, in plain words."""
    from koclip_consistency.screen.tables import info_table
    from koclip_consistency.workflows.cache import cache_info, in_words

    entries = cache_info(choice_of(given))
    show_cache(given, entries, info_table)
    for line in in_words(entries) if given["fingerprint"] else ():
        screen_of(given).note(line)


@cache_group.command("verify")
@which_cache_options
@screen_options
def cache_verify_command(**given: Any) -> None:
    """Check every digest; damage is quarantined (then `extract` fills the holes) and exits 1."""
    from koclip_consistency.screen.tables import verify_table
    from koclip_consistency.workflows.cache import cache_verify

    entries = cache_verify(choice_of(given))
    show_cache(given, entries, verify_table)
    damaged = [line for entry in entries for line in entry["damaged"]]
    for line in damaged:
        screen_of(given).note(line)
    if damaged:
        sys.exit(FAILED)


@cache_group.command("compact")
@which_cache_options
@screen_options
def cache_compact_command(**given: Any) -> None:
    """Merge small segments into larger ones; readers and writers may go on meanwhile."""
    from koclip_consistency.screen.tables import compact_table
    from koclip_consistency.workflows.cache import cache_compact

    show_cache(given, cache_compact(choice_of(given)), compact_table)


@cache_group.command("gc")
@which_cache_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@screen_options
def cache_gc_command(**given: Any) -> None:
    """Remove the embeddings of every other model than the one named."""
    from koclip_consistency.screen.tables import info_table
    from koclip_consistency.workflows.cache import cache_gc, others

    choice, screen = choice_of(given), screen_of(given)
    if not choice.backbone and not choice.fingerprint:
        raise click.UsageError("name the model to keep with --backbone or --fingerprint")
    doomed = others(choice)
    if doomed:
        screen.table(info_table(choice.root, doomed))
    if doomed and not given["yes"]:
        try:
            doomed = doomed if click.confirm(f"Remove these {len(doomed)}?", err=True) else []
        except click.Abort:
            if sys.stdin.isatty():
                raise
            raise click.UsageError("there is nobody to ask whether to remove these: give --yes") from None
    removed = cache_gc(choice.root, [entry["fingerprint"] for entry in doomed])
    if given["as_json"]:
        print_json(removed)
    screen.note(f"Removed {len(removed)} sets of embeddings")


@cache_group.command("export")
@click.argument("out", type=PATH, metavar="OUT.npz|OUT.h5")
@data_options
@which_cache_options
@screen_options
def cache_export_command(out: Path, **given: Any) -> None:
    """Write the stored vectors of a data set to one plain file."""
    from consistency.data.inputs import skipped_beside
    from koclip_consistency.workflows.cache import cache_export

    screen = screen_of(given)
    written, skipped = cache_export(source_of(given), out, choice_of(given))
    if given["as_json"]:
        print_json(written)
    for damage in written["damaged"]:
        screen.note(damage)
    screen.note(f"Exported {written['images']} images and {written['hashtags']} hashtags: {out}")
    close(skipped, given["on_error"], screen, skipped_beside(out))


def main() -> None:
    """Run a command; every error a user can cause is one line and an exit code."""
    try:
        app.main(standalone_mode=False)
    except ConsistencyError as error:
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        how = "".join(f" with {option}" for option in getattr(error.__cause__ or error, "__notes__", [])[-1:])
        _fail(f"interrupted; what is finished is kept: run it again{how}", INTERRUPTED)
    except BrokenPipeError:  # `... --json | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename or 'a file'}", FAILED)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        _fail("out of memory: use a smaller --batch-size, or fewer rows", FAILED)


def _fail(message: str, code: int) -> None:
    from consistency.text import visible

    click.echo(f"Error: {visible(' '.join(message.split()))}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
