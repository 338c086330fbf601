"""The law of every fuzz test: an error of ours or an answer, in time, and nothing changed elsewhere."""

import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from consistency.errors import ConsistencyError
from tests.builders.opened import escapes

SECONDS = 30  # that a case may take on a busy machine; most take milliseconds


def drawn(cases: int, *, same: bool) -> settings:
    """Settings of a test that draws `cases` cases, the same each time if `same`, after those that it names."""
    return settings(
        max_examples=cases,
        deadline=None,
        derandomize=same,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@dataclass(frozen=True)
class Target:
    """What is fuzzed: `read` reads `data` in a folder of its own. `share` is the part of all cases, in percent."""

    originals: Sequence[bytes]
    changes: st.SearchStrategy[Any]
    change: Callable[[bytes, Any], bytes]
    read: Callable[[Path, bytes], None]
    share: float


class TooSlow(BaseException):
    """Raised in a case that takes too long."""


@contextmanager
def lawful(folder: Path) -> Iterator[None]:
    """Let an error of ours pass; fail for any other, for too long a case, and for changes elsewhere."""

    def stop(*_: object) -> None:
        raise TooSlow

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        said = "a line"
        with escapes(folder) as found:
            try:
                yield
            except ConsistencyError as error:
                said = str(error)
        assert len(said.splitlines()) == 1
        assert found == [], found
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(target: Target, folder: Path, cases: int, *, same: bool) -> None:
    case = st.tuples(st.sampled_from(target.originals), target.changes)

    @drawn(cases, same=same)
    @given(case)
    def holds(drawn: tuple[bytes, Any]) -> None:
        data = target.change(*drawn)
        with lawful(folder):
            target.read(folder, data)

    holds()
