"""`report` and `compare`: finished run folders, read and shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consistency.compare import RESAMPLES, Difference, compare_runs
from consistency.durable import check_output
from consistency.figures import METRIC_TITLES, number, signed
from consistency.finished import UNANSWERED, read_info, read_run
from consistency.report import write_report
from consistency.runs import Run
from workflows.console import Table


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Finished runs; a folder of several (of `demo` or `paper`) stands for the runs in it, in the order they ended."""
    runs = []
    for folder in folders:
        inside = {path.parent: read_info(path.parent) for path in folder.glob("**/run.json") if path.parent != folder}
        answered = [path for path, info in inside.items() if info["command"] not in UNANSWERED]
        answered.sort(
            key=lambda path: (str(inside[path].get("finished")), (path / "run.json").stat().st_mtime_ns, path)
        )
        runs += [read_run(path) for path in answered or [folder]]
    return runs


def report_runs(folders: Sequence[Path], out: Path, *, images: Path | None = None) -> dict[str, Any]:
    """One HTML page of the runs. images: the folder of the pictures, by default where each run found its own."""
    check_output(out)
    runs = read_runs(folders)
    write_report(runs, out, images=images)
    return {"report": str(out), "runs": [str(run.path) for run in runs]}


def compare_folders(folders: Sequence[Path], *, seed: int) -> list[Difference]:
    # An audit judges every row and tests on none.
    return compare_runs([run for run in read_runs(folders) if run.command != "audit"], seed=seed)


def comparison_notes(differences: Sequence[Difference]) -> tuple[str, str]:
    """What the intervals are over, and what they leave out."""
    systems = len({d.name for d in differences})
    corrected = f", corrected (Holm) for the {systems} systems compared on a metric" if systems > 1 else ""
    return (
        f"intervals and p over {RESAMPLES:,} resamples of the test pictures (or hashtags, if whole), "
        f"the same for both systems{corrected}",
        "they leave out what training again would change: run both with several --seed, and --split RUN_DIR/split.csv",
    )


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
            "–" if d.p_holm is None else "<.001" if d.p_holm < 0.001 else number(d.p_holm),
        ]
        for d in differences
    ]
    title = f"Differences to {differences[0].reference} on {differences[0].n} rows"
    return Table(title, ("system", "metric", "value", "difference", "95 %", "p (Holm)"), rows, left=2)
