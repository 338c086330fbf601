"""Work in the background is done once, and its failure is one line."""

import threading
import time

from consistency.errors import InputError
from koclip_consistency.service.background import KEPT, Background


def finished(background: Background, key: object, work: object) -> dict[str, object]:
    while (told := background.ask(key, work))["state"] == "working":  # type: ignore[arg-type]
        time.sleep(0.01)
    return told


def test_work_is_done_once_and_remembered() -> None:
    background, go, times = Background(), threading.Event(), []

    def work() -> int:
        go.wait(60)
        times.append(1)
        return 7

    assert background.ask("a", work) == {"state": "working"}
    assert background.ask("a", work) == {"state": "working"}
    go.set()
    assert finished(background, "a", work) == {"state": "done", "result": 7}
    assert finished(background, "a", work) == {"state": "done", "result": 7}
    assert times == [1]
    for number in range(KEPT):
        finished(background, number, lambda number=number: number)
    assert finished(background, "a", work) == {"state": "done", "result": 7}
    assert times == [1, 1]  # the oldest result was dropped
    background.close()


def test_a_failure_is_told_and_tried_again() -> None:
    background, times = Background(), []

    def work() -> None:
        times.append(1)
        raise InputError("there is no table") if len(times) == 1 else ZeroDivisionError("x")

    assert finished(background, "a", work) == {"state": "failed", "error": "there is no table"}
    assert finished(background, "a", work) == {"state": "failed", "error": "ZeroDivisionError: x"}
    background.close()
