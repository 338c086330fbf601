"""Options of commands that work on finished runs."""

from pathlib import Path

from consistency.options import ExportOptions, as_config, from_config, places


def test_an_export_names_run_and_folder() -> None:
    options = ExportOptions(run_dir=Path("runs/heads"), folder=Path("scorer"))
    assert from_config(ExportOptions, as_config(options)) == options
    flags = {place.name: place.flag for place in places(ExportOptions)}
    assert flags["folder"] == "-o --output"
    assert flags["licence"] == "--licence"
