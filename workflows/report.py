"""`report` and `compare`: finished run folders, read and shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consistency.compare import Difference, compare_runs
from consistency.errors import InputError
from consistency.report import write_report
from consistency.runs import Run, read_run
from workflows.console import METRIC_TITLES, Table, number, signed


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Finished runs; a folder of several (of `demo` or `paper`) stands for the runs in it, in the order written."""
    runs = []
    for folder in folders:
        inside = sorted(folder.glob("**/run.json"), key=lambda path: path.stat().st_mtime)
        inside = [path for path in inside if path.parent != folder]
        runs += [read_run(path.parent) for path in inside] if inside else [read_run(folder)]
    return runs


def report_runs(folders: Sequence[Path], out: Path, *, images: Path | None = None) -> dict[str, Any]:
    """One HTML page of the runs; pictures from `images`, or from where the runs found them if that is still there."""
    if out.is_dir():
        raise InputError(f"{out} is a folder, expected a file name such as {out / 'report.html'}")
    runs = read_runs(folders)
    if images is None:
        recorded = runs[0].config.get("source", {}).get("images")
        images = Path(recorded) if recorded and Path(recorded).is_dir() else None
    write_report(runs, out, images=images)
    return {"report": str(out), "runs": [str(run.path) for run in runs]}


def compare_folders(folders: Sequence[Path], *, seed: int) -> list[Difference]:
    return compare_runs(read_runs(folders), seed=seed)


def differences_table(differences: Sequence[Difference]) -> Table:
    names = {d.name for d in differences}
    short = {name: name.rsplit("/", 1)[-1] for name in names}  # without its run, where that is no ambiguity
    unambiguous = len(set(short.values())) == len(names)
    rows = [
        [
            short[d.name] if unambiguous else d.name,
            METRIC_TITLES.get(d.metric, d.metric),
            number(d.value),
            signed(d.difference),
            "–" if d.low is None else f"{signed(d.low)} to {signed(d.high)}",
            "–" if d.p_holm is None else f"{d.p_holm:.3f}",
        ]
        for d in differences
    ]
    title = f"Differences to {differences[0].reference} on {differences[0].n} rows"
    return Table(title, ("system", "metric", "value", "difference", "95 %", "p (Holm)"), rows, left=2)
