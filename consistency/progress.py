"""How long work tells of its progress without knowing who shows it.

Library functions take `progress: Progress = silent` and use it as

    with progress("Encoding pictures", total=172) as advance:
        for batch in batches:
            ...
            advance(len(batch), skipped=3, busy="93 %")      # keyword figures replace the earlier ones on screen
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    def __call__(self, steps: int = 1, /, **figures: object) -> None: ...


Progress = Callable[[str, int | None], AbstractContextManager[Advance]]


@contextmanager
def silent(description: str, total: int | None) -> Iterator[Advance]:
    """Shows nothing."""

    def advance(steps: int = 1, /, **figures: object) -> None:
        return None

    yield advance
