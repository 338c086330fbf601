"""`data check` and `data demo`."""

from pathlib import Path
from typing import Any

from consistency.errors import InputError
from consistency.figures import number
from consistency.health import Health, check
from consistency.images import find_images
from consistency.progress import Progress, silent
from demo.dataset import write_demo
from workflows.console import Table
from workflows.inputs import read_table, refuse_skipped
from workflows.options import Source

SHOWN_FAULTS = 20


def check_data(source: Source, *, controls: bool = False, progress: Progress = silent) -> Health:
    """The health of a data set; what the CSV alone shows where its pictures are not there."""
    table = read_table(source)
    refuse_skipped(table.skipped, source.on_error)
    files = find_images(table.images, source.images)
    return check(table, files, limits=source.limits, controls=controls, progress=progress)


def draw_demo(out: Path, *, seed: int) -> dict[str, Any]:
    """The demo data set in `out`, which must be new, empty, or an earlier drawing."""
    if out.is_file():
        raise InputError(f"{out} is a file, expected a folder to draw into: name another one")
    if out.is_dir() and any(out.iterdir()) and not (out / "combined_data.csv").is_file():
        raise InputError(f"{out} is not empty and holds no data set: name another folder, or empty it")
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
    """What `data check` shows: the counts, the leakage of both protocols, the controls where they were asked for."""
    pictures = health.pictures
    if pictures.none_found:
        seen = "not found: what follows comes from the CSV alone"
    else:
        seen = f"{pictures.usable} usable, {len(pictures.missing)} missing, {len(pictures.broken)} broken"
    counts: list[list[object]] = [
        ["rows", f"{health.rows} usable, {len(health.skipped)} not"],
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
    leaks = [(name, leak) for name, leak in (("paper", health.published_leakage), ("grouped", health.grouped_leakage))]
    rows: list[list[object]] = [
        [name, leak.n, *(f"{seen} of {leak.n}" for seen in (leak.image, leak.pair, leak.hashtag))]
        for name, leak in leaks
        if leak
    ]
    if rows:
        columns = ("protocol", "test rows", "image in train", "exact pair in train", "hashtag in train")
        tables.append(Table("Leakage: test rows whose image, pair or hashtag is also in train", columns, rows))
    if health.controls:
        rows = [
            [protocol, system, *(number(figures[key]) for key in ("accuracy", "macro_f1", "qwk"))]
            for protocol, systems in health.controls.items()
            for system, figures in systems.items()
        ]
        columns = ("protocol", "control", "accuracy", "macro-F1", "QWK")
        tables.append(
            Table("Picture-blind controls (grouped: mean of 10 divisions of the images)", columns, rows, left=2)
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
