"""Fields of an option record as parameters of click, with their types, bounds and help."""

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from consistency.options import Place, alternatives
from consistency.remote import path_of


class Location(click.Path):
    """A path; where `remote` is set, it may be the URL of an object store."""

    def __init__(self, remote: bool) -> None:
        super().__init__(path_type=Path)
        self.remote = remote

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, Path) or "://" not in str(value):
            return super().convert(value, param, ctx)
        if not self.remote:
            self.fail("a URL is given, expected a path on this machine", param, ctx)
        return path_of(value)


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


class Joined(click.Option):
    """An option that may be repeated and whose values become one text; from elsewhere it comes as that text."""

    def __init__(self, names: Sequence[str], between: str, **about: Any) -> None:
        super().__init__(names, multiple=True, callback=lambda context, option, said: between.join(said), **about)

    def value_from_envvar(self, ctx: click.Context) -> Any:
        found = self.resolve_envvar_value(ctx)
        return None if found is None else (found,)

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> Any:
        value, source = super().consume_value(ctx, opts)
        return ((value,) if isinstance(value, str) else value), source


def parameter_of(place: Place) -> click.Parameter:
    option, (kind, many, nullable) = place.option, _kind(place.hint)
    if option.argument:
        nargs, required = (-1, option.required) if many else (1, True)
        return click.Argument([place.name], type=_type(place, kind), metavar=option.metavar, nargs=nargs,
                              required=required)  # fmt: skip
    about: dict[str, Any] = {"envvar": option.env, "hidden": option.hidden, "required": option.required}
    about["help"] = f"{option.help}{_defaults(place, many)}"
    if kind is bool:
        default = None if nullable else place.default
        return click.Option([*place.flag.split(), place.name], is_flag=True, default=default, **about)
    if not option.required:  # click takes a default of None for a value
        about["default"] = place.default
    if option.joined is not None:
        about["default"] = (place.default,)
        names = [*place.flag.split(), place.name]
        return Joined(names, option.joined, type=str, metavar=option.metavar, **about)
    if option.bare is not None:
        about |= {"is_flag": False, "flag_value": str(option.bare)}
    return click.Option(
        [*place.flag.split(), place.name],
        type=_type(place, kind),
        metavar=option.metavar,
        multiple=many,
        **about,
    )


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
    return Location(option.remote) if kind is Path else kind


def _defaults(place: Place, many: bool) -> str:
    """What `--help` says about the default, in brackets."""
    option, default = place.option, place.default
    if option.default_text:
        words = option.default_text
    elif default in (None, (), False):
        words = ""
    elif default is True:
        words = place.flag.split("/")[0].removeprefix("--")
    else:
        words = ", ".join(default) if many else str(default)
    if option.paper is not ...:
        published = ", ".join(option.paper) if many else option.paper
        words = f"{words or 'none'}; {published} with --preset paper"
    parts = [f"default: {words}"] if words else []
    parts += [f"env: {option.env}"] if option.env else []
    return f"  [{'; '.join(parts)}]" if parts else ""
