"""`runs list | gc`: the runs of a folder by what they are, and the deletion of those that are named."""

from collections.abc import Sequence
from pathlib import Path

from consistency.errors import InputError
from consistency.options import RunsGcOptions, RunsListOptions
from consistency.runs.registry import Entry, check_deletable, delete_run, describe, list_runs

FIELDS = ("command", "backbone", "protocol", "system", "state")


def chosen_runs(options: RunsListOptions) -> list[Entry]:
    """The runs of a folder that pass the filters, in the order that was asked for.

    Raises
    ------
    InputError
        If a filter is unknown, or the folder is a file.
    """
    filters = []
    for given in options.where:
        name, equals, value = given.partition("=")
        if name not in FIELDS or not equals:
            raise InputError(f"--where {given} is no filter: expected one of {'=..., '.join(FIELDS)}=...")
        filters.append((name, value))
    found = [
        entry for entry in list_runs(options.runs) if all(value in _values(entry, name) for name, value in filters)
    ]
    if options.sort == "age":
        found.sort(key=lambda entry: -entry.changed)
    elif options.sort == "size":
        found.sort(key=lambda entry: -entry.bytes)
    elif options.sort != "name":
        metric = options.sort.replace("-", "_")
        found.sort(key=lambda entry: -_figure(entry, metric))
    return found


def _values(entry: Entry, name: str) -> list[str]:
    if name == "system":
        return [] if entry.best is None else [entry.best["system"]]
    return str(getattr(entry, name)).split(", ")


def _figure(entry: Entry, metric: str) -> float:
    """Runs without the figure come last."""
    figure = None if entry.best is None else entry.best["metrics"][metric]
    return float("-inf") if figure is None else float(figure)


def doomed_runs(options: RunsGcOptions) -> list[Entry]:
    """The runs that `gc` would delete, without those inside another one of them.

    Raises
    ------
    InputError
        If nothing is named, or a folder that is named is no run or holds something else.
    """
    if not options.run_dirs and not options.unfinished:
        raise InputError("nothing is named: give the run folders to delete, or --unfinished")
    found = {path.resolve(): describe(path, path) for path in map(Path, options.run_dirs) if _checked(path)}
    for entry in list_runs(options.runs) if options.unfinished else ():
        if entry.state == "unfinished" and _checked(entry.path):
            found.setdefault(entry.path.resolve(), entry)
    return [entry for path, entry in found.items() if not any(other in path.parents for other in found)]


def _checked(path: Path) -> bool:
    check_deletable(path)
    return True


def delete_runs(entries: Sequence[Entry]) -> list[str]:
    """Delete runs, and return their paths."""
    for entry in entries:
        delete_run(entry.path)
    return [str(entry.path) for entry in entries]
