"""`data check`, `data split` and `data demo`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from consistency.durable import check_folder, check_output, write_file
from consistency.errors import InputError
from consistency.figures import METRIC_TITLES, number
from consistency.health import CONTROL_METRICS, Health, check
from consistency.images import find_images
from consistency.leakage import Leakage, leakage
from consistency.pairs import Skipped
from consistency.progress import Progress, silent
from consistency.runs import split_csv
from consistency.splits import with_folds
from demo.dataset import is_drawing, write_demo
from workflows.console import Table
from workflows.evaluate import describe_division, split_table
from workflows.inputs import list_skipped, read_inputs, read_table, refuse_skipped
from workflows.options import Evaluation, Source

SHOWN_FAULTS = 20


@dataclass(frozen=True)
class Division:
    """A split that was written to a file. rows: kept rows of each side; notes: its leakage, line by line."""

    path: Path
    protocol: str
    rows: dict[str, int]
    folds: int | None
    leakage: Leakage
    notes: tuple[str, ...]
    skipped: tuple[Skipped, ...]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


def check_data(source: Source, *, controls: bool = False, progress: Progress = silent) -> Health:
    """The health of a data set; what the CSV alone shows where its pictures are not there."""
    table = read_table(source)
    refuse_skipped(table.skipped, source.on_error)
    files = find_images(table.images, source.images)
    return check(table, files, limits=source.limits, controls=controls, progress=progress)


def write_division(
    source: Source, evaluation: Evaluation, out: Path, *, folds: int | None = None, progress: Progress = silent
) -> Division:
    """Draw the split that a command with these options would draw, and write it to `out`, as runs write split.csv.

    Where no picture is found, pictures are told apart by name.
    """
    if out.exists() and source.data.exists() and out.samefile(source.data):
        raise InputError(f"-o {out} is the pair table itself: name another file")
    check_output(out)
    inputs = read_inputs(source, near_duplicates=evaluation.near_duplicates, pictures_needed=False, progress=progress)
    split = split_table(inputs, source, evaluation)
    if folds:
        split = with_folds(split, folds)
    write_file(out, split_csv(inputs.table, split))
    list_skipped(out, inputs.skipped)
    blind = ("no picture was found: pictures are told apart by name",) * inputs.none_found
    return Division(
        path=out,
        protocol=split.protocol,
        rows={side: len(split.rows(side)) for side in ("train", "test")},
        folds=folds,
        leakage=leakage(split, inputs.identity, inputs.table.hashtags, inputs.scenes),
        notes=(*describe_division(split, inputs).notes, *blind),
        skipped=inputs.skipped,
    )


def draw_demo(out: Path, *, seed: int) -> dict[str, Any]:
    """The demo data set in `out`, which must be new, empty, or an earlier drawing."""
    if out.is_dir() and not is_drawing(out):
        raise InputError(f"{out} holds something else than an earlier drawing: name another folder, or empty it")
    check_folder(out)
    write_demo(out, seed=seed)
    source = Source(data=out / "combined_data.csv", images=out / "image")
    table = read_table(source)
    return {
        "data": str(source.data),
        "images": str(source.images),
        "rows": len(table),
        "pictures": len(set(table.images)),
        "seed": seed,
    }


def health_tables(health: Health) -> list[Table]:
    """What `data check` shows: the counts, the leakage of each protocol, the controls where they were asked for."""
    pictures = health.pictures
    if pictures.none_found:
        seen, lost = "not found: what follows comes from the CSV alone", ""
    else:
        lacking = health.rows - health.rows_with_picture
        lost = f"; {lacking} of them without a usable picture" if lacking else ""
        seen = f"{pictures.usable} usable, {len(pictures.missing)} missing, {len(pictures.broken)} broken"
    counts: list[list[object]] = [
        ["rows", f"{health.rows} usable, {len(health.skipped)} not{lost}"],
        ["encoding", health.encoding],
        ["images", health.images],
        ["pictures", seen],
        ["same picture under several names", len(pictures.duplicates)],
        ["distinct hashtags", f"{health.hashtags} ({health.not_nfc} rows not NFC)"],
        ["rows whose hashtag starts with #", health.with_hash],
        ["distinct pairs", health.pairs],
        ["exact repeats", health.repeats],
        ["repeats with conflicting scores", health.conflicts],
        ["scores 1 2 3 4 5", " ".join(str(health.score_counts[score]) for score in sorted(health.score_counts))],
    ]
    tables = [Table(f"{health.path}", ("", "found"), counts, left=2)]
    leaks = (
        ("paper", health.published_leakage),
        ("grouped", health.grouped_leakage),
        ("hashtag", health.hashtag_leakage),
    )
    rows: list[list[object]] = [
        [name, leak.n, *(f"{seen} of {leak.n}" for seen in (leak.image, leak.pair, leak.hashtag))]
        for name, leak in leaks
        if leak
    ]
    if rows:
        columns: tuple[str, ...] = (
            "protocol",
            "test rows",
            "image in train",
            "exact pair in train",
            "hashtag in train",
        )
        tables.append(Table("Leakage: test rows whose image, pair or hashtag is also in train", columns, rows))
    if health.not_drawn:
        tables.append(
            Table("Splits that cannot be drawn", ("protocol", "why"), list(map(list, health.not_drawn)), left=2)
        )
    if health.controls:
        rows = [
            [protocol, system, *(number(figures[key]) for key in CONTROL_METRICS)]
            for protocol, systems in health.controls.items()
            for system, figures in systems.items()
        ]
        headings = ("protocol", "control", *(METRIC_TITLES[key] for key in CONTROL_METRICS))
        tables.append(
            Table("Picture-blind controls (grouped: mean of 10 divisions of the images)", headings, rows, left=2)
        )
    faults = [[f"row {s.row}" if s.row else s.image, s.reason] for s in health.skipped] + [
        [name, reason] for name, reason in (*pictures.missing * (not pictures.none_found), *pictures.broken)
    ]
    if faults:
        more = f" (the first {SHOWN_FAULTS} of {len(faults)})" if len(faults) > SHOWN_FAULTS else ""
        tables.append(Table(f"Cannot be used{more}", ("where", "why"), faults[:SHOWN_FAULTS], left=2))
    return tables


def is_complete(health: Health) -> bool:
    """Whether every row and every picture can be used."""
    return not (health.skipped or health.pictures.missing or health.pictures.broken)
