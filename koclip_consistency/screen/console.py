"""What a user sees: tables on stdout, notes and progress bars on stderr, and all of it in the log file."""

import json
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import IO, Any

from rich import table
from rich.cells import cell_len
from rich.console import Console, JustifyMethod, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from consistency.durable import check_output
from consistency.evaluation.results import NO_BACKBONE
from consistency.options import Display
from consistency.progress import Advance, Progress, Reporter, silent
from consistency.text import METRIC_TITLES, SPLITS, interval_text, visible, with_interval
from koclip_consistency.screen.tables import Table, leaders_table

FOLDED, FOLD = 30, 16  # a text column wider than the first may fold, down to the second (characters)
GAP = 2  # between columns
WIDE = 100  # screen width from which intervals are beside their figures; on narrower screens they are below them


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:.0f}/s" if speed >= 10 else f"{speed:.1f}/s", style="cyan")


class _Bars(RichProgress):
    """Progress bars with `shown` below them."""

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        self.shown: RenderableType | None = None
        super().__init__(*columns, console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.shown is not None:
            yield self.shown


class Screen:
    """Answers go to stdout, notes and progress to stderr.

    Parameters
    ----------
    display
        `as_json`: the answer is one JSON value and tables are left out. `quiet`: errors only. `verbose`: details too.
        `log_file`: everything that is shown also goes there, with times.

    Notes
    -----
    In a terminal, tables are aligned. In a pipe, cells are separated by tabs and neither wrapped nor padded. If
    NO_COLOR is set, no escape codes are written, so there are no progress bars either.
    """

    def __init__(self, display: Display | None = None) -> None:
        self.display = display or Display()
        self.console, self.stdout = _console(stderr=True), _console(stderr=False)
        self.aligned = self.stdout.is_terminal or sys.stdout.isatty()  # a terminal without escape codes is one, too
        self._log: IO[str] | None = None
        self._running: _Bars | None = None

    def __enter__(self) -> "Screen":
        if self.display.log_file is not None:
            check_output(self.display.log_file)
            # Names of files need not be UTF-8.
            self._log = self.display.log_file.open("a", encoding="utf-8", errors="backslashreplace")
            self._write_log(" ".join(sys.argv))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, SystemExit):
            lines = "".join(traceback.format_exception(error))
            self._write_log(lines.rstrip())
            if self.display.verbose:
                self.console.print(visible_lines(lines), soft_wrap=True, markup=False)
        if self._log is not None:
            self._log.close()
            self._log = None

    def _write_log(self, text: str) -> None:
        if self._log is not None:
            now = datetime.now().astimezone().isoformat(timespec="milliseconds")
            print(now, text, file=self._log, flush=True)

    def note(self, message: str) -> None:
        """Print a line to stderr, unless --quiet is given."""
        self._write_log(message)
        if not self.display.quiet:
            self.console.print(visible(message), soft_wrap=True, markup=False)

    def detail(self, message: str) -> None:
        """Print a line to stderr if --verbose is given; the log file always has it."""
        self._write_log(message)
        if self.display.verbose:
            self.console.print(visible(message), soft_wrap=True, markup=False, style="dim")

    def json(self, value: Any) -> None:
        """Print the answer as JSON if --json is given."""
        if self.display.as_json:
            print(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False))

    def table(self, shown: Table) -> None:
        """Print the answer as a table, unless --json or --quiet is given."""
        self._write_log("\n".join([shown.title, *_separated(shown)]))
        if self.display.quiet or self.display.as_json:
            return
        if not self.aligned:
            print("\n".join([visible(shown.title), *_separated(shown), ""]), flush=True)
            return
        self.stdout.print(Text(shown.title, style="bold"), soft_wrap=True)
        # A table that is too wide runs over the edge: a truncated number would read as another one.
        wide = _console(stderr=False, width=max(self.stdout.width, _least_width(shown)))
        wide.print(_grid(shown))
        self.stdout.print()

    def fitting(self, tables: Sequence[Table]) -> None:
        """Print the first of several forms of a table that the terminal has room for; in a pipe, the first."""
        wide = not self.stdout.is_terminal
        self.table(next((shown for shown in tables if wide or _least_width(shown) <= self.stdout.width), tables[-1]))

    def live(self, shown: Table) -> None:
        """Show the table below the running progress bar, if there is one, in place of an earlier table."""
        if self._running is not None:
            self._running.shown = _grid(shown)

    def results(self, title: str, entries: Sequence[Mapping[str, Any]]) -> None:
        """Print the entries of metrics.json with 95 % intervals, in one table for each set of rows.

        An entry may also have `seconds`, the duration of its run. On a narrow screen the seconds are left out first,
        then the intervals.
        """
        timed = any("seconds" in entry for entry in entries)
        for seconds, intervals in ((timed, True), (False, True), (timed, False)):
            tables = self._results(title, entries, seconds=seconds, intervals=intervals)
            if not self.aligned or all(_least_width(shown) <= self.stdout.width for shown in tables):
                break
        for shown in tables:
            self.table(shown)

    def _results(
        self, title: str, entries: Sequence[Mapping[str, Any]], *, seconds: bool, intervals: bool
    ) -> list[Table]:
        several = len({entry["backbone"] for entry in entries if entry["backbone"] != NO_BACKBONE}) > 1
        below = intervals and self.aligned and self.stdout.width < WIDE
        columns = ["system", *["backbone"] * several, *METRIC_TITLES.values(), *["seconds"] * seconds]
        sections: dict[tuple[str, str, int], list[list[object]]] = {}
        for entry in entries:
            beside = entry["ci95"] if intervals and not below else dict.fromkeys(METRIC_TITLES)
            figures = [with_interval(entry["metrics"][key], beside[key]) for key in METRIC_TITLES]
            row = [entry["system"], *[entry["backbone"]] * several, *figures]
            row += [f"{entry['seconds']:.1f}"] if seconds else []
            rows = sections.setdefault((entry["protocol"], entry["split"], entry["n"]), [])
            rows.append(row)
            if below:
                known = [interval_text(entry["ci95"][key], 2, dash="–") for key in METRIC_TITLES]
                rows.append(["", *[""] * several, *known, *[""] * seconds])
        narrow = "" if intervals else " (no room for the 95 % intervals: see metrics.json)"
        return [
            Table(f"{title}: protocol {protocol}, {SPLITS[split]}, {n} rows{narrow}", columns, rows, left=1 + several)
            for (protocol, split, n), rows in sections.items()
        ]

    @property
    def progress(self) -> Progress:
        return silent if self.display.quiet or not self.console.is_terminal else self._bars

    @property
    def reporter(self) -> Reporter:
        """The callbacks through which a workflow reports to this screen."""
        return Reporter(self.progress, self.note, self.detail, lambda leaders: self.live(leaders_table(leaders)))

    @contextmanager
    def _bars(self, description: str, total: int | None) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figures]}", style="dim"),
        )
        with _Bars(*columns, console=self.console) as bars:
            self._running = bars
            task = bars.add_task(description, total=total, figures="")

            def advance(steps: int = 1, /, **figures: object) -> None:
                bars.advance(task, steps)
                if figures:
                    bars.update(task, figures="  ".join(f"{name} {value}" for name, value in figures.items()))

            try:
                yield advance
            finally:
                self._running = None


