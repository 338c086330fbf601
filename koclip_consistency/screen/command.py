"""A command of the program: an option record, a function that takes it, and examples.

The record is imported, and its parameters are made, only for the command that is called: `--help` answers at once.
"""

import inspect
from collections.abc import Callable
from contextlib import chdir, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from koclip_consistency.screen.config_file import CONFIG, read_config

GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.PROMPT)


class Command(click.Command):
    """A command whose help shows options in groups and ends with examples.

    Parameters
    ----------
    name
        Its last word.
    record
        Its option record, or the name of one in `consistency.options`, which is imported only if it is called.
    function
        Called with the record and the screen; its docstring is the help text.
    examples
        Arguments that follow the command's words.
    """

    def __init__(
        self, name: str, record: str | type[Any], function: Callable[..., None], examples: tuple[str, ...]
    ) -> None:
        super().__init__(name, help=inspect.getdoc(function))
        self.record, self.function, self.examples = record, function, examples

    @cached_property
    def kind(self) -> type[Any]:
        """The option record."""
        if not isinstance(self.record, str):
            return self.record
        from consistency import options

        found: type[Any] = getattr(options, self.record)
        return found

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not self.params:
            from consistency.options import Display, places
            from koclip_consistency.screen.parameters import parameter_of

            self.params = [*map(parameter_of, (*places(self.kind), *places(Display))), _config_option()]
        return super().get_params(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from consistency.options import places

        groups = {place.name: place.option.group for place in places(self.kind)}
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if shown := parameter.get_help_record(ctx):
                sections.setdefault(groups.get(parameter.name or "", "Output"), []).append(shown)
        for title, lines in sections.items():
            with formatter.section(title):
                formatter.write_dl(lines)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{ctx.command_path} {example}".rstrip() + "\n")

    def invoke(self, ctx: click.Context) -> None:
        from consistency.options import Display, build, places
        from koclip_consistency.screen.console import Screen

        screen = Screen(build(Display, {place.name: ctx.params.pop(place.name) for place in places(Display)}))
        options, directory = _options(self.kind, ctx)
        with screen, chdir(directory) if directory else nullcontext():
            self.function(options, screen)


def command(
    group: click.Group, name: str, record: str | type[Any], *examples: str
) -> Callable[[Callable[..., None]], None]:
    """Register a function `(options, screen) -> None` as a command of `group`; see `Command`."""
    return lambda function: group.add_command(Command(name, record, function, examples))


def was_given(name: str) -> bool:
    """Whether the running command got an option on its command line, not from `koclip.toml` or the environment."""
    return click.get_current_context().get_parameter_source(name) in GIVEN


def backbone_of(model: Path | None, backbone: str | None) -> str | None:
    """The backbone that goes with `model`: a run knows its own, so that one of `koclip.toml` is not meant."""
    return None if model and model.suffix != ".pth" and not was_given("backbone") else backbone


def _options(kind: type[Any], ctx: click.Context) -> tuple[Any, Path | None]:
    """The record `kind`, and with --resume the directory in which the run began."""
    from consistency.options import build, places

    values, found = ctx.params, {place.name: place for place in places(kind)}
    given = {name for name in values if ctx.get_parameter_source(name) in GIVEN}
    for name in given:
        place = found[name]
        if values[name] is None or (values[name] is False and place.default is not True):
            continue
        for other in place.option.excludes:
            if other in given and values[other] not in (None, False):
                raise click.UsageError(f"{place.flag} and {found[other].flag} exclude each other: give one")
        if place.option.needs and not values[place.option.needs]:
            raise click.UsageError(f"{place.flag} needs {found[place.option.needs].flag}")
    preset = values.get("preset")
    for name, place in found.items():
        default = ctx.get_parameter_source(name) == ParameterSource.DEFAULT
        if default and preset == "paper" and place.option.paper is not ...:
            values[name] = place.option.paper
    if values.get("resume") is None:
        return build(kind, values), None
    from consistency.runs.read import read_begun

    begun = read_begun(values["resume"], ctx.info_name or "", kind)
    changed = {name: _absolute(values[name]) for name in given}
    options = build(kind, changed, base=begun.options)
    return options, begun.directory


def _absolute(value: Any) -> Any:
    return value.absolute() if isinstance(value, Path) else value


def _config_option() -> click.Option:
    return click.Option(
        ["--config"],
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        metavar="FILE",
        help=f"TOML file with defaults of options.  [default: {CONFIG}, if there is one]",
        callback=lambda ctx, _, value: read_config(ctx, value),
    )
