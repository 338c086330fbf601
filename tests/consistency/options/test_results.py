"""Options of commands that work on finished runs."""

from pathlib import Path

from consistency.options import ExportOptions, RunsGcOptions, RunsListOptions, as_config, from_config, places


def test_an_export_names_run_and_folder() -> None:
    options = ExportOptions(run_dir=Path("runs/heads"), folder=Path("scorer"))
    assert from_config(ExportOptions, as_config(options)) == options
    flags = {place.name: place.flag for place in places(ExportOptions)}
    assert flags["folder"] == "-o --output"
    assert flags["licence"] == "--licence"


def test_nothing_is_deleted_by_default() -> None:
    options = RunsGcOptions()
    assert not options.delete
    assert not options.yes
    assert RunsListOptions().runs == Path("runs")
