"""The option records of the command line, filled from keyword arguments."""

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from consistency.errors import InputError
from consistency.remote import path_of

Record = TypeVar("Record")


def record_of(kind: type[Record], given: Mapping[str, Any]) -> Record:
    """The record with what was given; None stands for the environment variable or the default, as on the command line.

    Raises
    ------
    InputError
        If there is no option of a given name.
    """
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(given.keys() - known.keys()):
        raise InputError(f"there is no option {', '.join(unknown)}: expected some of {', '.join(known)}")
    values = {name: value for name, value in given.items() if value is not None}
    for name, field in known.items():
        variable = getattr(field.metadata.get("option"), "env", None)
        if name not in values and variable and os.environ.get(variable):
            values[name] = os.environ[variable]
    for name, value in values.items():
        if isinstance(value, str | os.PathLike) and Path in (hints[name], *get_args(hints[name])):
            values[name] = path_of(value)
        elif get_origin(hints[name]) is tuple:  # one value stands for itself, as an option that is given once
            values[name] = (value,) if isinstance(value, str) else tuple(value)
    return kind(**values)
