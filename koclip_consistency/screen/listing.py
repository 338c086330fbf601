"""The runs of a folder as tables of several widths."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from consistency.text import UNDEFINED, with_interval
from koclip_consistency.screen.tables import Table, age

if TYPE_CHECKING:
    from consistency.runs.registry import Entry


def runs_tables(root: Path, entries: "Sequence[Entry]") -> list[Table]:
    """The runs of a folder, the table with the most columns first."""
    titles = ("run", "command", "backbone", "protocol", "system", "rows", "QWK", "macro-F1", "age", "size")
    rows = []
    for entry in entries:
        best = entry.best
        further = f" (of {entry.systems})" if entry.systems > 1 else ""
        figures = [UNDEFINED if entry.state == "finished" else entry.state, UNDEFINED]
        said = [UNDEFINED] * 2 + figures if best is None else [f"{best['system']}{further}", best["n"], *_figures(best)]
        known = [cell or UNDEFINED for cell in (entry.command, _backbone(entry.backbone), entry.protocol)]
        rows.append([entry.name, *known, *said, age(time.time() - entry.changed), f"{entry.bytes / 1e6:.1f} MB"])
    title = f"Runs in {root}"
    tables = []
    narrow = ("rows", "protocol")  # left out first
    for left_out in ((), narrow, (*narrow, "system"), (*narrow, *titles[1:5], "size")):
        kept = tuple(title for title in titles if title not in left_out)
        places = [titles.index(name) for name in kept]
        left = sum(name in titles[:5] for name in kept)
        tables.append(Table(title, kept, [[row[place] for place in places] for row in rows], left=left))
    return tables


def _figures(entry: Mapping[str, Any]) -> list[str]:
    return [with_interval(entry["metrics"][name], entry["ci95"][name]) for name in ("qwk", "macro_f1")]


def _backbone(name: str) -> str:
    """A backbone as it was named; of a path the last part."""
    return PurePath(name).name if name.startswith(("/", ".", "~")) else name
