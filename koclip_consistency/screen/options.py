"""Option records as click commands: every command is one record, one function and its examples."""

import difflib
import inspect
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import chdir, nullcontext
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from click.core import ParameterSource

from consistency.errors import InputError, os_reason
from consistency.options import Display, Place, alternatives, build, places

CONFIG = Path("koclip.toml")
PATH = click.Path(path_type=Path)
GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.PROMPT)


class NumberOrWord(click.ParamType):
    """A whole number within bounds, or one of some words."""

    name = "number or word"

    def __init__(self, words: Sequence[str], low: float | None) -> None:
        self.words, self.low = words, low or 0

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self.words or isinstance(value, int):
            return value
        if str(value).isdecimal() and int(value) >= self.low:
            return int(value)
        self.fail(f"{value!r} is neither {' nor '.join(self.words)} nor a whole number from {self.low:g}", param, ctx)


class ScoreMap(click.ParamType):
    """LABEL=SCORE,... as a mapping."""

    name = "score map"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, Mapping):
            return dict(value)
        from consistency.data.scores import parse_score_map

        return parse_score_map(str(value))


class Command(click.Command):
    """A command whose help shows options in groups and ends with examples."""

    def __init__(self, *args: Any, groups: Mapping[str, str], examples: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.groups, self.examples = groups, examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if shown := parameter.get_help_record(ctx):
                sections.setdefault(self.groups.get(parameter.name or "", "Output"), []).append(shown)
        for title, lines in sections.items():
            with formatter.section(title):
                formatter.write_dl(lines)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{ctx.find_root().info_name} {example}\n")


def command(group: click.Group, name: str, kind: type[Any], *examples: str) -> Callable[[Callable[..., None]], None]:
    """Register a function `(options: kind, screen: Screen) -> None` as a command of `group`.

    Its docstring is the help text. `examples` are arguments that follow the program's name.
    """

    def register(function: Callable[..., None]) -> None:
        shown = [*places(kind), *places(Display)]
        parameters = [_parameter(place) for place in shown]
        parameters.append(_config_option())

        @click.pass_context
        def run(ctx: click.Context, /, **values: Any) -> None:
            from koclip_consistency.screen.console import Screen  # imports rich and numpy, which --help does not need

            screen = Screen(build(Display, {place.name: values.pop(place.name) for place in places(Display)}))
            options, directory = _options(kind, ctx, values)
            with screen, chdir(directory) if directory else nullcontext():
                function(options, screen)

        group.add_command(
            Command(
                name,
                callback=run,
                params=parameters,
                help=inspect.getdoc(function),
                groups={place.name: place.option.group for place in shown},
                examples=[f"{_path(group)}{name} {example}".strip() for example in examples],
            )
        )

    return register


def _path(group: click.Group) -> str:
    return f"{group.name} " if group.name in ("data", "cache") else ""


def _options(kind: type[Any], ctx: click.Context, values: dict[str, Any]) -> tuple[Any, Path | None]:
    """The record `kind`, and with --resume the directory in which the run began."""
    found = {place.name: place for place in places(kind)}
    given = {name for name in values if ctx.get_parameter_source(name) in GIVEN}
    for name in given:
        place = found[name]
        if values[name] in (None, False):
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


def _parameter(place: Place) -> click.Parameter:
    option, (kind, many, nullable) = place.option, _kind(place.hint)
    if option.argument:
        nargs, required = (-1, option.required) if many else (1, True)
        return click.Argument([place.name], type=_type(place, kind), metavar=option.metavar, nargs=nargs,
                              required=required)  # fmt: skip
    flags = option.flag or place.flag
    about: dict[str, Any] = {"envvar": option.env, "hidden": option.hidden, "required": option.required}
    about["help"] = f"{option.help}{_defaults(place, many)}"
    if kind is bool:
        default = None if nullable else place.default
        return click.Option([*_names(flags), place.name], is_flag=True, default=default, **about)
    if option.bare is not None:
        about |= {"is_flag": False, "flag_value": str(option.bare)}
    return click.Option(
        [*_names(flags), place.name],
        type=_type(place, kind),
        metavar=option.metavar,
        multiple=many,
        default=None if option.required else place.default,
        **about,
    )


def _names(flags: str) -> list[str]:
    return flags.split()


def _kind(hint: Any) -> tuple[Any, bool, bool]:
    """The type of one value, whether there may be several, and whether there may be none."""
    kinds = [kind for kind in alternatives(hint) if kind is not types.NoneType]
    nullable = len(kinds) < len(alternatives(hint))
    if get_origin(kinds[0]) is tuple:
        return get_args(kinds[0])[0], True, nullable
    if len(kinds) == 2 and kinds[0] is int:
        return kinds[1], False, nullable
    return kinds[0], False, nullable


def _type(place: Place, kind: Any) -> Any:
    option = place.option
    bounds: dict[str, Any] = {"min_open": option.open_low, "max_open": option.open_high}
    if get_origin(kind) is Literal:
        words = get_args(kind)
        return NumberOrWord(words, option.low) if int in alternatives(place.hint) else click.Choice(words)
    if get_origin(kind) is not None:
        return ScoreMap()
    if kind is int and (option.low is not None or option.high is not None):
        return click.IntRange(option.low, option.high, **bounds)  # type: ignore[arg-type]
    if kind is float and (option.low is not None or option.high is not None):
        return click.FloatRange(option.low, option.high, **bounds)
    return PATH if kind is Path else kind


def _defaults(place: Place, many: bool) -> str:
    """What `--help` says about the default, in brackets."""
    option, default = place.option, place.default
    words = option.default_text or (", ".join(map(str, default)) if many else str(default))
    if not option.default_text and (default in (None, (), False) or option.flag and "/--" in option.flag):
        words = "" if default is not True else option.flag.split("/")[0].removeprefix("--") if option.flag else ""
    if option.paper is not ...:
        published = ", ".join(option.paper) if many else option.paper
        words = f"{words or 'none'}; {published} with --preset paper"
    parts = [f"default: {words}"] if words else []
    parts += [f"env: {option.env}"] if option.env else []
    return f"  [{'; '.join(parts)}]" if parts else ""


def _config_option() -> click.Option:
    return click.Option(
        ["--config"],
        type=PATH,
        is_eager=True,
        expose_value=False,
        metavar="FILE",
        help=f"TOML file with defaults of options.  [default: {CONFIG}, if there is one]",
        callback=lambda ctx, _, value: _read_config(ctx, value),
    )


def _read_config(ctx: click.Context, file: Path | None) -> None:
    """Read defaults from the configuration file: keys at its top level, or in a table named after the command."""
    if ctx.resilient_parsing or (file is None and not CONFIG.is_file()):
        return
    file = file or CONFIG
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {os_reason(error)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no TOML file: {error}") from error
    app, own = ctx.find_root().command, _words(ctx)
    options = {path: _flags(command) for path, command in _commands(app)}
    everywhere = {flag for flags in options.values() for flag in flags}
    tables = {key: value for key, value in content.items() if isinstance(value, dict) and key in options}
    for key in content.keys() - tables.keys():
        _check_name(file, key, everywhere)
    for key in tables.get(own, {}):
        _check_name(file, key, set(options[own]), f" in [{own}]")
    values = {**content, **tables.get(own, {})}
    ctx.default_map = {name: _plain(values[key]) for key, name in options[own].items() if key in values}


def _words(ctx: click.Context) -> str:
    """The words of the command, for example `data check`."""
    return "" if ctx.parent is None else f"{_words(ctx.parent)} {ctx.info_name}".strip()


def _plain(value: Any) -> Any:
    return value if isinstance(value, dict | list) else str(value) if not isinstance(value, bool) else value


def _check_name(file: Path, key: str, known: set[str], where: str = "") -> None:
    if key not in known:
        close = difflib.get_close_matches(key, known, n=1)
        hint = f": did you mean {close[0]}?" if close else ""
        raise InputError(f"{file} sets {key!r}{where}, which is no option{hint}")


def _commands(group: click.Command, path: str = "") -> Iterable[tuple[str, click.Command]]:
    """Every command of a group with its words, for example `data check`."""
    if not isinstance(group, click.Group):
        yield path.strip(), group
        return
    for name, inside in group.commands.items():
        yield from _commands(inside, f"{path} {name}")


def _flags(command: click.Command) -> dict[str, str]:
    """The parameter name of each option by its key in a file: the long flag without dashes."""
    found = {}
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.expose_value:
            long = next(flag for flag in parameter.opts if flag.startswith("--"))
            found[long.removeprefix("--")] = parameter.name or ""
    return found
