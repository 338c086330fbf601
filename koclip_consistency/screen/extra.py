"""Names the extra to install where a command needs libraries that are not there."""

from collections.abc import Iterator
from contextlib import contextmanager

from consistency.errors import InputError


@contextmanager
def app_extra() -> Iterator[None]:
    """Imports of the libraries of `serve` and `app`. Raises InputError if one is missing."""
    try:
        yield
    except ImportError as error:
        name = (error.name or "a library").partition(".")[0]
        raise InputError(f"{name} is not installed: pip install 'koclip-consistency[app]'") from error
