"""What a field of an options record says about its option, and how a record becomes plain values and back.

A command takes one frozen dataclass. Each of its fields is either an option (`option`) or a record of options that
several commands share (`record`). Name, type and default are the field's own; everything else (help, bounds,
environment variable, group in `--help`) is given beside them. The command line, `koclip.toml`, `run.json`,
`--resume` and `rerun` are all made from these fields.
"""

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from consistency.errors import InputError
from consistency.remote import asked_for, path_of

Record = TypeVar("Record")


@dataclass(frozen=True)
class Option:
    """Everything about an option but its name, type and default.

    Attributes
    ----------
    help
        One sentence for `--help`.
    group
        The heading in `--help` under which it is listed.
    flag
        How it is written on the command line, `--name` of the field if None: `-o --output` has two names, `--a/--no-a`
        is a switch.
    env
        Environment variable that sets it.
    metavar
        What stands for its value in `--help`.
    low, high
        Bounds of a number, both included unless `open_low` or `open_high` is set.
    default_text
        The default in words, where the field's default does not say it.
    paper
        The default under `--preset paper`, `...` if it is the same.
    bare
        The value of the option when it is given without one, None if it needs one.
    needs
        Name of a switch without which the option has no effect.
    excludes
        Names of options that cannot be given together with it.
    joined
        What stands between several values, which are one text: "a,b" for `--backbone a --backbone b`. None if there
        is a single value.
    argument
        Positional argument instead of an option.
    required
        Must be given.
    hidden
        Not shown in `--help`.
    recorded
        Part of `run.json`; False for options that decide only what is shown.
    remote
        Whether a path may be the URL of an object store.
    """

    help: str
    group: str = "Options"
    flag: str | None = None
    env: str | None = None
    metavar: str | None = None
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False
    default_text: str | None = None
    paper: Any = ...
    bare: Any = None
    needs: str | None = None
    excludes: tuple[str, ...] = ()
    joined: str | None = None
    argument: bool = False
    required: bool = False
    hidden: bool = False
    recorded: bool = True
    remote: bool = False


@dataclass(frozen=True)
class Place:
    """An option of a command: the field that holds it, and the names of the records on the way to that field."""

    path: tuple[str, ...]
    hint: Any
    default: Any
    option: Option

    @property
    def name(self) -> str:
        """Name of the field, unique in a command."""
        return self.path[-1]

    @property
    def flag(self) -> str:
        """How it is written on the command line, `--score-column`."""
        return self.option.flag or "--" + self.name.replace("_", "-")


def option(default: Any, help: str, **about: Any) -> Any:
    """A field that is an option; `about` holds further attributes of `Option`."""
    return field(default=default, metadata={"option": Option(help, **about)})


def record(kind: type[Record], *, only: Sequence[str] = (), without: Sequence[str] = ()) -> Any:
    """A field that holds a record of shared options: all of `kind`, `only` some, or all but those in `without`.

    Options that the command does not have keep the record's default and are not recorded.
    """
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    left_out = names - set(only) if only else set(without)
    if unknown := {*only, *without} - names:
        raise ValueError(f"{kind.__name__} has no options {sorted(unknown)}")
    return field(default_factory=kind, metadata={"without": frozenset(left_out)})


def places(kind: type[Any], *, without: frozenset[str] = frozenset()) -> Iterator[Place]:
    """Every option of the record `kind`, shared records unfolded, in the order of the fields."""
    hints = get_type_hints(kind)
    for f in fields(kind):
        if f.name in without:
            continue
        if "option" in f.metadata:
            yield Place((f.name,), hints[f.name], f.default, f.metadata["option"])
        elif "without" in f.metadata:
            for place in places(hints[f.name], without=f.metadata["without"]):
                yield Place((f.name, *place.path), place.hint, place.default, place.option)


