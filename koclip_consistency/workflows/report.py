"""`report` and `compare`: read finished run folders and compare them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consistency.durable import check_output
from consistency.evaluation.compare import RESAMPLES, Difference, compare_runs
from consistency.report.page import write_report
from consistency.runs.read import UNANSWERED, Run, read_info, read_run


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read finished runs; a folder of `demo` or `paper` counts as its runs, in the order in which they finished."""
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
    """Write one HTML page about the runs. The images are in `images`, or by default where each run found them."""
    check_output(out)
    runs = read_runs(folders)
    write_report(runs, out, images=images)
    return {"report": str(out), "runs": [str(run.path) for run in runs]}


def compare_folders(folders: Sequence[Path], *, seed: int) -> list[Difference]:
    # An audit has no test rows.
    return compare_runs(
        [(run.path.name, run.results) for run in read_runs(folders) if run.command != "audit"], seed=seed
    )


def comparison_notes(differences: Sequence[Difference]) -> tuple[str, str]:
    """What the intervals resample, and what they do not cover."""
    systems = len({d.name for d in differences})
    corrected = f", corrected (Holm) for the {systems} systems compared on a metric" if systems > 1 else ""
    return (
        f"intervals and p-values from {RESAMPLES:,} resamples of the test images (hashtags, if those are whole), "
        f"the same for both systems{corrected}",
        "they do not cover another training: run both with several --seed and --split RUN_DIR/split.csv",
    )
