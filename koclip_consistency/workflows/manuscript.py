"""`report --paper`: finished runs as figures, a table and a methods paragraph for a manuscript."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from consistency.durable import check_folder
from consistency.errors import InputError
from consistency.options import AgreementOptions, ReportOptions, Source
from consistency.report.page import shown_result
from consistency.report.paper.write import Raters, Written, write_paper
from consistency.runs.read import Run, read_options
from koclip_consistency.workflows.agreement import run_agreement
from koclip_consistency.workflows.report import read_runs


def write_manuscript(options: ReportOptions) -> Written:
    """Write the files of `consistency.report.paper` about the runs of `report --paper`.

    Raises
    ------
    InputError
        If no run has a result, a file of a run is damaged, or the columns of `--columns` are not scores of raters.
    """
    assert options.paper is not None
    check_folder(options.paper)
    runs = read_runs(options.run_dirs)
    return write_paper(runs, options.paper, raters=_raters(options, runs))


def _raters(options: ReportOptions, runs: Sequence[Run]) -> Raters | None:
    """The raters of the table, beside the system that the figures show; None if there is no such table."""
    run, main = shown_result(runs)
    system = main.predictions.system
    columns = options.columns.split(",") if options.columns else run.setting("source", "score_column")
    if not isinstance(columns, list):  # one column
        return None
    source: Source = read_options(run.path / "run.json", run.setting("source"), Source, complete=False)
    data = options.data or Path(str(run.info.get("directory", ""))) / source.data  # relative to where the run began
    if not data.is_file() and not options.columns:
        return None
    if not data.is_file():
        raise InputError(f"there is no table {data}, where {run.path} found it: name the table with --data")
    source = replace(source, data=data, score_column="")
    agreed = run_agreement(AgreementOptions(columns=",".join(map(str, columns)), run=run.path, source=source))
    models = [pair for pair in agreed.models if pair.first == system]
    raters = dict.fromkeys(name for pair in agreed.pairs for name in (pair.first, pair.second))
    return Raters((*raters, *([system] if models else [])), (*agreed.pairs, *models))
