"""What Ray is asked to do comes back, or ends in one line of ours, and leaves nothing behind."""

import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from consistency.durable import machine
from consistency.errors import ConsistencyError, InputError, RunError

pytest.importorskip("ray", reason="needs the extra ray")


def halve() -> Callable[[int], int]:
    """Halves even numbers; others are bad input or, if negative, a defect."""

    def half(number: int) -> int:
        if number < 0:
            raise ZeroDivisionError("division by zero")
        if number % 2:
            raise InputError(f"{number} is odd, expected an even number")
        return number // 2

    return half


def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_folders_of_processes_that_were_killed_are_removed() -> None:
    from embedcache.engines.cluster import TEMP, TEMP_PREFIX, sweep

    of_a_dead, of_this = (
        Path(tempfile.mkdtemp(prefix=f"{TEMP_PREFIX}{name}-", dir=TEMP))
        for name in (f"{machine()}-{ended()}", f"{machine()}-{os.getpid()}")
    )
    of_another_machine = Path(tempfile.mkdtemp(prefix=f"{TEMP_PREFIX}{machine()}0-{ended()}-", dir=TEMP))
    try:
        sweep()
        assert [of_a_dead.exists(), of_this.exists(), of_another_machine.exists()] == [False, True, True]
    finally:
        of_this.rmdir()
        of_another_machine.rmdir()


def raised(error: Exception) -> str:
    """The traceback of an error in another process."""
    try:
        raise error
    except Exception:
        return traceback.format_exc().rstrip()


CAUSED = "\n\nThe above exception was the direct cause of the following exception:\n\n"
GAVE_UP = "Ray gave up (ZeroDivisionError: x): what was stored is kept, run it again"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [(InputError("3 is odd"), InputError, "3 is odd"), (ZeroDivisionError("x"), RunError, GAVE_UP)],
)
@pytest.mark.parametrize("before", ["", raised(OSError("no space")) + CAUSED])
@pytest.mark.parametrize(
    "after", ["", CAUSED + "ray.exceptions.UserCodeException: it failed\nTo change, configure it."]
)
def test_an_error_in_another_process_is_one_line(
    before: str, after: str, error: Exception, kind: type[ConsistencyError], message: str
) -> None:
    from ray.exceptions import RayTaskError

    from embedcache.engines.cluster import plain_errors

    with pytest.raises(ConsistencyError) as caught, plain_errors():
        raise RayTaskError("apply", before + raised(error) + after, error)
    assert (type(caught.value), str(caught.value)) == (kind, message)


@pytest.mark.slow
def test_every_item_is_applied_once_and_what_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from embedcache.engines.cluster import Cluster, apply, connected

    monkeypatch.setenv("RAY_worker_niceness", "0")
    two = Cluster(workers=2)
    with connected(two):
        assert sorted(apply(two, halve, range(0, 40, 2))) == [*range(20)]
        with pytest.raises(InputError, match=r"^7 is odd, expected an even number$"):
            list(apply(two, halve, [2, 7]))
        with pytest.raises(RunError, match=r"^Ray gave up \(ZeroDivisionError: division by zero\): .*, run it again$"):
            list(apply(two, halve, [2, -2]))
        with pytest.raises(
            InputError, match=r"^9999 workers need 9999.5 CPUs, and the Ray cluster has \d+: give a smaller"
        ):
            list(apply(Cluster(workers=9999), halve, [2]))
    assert not list(Path("/tmp").glob(f"ray-{machine()}-{os.getpid()}-*"))


def test_a_cluster_that_is_not_there() -> None:
    from embedcache.engines.cluster import Cluster, connected

    message = r"^Ray cannot be used \(.*Connection refused.*\): check --ray-address$"
    with pytest.raises(RunError, match=message), connected(Cluster(address="127.0.0.1:9")):
        pass
