"""`report` and `compare`: read finished run folders and compare them."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from consistency.durable import check_output
from consistency.errors import InputError
from consistency.evaluation.compare import RESAMPLES, Difference, comparable, compare
from consistency.evaluation.metrics import evaluate
from consistency.evaluation.results import Result
from consistency.report.page import write_report
from consistency.runs.origin import made_here
from consistency.runs.read import UNANSWERED, Run, read_info, read_run
from koclip_consistency.workflows.relabel import read_relabelled


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
    """Write one HTML page about the runs.

    The images are in `images`, or by default where each run of this user found them; runs of others show none.
    """
    check_output(out)
    runs = read_runs(folders)
    write_report(runs, out, images=images)
    others = [] if images else [str(run.path) for run in runs if not made_here(run.path, run.info)]
    return {"report": str(out), "runs": [str(run.path) for run in runs], "without_images": others}


def compare_folders(
    folders: Sequence[Path], *, seed: int, relabelled: Path | None = None
) -> tuple[list[Difference], tuple[str, ...]]:
    """Compare runs; returns the differences and lines about them. The rows of a list of `data relabel` are left out."""
    runs = [run for run in read_runs(folders) if run.command != "audit"]  # an audit has no test rows
    results, names = comparable([(run.path.name, run.results) for run in runs])
    seen = [
        f"{name}: {result.trained_on.describe(result.predictions.backbone, split=result.predictions.split)}"
        for result, name in zip(results, names, strict=True)
        if result.trained_on
    ]
    unknown = [
        f"{run.path.name}: what its backbone {run.info['backbone']} was trained on is unknown"
        for run in runs
        if run.detail("division", "trained_on_known") is False
    ]
    left_out: tuple[str, ...] = ()
    if relabelled is not None:
        rows, before = read_relabelled(relabelled), len(results[0].predictions)
        results = [_without(result, rows) for result in results]
        if not (after := len(results[0].predictions)):
            raise InputError(f"{relabelled} lists every row that {names[0]} was tested on: nothing is left to compare")
        left_out = (f"compared on the {after} rows that were not relabelled; {before - after} others were left out",)
    return compare(results, names=names, seed=seed), (*left_out, *seen, *unknown, *_covered(len(names) - 1))


def _without(result: Result, rows: Collection[int]) -> Result:
    """A result without some rows."""
    p = result.predictions
    kept = ~np.isin(p.rows, list(rows))
    columns = ("rows", "images", "hashtags", "scores", "predicted", "values", "clusters")
    chances = None if p.probabilities is None else p.probabilities[kept]
    p = replace(p, **{name: getattr(p, name)[kept] for name in columns}, probabilities=chances)
    figures = evaluate(p.scores, p.predicted, p.values, chances) if len(p) else {}
    return replace(result, predictions=p, metrics=figures, ci95={})


def _covered(systems: int) -> tuple[str, str]:
    """What the intervals resample, and what they do not cover."""
    corrected = f", corrected (Holm) for the {systems} systems compared on a metric" if systems > 1 else ""
    return (
        f"intervals and p-values from {RESAMPLES:,} resamples of the test images (hashtags, if those are whole), "
        f"the same for both systems{corrected}",
        "they do not cover another training: run both with --seeds",
    )