def build(kind: type[Record], values: Mapping[str, Any], *, base: Record | None = None) -> Record:
    """The record `kind` with `values` by option name; options that are not in `values` are those of `base`."""
    made: dict[str, Any] = {}
    for f in fields(kind):  # type: ignore[arg-type]
        inside = getattr(base, f.name) if base is not None else None
        if "without" in f.metadata:
            of_record = get_type_hints(kind)[f.name]
            known = {name: value for name, value in values.items() if name not in f.metadata["without"]}
            made[f.name] = build(of_record, known, base=inside)
        elif f.name in values:
            made[f.name] = values[f.name]
        elif base is not None:
            made[f.name] = inside
    return kind(**made)


def as_config(value: Any) -> Any:
    """A record as plain JSON values: exactly the options that its command has, shared records as objects."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _recorded(f, getattr(value, f.name)) for f in fields(value) if _is_recorded(f)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: as_config(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_config(item) for item in value]
    return value


def from_config(kind: type[Record], values: Mapping[str, Any], *, complete: bool = True) -> Record:
    """The record that `as_config` wrote as `values`.

    Parameters
    ----------
    kind
        Type of the record.
    values
        What `as_config` returned, read back from JSON.
    complete
        Refuse values that lack an option; otherwise it keeps its default.

    Raises
    ------
    InputError
        If an option is unknown or, with `complete`, missing: another version of this program wrote the values.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"the recorded options are {type(values).__name__}, expected an object of options")
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind) if _is_recorded(f)}  # type: ignore[arg-type]
    unknown, missing = values.keys() - known.keys(), known.keys() - values.keys()
    if unknown or (complete and missing):
        what = f"there is no option {', '.join(sorted(unknown))}" if unknown else ""
        lacks = f"{', '.join(sorted(missing))} is not recorded" if complete and missing else ""
        reasons = " and ".join(filter(None, (what, lacks)))
        raise InputError(f"{reasons}: the options were written by another version of this program")
    made = {}
    for name, value in values.items():
        left_out = known[name].metadata.get("without")
        if left_out is None:
            made[name] = typed(hints[name], value)
        else:
            made[name] = _shared(hints[name], left_out, value, complete)
    return kind(**made)


def with_urls(options: Record) -> Record:
    """The same options of a run, whose URLs may be fetched since the user asks for it."""
    made: dict[str, Any] = {}
    for f in fields(options):  # type: ignore[arg-type]
        value = getattr(options, f.name)
        made[f.name] = with_urls(value) if is_dataclass(value) else asked_for(value)
    return replace(options, **made)  # type: ignore[type-var]


def typed(hint: Any, value: Any) -> Any:
    """A JSON value as the type hint of its option says: a path, a tuple, a mapping, or itself.

    Nothing is fetched from a URL that was recorded, unless the user asks for it (`with_urls`).

    Raises
    ------
    InputError
        If the value is of no type that the hint allows.
    """
    kinds = alternatives(hint)
    for kind in kinds:
        origin = get_origin(kind)
        if origin is Literal:
            if value in get_args(kind):
                return value
        elif origin is tuple and isinstance(value, list | tuple):
            return tuple(typed(get_args(kind)[0], item) for item in value)
        elif origin in (Mapping, dict) and isinstance(value, Mapping):
            return dict(value)
        elif kind is Path and isinstance(value, str | Path):
            return path_of(value, asked=False)
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            return value
        elif kind is types.NoneType and value is None:
            return None
        elif isinstance(kind, type) and isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
            return value
    expected = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
    raise InputError(f"{value!r} is recorded where {expected} was expected")


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types that a union allows; the hint itself if it is none."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _is_recorded(f: "Field[Any]") -> bool:
    return "option" not in f.metadata or f.metadata["option"].recorded


def _recorded(f: "Field[Any]", value: Any) -> Any:
    config = as_config(value)
    return {k: v for k, v in config.items() if k not in f.metadata["without"]} if "without" in f.metadata else config


def _shared(kind: type[Any], left_out: frozenset[str], values: Any, complete: bool) -> Any:
    """A shared record, some of whose options the command does not have."""
    if isinstance(values, Mapping) and (foreign := values.keys() & left_out):
        raise InputError(f"there is no option {', '.join(sorted(foreign))}: this command does not have it")
    defaults = as_config(kind())
    filled = {name: defaults[name] for name in left_out if name in defaults}
    return from_config(kind, {**filled, **values} if isinstance(values, Mapping) else values, complete=complete)
