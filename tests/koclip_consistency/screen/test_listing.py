"""The list of runs in several widths."""

import time
from pathlib import Path

from consistency.runs.registry import Entry
from koclip_consistency.screen.listing import runs_tables

BEST = {
    "system": "heads",
    "n": 60,
    "metrics": {"qwk": 0.5, "macro_f1": None},
    "ci95": {"qwk": (0.4, 0.6), "macro_f1": None},
}
ENTRY = Entry(
    "a", Path("a"), "finished", 2_500_000, time.time() - 7200, "heads", "/models/mine", "grouped", best=BEST, systems=2
)  # fmt: skip


def test_narrower_tables_say_less() -> None:
    widest, *others = runs_tables(Path("runs"), [ENTRY])
    assert widest.rows == [
        ["a", "heads", "mine", "grouped", "heads (of 2)", 60, "0.500 0.40–0.60", "–", "2 h", "2.5 MB"]
    ]
    assert [len(table.columns) for table in others] == [8, 7, 4]
    assert others[-1].rows == [["a", "0.500 0.40–0.60", "–", "2 h"]]
    assert [table.left for table in (widest, *others)] == [5, 4, 3, 1]


def test_states_stand_where_figures_would() -> None:
    (row,) = runs_tables(Path("runs"), [Entry("b", Path("b"), "unfinished", 0, time.time())])[-1].rows
    assert row == ["b", "unfinished", "–", "now"]