def visible_lines(text: str) -> str:
    """Apply `visible` to every line."""
    return "\n".join(map(visible, text.splitlines()))


def _console(*, stderr: bool, width: int | None = None) -> Console:
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Console(stderr=stderr, highlight=False, width=width, force_terminal=False if plain else None)


def _separated(shown: Table) -> list[str]:
    """The header and the rows with cells separated by tabs."""
    return ["\t".join(map(visible, row)) for row in (shown.columns, *shown.rows)]


def _column_width(shown: Table, i: int) -> int:
    return max(cell_len(visible(line[i])) for line in (shown.columns, *shown.rows))


def _folds(shown: Table, i: int) -> bool:
    """Whether column i may take several lines: it is long text and not the first column."""
    return 0 < i < shown.left and _column_width(shown, i) > FOLDED


def _least_width(shown: Table) -> int:
    """The smallest screen width that shows the table completely."""
    widths = [FOLD if _folds(shown, i) else _column_width(shown, i) for i in range(len(shown.columns))]
    return sum(widths) + GAP * (len(widths) - 1)


def _grid(shown: Table) -> table.Table:
    grid = table.Table(header_style="dim", box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for i, name in enumerate(shown.columns):
        justify: JustifyMethod = "left" if i < shown.left else "right"
        grid.add_column(name, justify=justify, overflow="fold", no_wrap=not _folds(shown, i))
    for row in shown.rows:
        grid.add_row(*(Text(visible(cell)) for cell in row))
    return grid
