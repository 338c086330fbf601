"""`report` and `compare`: finished run folders, read and shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consistency.durable import check_output
from consistency.evaluation.compare import RESAMPLES, Difference, compare_runs
from consistency.report.page import write_report
from consistency.runs.read import UNANSWERED, Run, read_info, read_run


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
    """One HTML page of the runs. images: the folder of the images, by default where each run found its own."""
    check_output(out)
    runs = read_runs(folders)
    write_report(runs, out, images=images)
    return {"report": str(out), "runs": [str(run.path) for run in runs]}


def compare_folders(folders: Sequence[Path], *, seed: int) -> list[Difference]:
    # An audit judges every row and tests on none.
    return compare_runs(
        [(run.path.name, run.results) for run in read_runs(folders) if run.command != "audit"], seed=seed
    )


def comparison_notes(differences: Sequence[Difference]) -> tuple[str, str]:
    """What the intervals are over, and what they leave out."""
    systems = len({d.name for d in differences})
    corrected = f", corrected (Holm) for the {systems} systems compared on a metric" if systems > 1 else ""
    return (
        f"intervals and p over {RESAMPLES:,} resamples of the test images (or hashtags, if whole), "
        f"the same for both systems{corrected}",
        "they leave out what training again would change: run both with several --seed, and --split RUN_DIR/split.csv",
    )
