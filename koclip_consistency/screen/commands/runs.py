"""`runs list | gc`; `runs` alone lists."""

import sys
from typing import TYPE_CHECKING

import click

from koclip_consistency.screen.app import app
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import RunsGcOptions, RunsListOptions
    from koclip_consistency.screen.console import Screen


class ListsAlone(click.Group):
    """A group whose command `list` runs if none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args and args[0] in ctx.help_option_names else self._completed(args))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, self._completed(args))

    def _completed(self, args: list[str]) -> list[str]:
        return args if args and args[0] in self.commands else ["list", *args]


@app.group("runs", cls=ListsAlone)
def runs() -> None:
    """List runs with their main figures, and delete those that are named.

    Without a command, `runs` lists: `runs --sort qwk` is `runs list --sort qwk`.
    """


@command(
    runs,
    "list",
    "RunsListOptions",
    "",
    "--where command=heads --sort qwk",
    "--where state=unfinished --json",
)
def list_(options: "RunsListOptions", screen: "Screen") -> None:
    """List the runs of a folder, those inside a run of `demo` or `paper` too.

    Figures are those of the best learned system of a run, on test rows if there are any; `--json` has all metrics of
    that system. A folder that cannot be read is listed with the reason.
    """
    from koclip_consistency.screen.listing import runs_tables
    from koclip_consistency.workflows.runs import chosen_runs

    entries = chosen_runs(options)
    screen.json([entry.as_dict() for entry in entries])
    if entries:
        screen.fitting(runs_tables(options.runs, entries))
    else:
        screen.note(f"{options.runs} has no such runs")
    for entry in entries:
        if entry.problem:
            screen.note(f"{entry.name} cannot be read: {entry.problem}")


@command(runs, "gc", "RunsGcOptions", "runs/my-run", "--unfinished --delete", "runs/my-run runs/other --delete --yes")
def gc(options: "RunsGcOptions", screen: "Screen") -> None:
    """Show which of the named runs would be deleted and, with --delete, delete them.

    A folder that is no run, or that holds a file that no run writes, is refused. A run that is being written is
    unfinished, too.
    """
    from koclip_consistency.screen.listing import runs_tables
    from koclip_consistency.workflows.runs import delete_runs, doomed_runs

    doomed = doomed_runs(options)
    if doomed:
        screen.fitting(runs_tables(options.runs, doomed))
    size, names = sum(entry.bytes for entry in doomed), ", ".join(str(entry.path) for entry in doomed)
    agreed = options.delete and bool(doomed)
    if agreed and not options.yes:
        try:
            agreed = click.confirm(f"Delete {names} ({size / 1e6:.1f} MB)?", err=True)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            raise click.UsageError("there is nobody to ask whether to delete them: give --yes") from None
    deleted = delete_runs(doomed) if agreed else []
    screen.json({"named": [str(entry.path) for entry in doomed], "bytes": size, "deleted": deleted})
    if deleted or not doomed:
        screen.note(f"Deleted {len(deleted)} runs")
    else:
        screen.note(f"Nothing was deleted; {len(doomed)} runs of {size / 1e6:.1f} MB are named: delete with --delete")
