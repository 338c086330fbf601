"""`koclip.toml`: defaults of options, for all commands or for one."""

import difflib
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import click

from consistency.errors import InputError, os_reason

CONFIG = Path("koclip.toml")


def read_config(ctx: click.Context, file: Path | None) -> None:
    """Read defaults from the configuration file: keys at its top level, or in a table named after the command."""
    if ctx.resilient_parsing or (file is None and not CONFIG.is_file()):
        return
    file = file or CONFIG
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {os_reason(error)}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, undecodable bytes, numbers of too many digits
        raise InputError(f"{file} is no TOML file: {error}") from error
    app, own = ctx.find_root().command, _words(ctx)
    options = {path: _flags(command, ctx) for path, command in _commands(app)}
    everywhere = {flag for flags in options.values() for flag in flags}
    tables = {key: value for key, value in content.items() if isinstance(value, dict) and key in options}
    for key in content.keys() - tables.keys():
        if isinstance(content[key], dict) and key not in everywhere:
            _check_name(file, key, options.keys(), what="command")
        _check_name(file, key, everywhere)
    for key in tables.get(own, {}):
        _check_name(file, key, set(options[own]), f" in [{own}]")
    values = {**content, **tables.get(own, {})}
    several = {parameter.name for parameter in ctx.command.get_params(ctx) if getattr(parameter, "multiple", False)}
    ctx.default_map = {
        name: _plain([values[key]] if name in several and isinstance(values[key], str) else values[key])
        for key, name in options[own].items()
        if key in values
    }


def _words(ctx: click.Context) -> str:
    """The words of the command, for example `data check`."""
    return "" if ctx.parent is None else f"{_words(ctx.parent)} {ctx.info_name}".strip()


def _plain(value: Any) -> Any:
    return value if isinstance(value, dict | list) else str(value) if not isinstance(value, bool) else value


def _check_name(file: Path, key: str, known: Collection[str], where: str = "", what: str = "option") -> None:
    if key not in known:
        close = difflib.get_close_matches(key, known, n=1)
        hint = f": did you mean {close[0]}?" if close else ""
        raise InputError(f"{file} sets {key!r}{where}, which is no {what}{hint}")


def _commands(group: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command of a group with its words, for example `data check`."""
    if not isinstance(group, click.Group):
        yield path.strip(), group
        return
    for name, inside in group.commands.items():
        yield from _commands(inside, f"{path} {name}")


def _flags(command: click.Command, ctx: click.Context) -> dict[str, str]:
    """The parameter name of each option by its key in a file: the long flag without dashes."""
    found = {}
    for parameter in command.get_params(ctx):
        if isinstance(parameter, click.Option) and parameter.expose_value:
            long = next(flag for flag in parameter.opts if flag.startswith("--"))
            found[long.removeprefix("--")] = parameter.name or ""
    return found
