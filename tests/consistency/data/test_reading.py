"""The bounds within which images are read."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from consistency.data.reading import Budget, cores


@pytest.mark.parametrize("amounts", [[30] * 40, [100, 1] * 10, [250] * 5, [0] * 9, [60, 50, 40, 10] * 8])
def test_what_is_held_at_once_stays_within_the_budget(amounts: list[int]) -> None:
    budget, lock, held, most = Budget(100), threading.Lock(), [0, 0], [0, 0]

    def work(amount: int) -> None:
        with budget.hold(amount):
            with lock:
                held[0], held[1] = held[0] + amount, held[1] + 1
                most[0], most[1] = max(most[0], held[0]), max(most[1], held[1])
                assert held[0] <= 100 or held[1] == 1  # what is larger than all of it goes alone
            time.sleep(0.002)
            with lock:
                held[0], held[1] = held[0] - amount, held[1] - 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, amounts))
    assert held == [0, 0]
    assert (most[1] == 1) == (min(amounts) > 50)  # and what fits goes on at once


def test_the_budget_is_given_back_after_an_error() -> None:
    budget = Budget(10)
    with pytest.raises(ValueError, match="broken"), budget.hold(10):
        raise ValueError("broken")
    with budget.hold(10):
        pass


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to cores")
def test_cores_are_those_that_the_process_may_use() -> None:
    before = os.sched_getaffinity(0)
    assert cores() == len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)
