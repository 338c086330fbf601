"""`data check`, `data split`, `data codebook` and `data demo`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from consistency.data.codebook import Codebook, make_codebook, parse_meanings
from consistency.data.files import find_images
from consistency.data.folds import with_folds
from consistency.data.inputs import list_skipped, read_inputs, read_table, refuse_overwriting, refuse_skipped
from consistency.data.leakage import Leakage, leakage
from consistency.data.pairs import Skipped
from consistency.durable import check_folder, check_output, make_folder, write_file
from consistency.errors import InputError
from consistency.evaluation.control_figures import ControlChoice
from consistency.evaluation.health import Health, check
from consistency.options import DataCheckOptions, DataCodebookOptions, DataDemoOptions, DataSplitOptions, Source
from consistency.progress import QUIET, Progress, Reporter, silent
from consistency.runs.folder import split_csv
from demo.annotators import column_names
from demo.dataset import IMAGES, is_drawing, write_demo
from demo.like_published import IMAGES as LIKE_PUBLISHED
from koclip_consistency.workflows.division import describe_division, split_table


@dataclass(frozen=True)
class WrittenSplit:
    """A split that was written to a file.

    Attributes
    ----------
    path
        The file.
    protocol
        How the rows were divided.
    rows
        Number of kept rows on each side.
    folds
        Number of outer folds, None without.
    leakage
        How many test rows share something with train.
    notes
        The same in words, one line each.
    skipped
        Rows that are left out.
    """

    path: Path
    protocol: str
    rows: dict[str, int]
    folds: int | None
    leakage: Leakage
    notes: tuple[str, ...]
    skipped: tuple[Skipped, ...]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


def check_data(options: DataCheckOptions, *, progress: Progress = silent) -> Health:
    """Check a data set. Without images, the result describes the table alone."""
    source = options.source
    table = read_table(source)
    refuse_skipped(table.skipped, source.on_error)
    files = find_images(table.images, source.images)
    controls = ControlChoice(options.folds, options.ordered, options.seed) if options.controls else None
    return check(table, files, limits=source.limits, controls=controls, progress=progress)


def write_codebook(options: DataCodebookOptions) -> Codebook:
    """Write codebook.md, columns.csv and codes.csv of a table into a folder."""
    check_folder(options.folder)
    codebook = make_codebook(options.source, parse_meanings(options.meanings))
    files = {options.folder / name: content for name, content in codebook.files().items()}
    for path in files:
        refuse_overwriting(options.source, path)
    make_folder(options.folder)
    for path, content in files.items():
        write_file(path, content)
    return codebook


def write_split(options: DataSplitOptions, reporter: Reporter = QUIET) -> WrittenSplit:
    """Write the split that a command with these options would draw, in the format of a run's split.csv.

    If no image is found, images are identified by name.
    """
    source, evaluation, out = options.source, options.evaluation, options.file
    refuse_overwriting(source, out)
    check_output(out)
    inputs = read_inputs(
        source, near_duplicates=evaluation.near_duplicates, images_needed=False, progress=reporter.progress
    )
    split = split_table(inputs, source, evaluation)
    if options.folds:
        split = with_folds(split, options.folds)
    write_file(out, split_csv(inputs.table, split))
    list_skipped(out, inputs.skipped)
    blind = ("no image was found, so images are identified by name",) * inputs.none_found
    return WrittenSplit(
        path=out,
        protocol=split.protocol,
        rows={side: len(split.rows(side)) for side in ("train", "test")},
        folds=options.folds,
        leakage=leakage(split, inputs.identity, inputs.table.hashtags, inputs.scenes),
        notes=(*describe_division(split, inputs).notes, *blind),
        skipped=inputs.skipped,
    )


def draw_demo(options: DataDemoOptions) -> dict[str, Any]:
    """Draw the demo data set into a folder, which must be new, empty, or an earlier drawing."""
    out, like_published = options.folder, options.like_published
    images = LIKE_PUBLISHED if like_published else IMAGES
    if out.is_dir() and not is_drawing(out):
        raise InputError(f"{out} holds other files than an earlier drawing: choose another folder, or empty it")
    check_folder(out)
    write_demo(
        out,
        seed=options.seed,
        images=images,
        like_published=like_published,
        annotators=options.annotators,
        noise=options.noise,
        missing=options.missing,
    )
    source = Source(data=out / "combined_data.csv", images=out / "image")
    table = read_table(source)
    return {
        "data": str(source.data),
        "images": str(source.images),
        "rows": len(table),
        "pictures": len(set(table.images)),
        "seed": options.seed,
        **({"annotators": list(column_names(options.annotators))} if options.annotators else {}),
    }


def is_complete(health: Health) -> bool:
    """Whether every row and every image can be used."""
    return not (health.skipped or health.image_files.missing or health.image_files.broken)
