"""How long work tells of its progress without knowing who shows it.

Library functions take `progress: Progress = silent` and use it as

    with progress("Encoding images", total=172) as advance:
        for batch in batches:
            ...
            advance(len(batch), skipped=3, busy="93 %")      # keyword figures replace the earlier ones on screen
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol


class Advance(Protocol):
    def __call__(self, steps: int = 1, /, **figures: object) -> None: ...


Progress = Callable[[str, int | None], AbstractContextManager[Advance]]


@contextmanager
def silent(description: str, total: int | None) -> Iterator[Advance]:
    """Shows nothing."""

    def advance(steps: int = 1, /, **figures: object) -> None:
        return None

    yield advance


def _ignore(_: object) -> None:
    return None


@dataclass(frozen=True)
class Reporter:
    """Where a command of several steps reports what it is doing; the default shows nothing.

    Attributes
    ----------
    progress
        Makes the progress bars of each step.
    say
        Shows one line of text.
    detail
        Shows one line to those who ask for details.
    leaders
        Shows the best configurations so far while a grid runs (a sequence of `heads.select.Entry`).
    """

    progress: Progress = silent
    say: Callable[[str], None] = _ignore
    detail: Callable[[str], None] = _ignore
    leaders: Callable[[Sequence[Any]], None] = _ignore


QUIET = Reporter()
